"""Landmarks at another frame rate: the times of the new frames, and their values."""

import numpy as np
import pytest

from data.landmarks import PART_SLICES
from data.resampling import Resampler

ALL_DETECTED = np.ones(4, bool)


def moving(time: float) -> np.ndarray:
    """Landmarks whose values are the time."""
    return np.full((543, 3), time)


def resample(
    times, rate: float, detected_at=lambda time: ALL_DETECTED
) -> list[tuple[float, np.ndarray]]:
    resampler = Resampler(rate)
    return [
        frame for time in times for frame in resampler.push(time, moving(time), detected_at(time))
    ]


@pytest.mark.parametrize(
    ("source", "rate", "count"), [(30, 25, 83), (50, 25, 50), (25, 25, 100), (12.5, 25, 199)]
)
def test_new_frames_have_the_times_of_the_new_rate(source, rate, count):
    frames = resample(np.arange(100) / source, rate)
    # The last new frame is at or before the time of the last given one: (100 - 1) / source seconds.
    assert len(frames) == count == int(99 / source * rate + 1e-9) + 1
    values = [landmarks[0, 0] for landmarks, _ in frames]
    np.testing.assert_allclose(values, np.arange(count) / rate, atol=1e-6)


def test_uneven_times_and_a_pause_of_the_camera():
    frames = resample([0.0, 0.07, 0.1, 0.11, 1.0], 10)
    np.testing.assert_allclose(
        [landmarks[0, 0] for landmarks, _ in frames], np.arange(11) / 10, atol=1e-6
    )


def test_a_part_that_only_one_frame_has_is_not_interpolated():
    def detected_at(time: float) -> np.ndarray:
        return np.array([True, True, True, time > 0.5])

    frames = resample([0.0, 1.0], 5, detected_at)  # at 0, 0.2 ... 1.0
    body = [landmarks[0, 0] for landmarks, _ in frames]
    hand = [landmarks[PART_SLICES["right_hand"].start, 0] for landmarks, _ in frames]
    np.testing.assert_allclose(body, [0, 0.2, 0.4, 0.6, 0.8, 1.0], atol=1e-6)
    np.testing.assert_allclose(hand, [0, 0, 0, 1, 1, 1], atol=1e-6)
    assert [detected[3] for _, detected in frames] == [False, False, False, True, True, True]


def test_the_given_frames_stay_unchanged():
    resampler, first, second = Resampler(4), moving(0.0), moving(1.0)
    list(resampler.push(0.0, first, ALL_DETECTED))
    list(resampler.push(1.0, second, ALL_DETECTED))
    assert (first == 0.0).all() and (second == 1.0).all()
