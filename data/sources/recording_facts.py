"""One frame rate and one image shape for a corpus whose recordings differ in them."""

from collections import Counter

import numpy as np

from data.resampling import FrameRate, measure_rate, resample, same_rate
from errors import DataError


def to_aspect_ratio(landmarks: np.ndarray, ratio: float, wanted: float) -> np.ndarray:
    """Landmarks (T, 543, 3) of an image with width/height `ratio` → fractions of an image of the
    same height with width/height `wanted`.

    The old image is in the middle of the new one. Shapes do not change: x and z times the aspect
    ratio have the same differences as before. Returns float32, or the landmarks themselves when
    both ratios are equal.
    """
    if ratio == wanted:
        return landmarks
    converted = landmarks.astype(np.float32)
    converted[..., 0] = 0.5 + (converted[..., 0] - 0.5) * (ratio / wanted)
    converted[..., 2] *= ratio / wanted
    return converted


def commonest(counter: Counter[float]) -> float:
    """The most common value; the smallest of several equally common ones."""
    return min(counter, key=lambda value: (-counter[value], value))


def common_rate(counter: Counter[float]) -> float:
    """The frame rate that most recordings have, where rates such as 29.97 and 30 count as the same.

    Of several such rates the commonest; the smallest of equally common ones.
    """
    support = Counter(
        {
            rate: sum(count for other, count in counter.items() if same_rate(other, rate))
            for rate in counter
        }
    )
    most = max(support.values())
    return commonest(Counter({rate: counter[rate] for rate in counter if support[rate] == most}))


def at_rate(
    times: np.ndarray, landmarks: np.ndarray, detected: np.ndarray, rate: float
) -> tuple[np.ndarray, np.ndarray]:
    """A recording at a frame rate: as it is where it has that rate already, resampled otherwise.

    Args:
        times: (T,), of the frames, in seconds, rising.
        landmarks: (T, 543, 3).
        detected: bool (T, 4).
        rate: frames per second.

    Returns landmarks (T', 543, 3) and detected bool (T', 4), the given arrays themselves where
    nothing is to do. Raises DataError for times that do not rise.
    """
    measured = measure_rate(times)
    if measured is None and len(times) > 1:
        raise DataError("the times of its frames do not rise, so its frame rate is unknown")
    if measured is None or (measured.even and same_rate(measured.fps, rate)):
        return landmarks, detected
    return resample(times, landmarks, detected, rate)


def confirmed_rate(expected: FrameRate, times: np.ndarray) -> FrameRate:
    """The rate of a recording, or of a segment of it, by the times of its decoded frames.

    Args:
        expected: what the file says. It is more exact than the times where these confirm it.
        times: (T,), of the frames, in seconds, rising.
    """
    measured = measure_rate(times)
    if measured is None:
        return expected
    duration = float(times[-1] - times[0])
    if expected.even and abs(duration - (len(times) - 1) / expected.fps) < 0.5 / expected.fps:
        return FrameRate(expected.fps, measured.even)
    if measured.even == expected.even and same_rate(measured.fps, expected.fps):
        return expected
    return measured


def frame_times(frames: int, fps: float) -> np.ndarray:
    """Times float64 (T,) in seconds of `frames` frames at `fps` frames per second."""
    return np.arange(frames) / fps


def counts_text(counter: Counter[float]) -> str:
    """Values with their counts for a message: '25 in 3, 30 in 1'."""
    return ", ".join(f"{value:.4g} in {counter[value]}" for value in sorted(counter))
