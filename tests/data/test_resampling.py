"""Frames at another rate: which ones, and what is between two."""

import numpy as np
import pytest

from data.landmarks import PART_SLICES
from data.resampling import Resampler

SEEN = np.ones(4, bool)


def moving(time: float) -> np.ndarray:
    """Landmarks whose values are the time."""
    return np.full((543, 3), time)


def resample(times, rate: float, seen=lambda time: SEEN) -> list[tuple[float, np.ndarray]]:
    resampler = Resampler(rate)
    return [frame for time in times for frame in resampler.push(time, moving(time), seen(time))]


@pytest.mark.parametrize(
    ("source", "rate", "count"), [(30, 25, 83), (50, 25, 50), (25, 25, 100), (12.5, 25, 199)]
)
def test_frames_are_where_they_would_be_at_that_rate(source, rate, count):
    frames = resample(np.arange(100) / source, rate)
    # The last frame that is due is at or before the last one that came: (100 - 1) / source seconds.
    assert len(frames) == count == int(99 / source * rate + 1e-9) + 1
    values = [landmarks[0, 0] for landmarks, _ in frames]
    np.testing.assert_allclose(values, np.arange(count) / rate, atol=1e-6)


def test_uneven_times_of_a_camera_and_a_pause():
    frames = resample([0.0, 0.07, 0.1, 0.11, 1.0], 10)
    np.testing.assert_allclose(
        [landmarks[0, 0] for landmarks, _ in frames], np.arange(11) / 10, atol=1e-6
    )


def test_a_part_that_only_one_of_two_frames_has_is_not_blended():
    def seen(time: float) -> np.ndarray:
        return np.array([True, True, True, time > 0.5])

    frames = resample([0.0, 1.0], 5, seen)  # at 0, 0.2 ... 1.0
    body = [landmarks[0, 0] for landmarks, _ in frames]
    hand = [landmarks[PART_SLICES["right_hand"].start, 0] for landmarks, _ in frames]
    np.testing.assert_allclose(body, [0, 0.2, 0.4, 0.6, 0.8, 1.0], atol=1e-6)
    np.testing.assert_allclose(hand, [0, 0, 0, 1, 1, 1], atol=1e-6)
    assert [detected[3] for _, detected in frames] == [False, False, False, True, True, True]


def test_what_came_in_is_not_changed():
    resampler, first, second = Resampler(4), moving(0.0), moving(1.0)
    list(resampler.push(0.0, first, SEEN))
    list(resampler.push(1.0, second, SEEN))
    assert (first == 0.0).all() and (second == 1.0).all()
