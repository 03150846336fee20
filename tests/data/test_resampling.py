"""Landmarks at another frame rate: the times of the new frames, and their values."""

import numpy as np
import pytest

from data.landmarks import PART_SLICES
from data.resampling import (
    Resampler,
    check_rate,
    measure_rate,
    refuse_other_rate,
    resample,
    same_rate,
)
from errors import DataError

ALL_DETECTED = np.ones(4, bool)


def moving(time: float) -> np.ndarray:
    """Landmarks whose values are the time."""
    return np.full((543, 3), time)


def push_all(
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
    frames = push_all(np.arange(100) / source, rate)
    # The last new frame is at or before the time of the last given one: (100 - 1) / source seconds.
    assert len(frames) == count == int(99 / source * rate + 1e-9) + 1
    values = [landmarks[0, 0] for landmarks, _ in frames]
    np.testing.assert_allclose(values, np.arange(count) / rate, atol=1e-6)


def test_uneven_times_and_a_pause_of_the_camera():
    frames = push_all([0.0, 0.07, 0.1, 0.11, 1.0], 10)
    np.testing.assert_allclose(
        [landmarks[0, 0] for landmarks, _ in frames], np.arange(11) / 10, atol=1e-6
    )


def test_a_part_that_only_one_frame_has_is_not_interpolated():
    def detected_at(time: float) -> np.ndarray:
        return np.array([True, True, True, time > 0.5])

    frames = push_all([0.0, 1.0], 5, detected_at)  # at 0, 0.2 ... 1.0
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


@pytest.mark.parametrize(
    ("times", "fps", "even"),
    [
        (np.arange(50) / 25, 25, True),
        (7.3 + np.arange(50) * 0.033, 1 / 0.033, True),
        # the third frame is 0.08 - 2 x 0.03325 = 0.0135 s late, less than half of 0.03325
        ([0, 0.033, 0.080, 0.1, 0.133], 4 / 0.133, True),
        # the same 0.017 s late
        ([0, 0.033, 0.0835, 0.1, 0.133], 1 / 0.033, False),
        # the gaps are 0.1 three times and 0.5 three times: their median is 0.3
        ([0, 0.1, 0.2, 0.3, 0.8, 1.3, 1.8], 1 / 0.3, False),
        ([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 2.6], 10, False),
        # 30 and 240 frames/s, rounded to milliseconds, with a pause
        (np.rint(1000 * np.append(np.arange(31), 90) / 30) / 1000, 30, False),
        (np.rint(1000 * np.append(np.arange(241), 900) / 240) / 1000, 240, False),
    ],
)
def test_the_rate_of_times(times, fps, even):
    measured = measure_rate(np.array(times))
    assert (measured.fps, measured.even) == (pytest.approx(fps), even)


@pytest.mark.parametrize(
    "times", [[], [1.0], [0, 0.1, 0.1], [0, 0.2, 0.1], [0, np.nan, 0.2], [0, 0.1, np.inf]]
)
def test_times_that_cannot_be_right_have_no_rate(times):
    assert measure_rate(np.array(times, dtype=float)) is None


def test_a_whole_recording_begins_at_its_first_frame():
    times = 5 + np.array([0, 0.04, 0.08, 0.2, 0.24])
    landmarks = np.stack([moving(time) for time in times])
    new, detected = resample(times, landmarks, np.ones((5, 4), bool), 25)
    np.testing.assert_allclose(new[:, 0, 0], 5 + np.arange(7) / 25, atol=1e-5)
    assert new.shape == (7, 543, 3) and detected.shape == (7, 4) and detected.all()


def test_rates_that_count_as_the_same_and_rates_that_are_refused():
    assert same_rate(29.97, 30) and same_rate(25, 24.9) and not same_rate(25, 24)
    for fps in (5, 25, 240):
        check_rate(fps)
    for fps, shown in ((1000, "1000"), (4.9, "4.9"), (90_000, "90000")):
        with pytest.raises(DataError, match=rf"^a\.webm states {shown} frames/s"):
            check_rate(fps, "a.webm")
    refuse_other_rate("corpus", 29.97, "model.pth", 30)
    with pytest.raises(
        DataError,
        match=r"corpus has 50 frames/s, but model\.pth was trained on 25: .*"
        r"`python prepare_data\.py resample corpus --output corpus_25fps --fps 25`, "
        r"and use that corpus$",
    ):
        refuse_other_rate("corpus", 50, "model.pth", 25)
    with pytest.raises(DataError, match=r"resample 'my corpus' --output 'my corpus_25fps' --fps"):
        refuse_other_rate("my corpus", 50, "model.pth", 25)
