"""The frame rate of a recording, from the times of its frames; landmarks at another frame rate."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.landmarks import PART_SLICES, PARTS
from errors import DataError

# Relative difference of two frame rates that count as the same, e.g. 29.97 and 30
SAME_RATE = 0.01
# Frames per second of real recordings; slow motion of phones has 240. Outside of them the metadata
# is wrong far more often than right.
LOWEST_RATE, HIGHEST_RATE = 5.0, 240.0
_USUAL_STEP = 0.25  # so much a usual step between two frames differs from their median, at most
_MILLISECOND = 1e-3  # seconds; many formats round times to it


@dataclass(frozen=True)
class FrameRate:
    """The frame rate of a recording.

    fps: frames per second; of uneven times, that of half of the frames or more.
    even: every frame is less than half a frame from its place at that rate.
    """

    fps: float
    even: bool


def same_rate(fps: float, other: float) -> bool:
    """Whether two frame rates (frames per second) count as the same."""
    return abs(fps / other - 1) < SAME_RATE


def is_plausible_rate(fps: float) -> bool:
    """Whether recordings of people signing have such frame rates (frames per second)."""
    return LOWEST_RATE <= fps <= HIGHEST_RATE


def check_rate(fps: float, where: str = "") -> None:
    """Raise DataError for an implausible frame rate of a recording. where: its file, if the message
    is to name it."""
    if not is_plausible_rate(fps):
        raise DataError(
            f"{f'{where} ' if where else ''}states {fps:g} frames/s, outside of {LOWEST_RATE:g} to "
            f"{HIGHEST_RATE:g}: give the right rate with --fps"
        )


def refuse_other_rate(corpus: Path, corpus_fps: float, model: Path | str, model_fps: float) -> None:
    """Raise DataError if a corpus has another frame rate than a model's.

    Args:
        corpus, corpus_fps: the corpus folder and its frames per second.
        model, model_fps: the checkpoint and the frames per second that it was trained on.
    """
    if not same_rate(corpus_fps, model_fps):
        source, output = (shlex.quote(f"{corpus}{end}") for end in ("", f"_{model_fps:g}fps"))
        raise DataError(
            f"{corpus} has {corpus_fps:g} frames/s, but {model} was trained on {model_fps:g}: make "
            f"a corpus of that rate with `python prepare_data.py resample {source} --output "
            f"{output} --fps {model_fps:g}`, and use that corpus"
        )


def measure_rate(times: np.ndarray) -> FrameRate | None:
    """The frame rate of frames at such times.

    Args:
        times: (T,), in seconds.

    Returns None if the times cannot be right: fewer than two, not finite, or not rising.
    """
    if len(times) < 2 or not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        return None
    average = (len(times) - 1) / float(times[-1] - times[0])
    places = times[0] + np.arange(len(times)) / average
    if np.abs(times - places).max() < 0.5 / average:
        return FrameRate(average, True)
    steps = np.diff(times)
    median = float(np.median(steps))
    # The usual steps differ by the rounding of the file, such as 33 and 34 ms
    usual = steps[np.abs(steps - median) <= max(_USUAL_STEP * median, 1.1 * _MILLISECOND)]
    return FrameRate(1 / float(usual.mean() if len(usual) else median), False)


class Resampler:
    """Takes frames at any times and makes frames at 0, 1/rate, 2/rate ... seconds.

    A part is interpolated linearly between two frames if it was detected in both of them.
    Otherwise the part of the nearer frame is used, detected or not.
    """

    def __init__(self, rate: float):
        """rate: frames per second of the result."""
        self.rate = rate
        self._frames_made = 0
        self._previous: tuple[float, np.ndarray, np.ndarray] | None = None

    def push(
        self, time: float, landmarks: np.ndarray, detected: np.ndarray
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Take the next frame and yield the new frames up to its time.

        Args:
            time: of the frame, in seconds; rising from call to call.
            landmarks: (543, 3).
            detected: bool (4,).

        Yields landmarks float32 (543, 3) and detected bool (4,) of each new frame: none, one or
        more per call.
        """
        landmarks = landmarks.astype(np.float32)
        previous, self._previous = self._previous, (time, landmarks, detected)
        while (due := self._frames_made / self.rate) <= time + 1e-6:
            self._frames_made += 1
            if previous is None or time - previous[0] <= 0:
                yield landmarks, detected
            else:
                weight = min(max((due - previous[0]) / (time - previous[0]), 0.0), 1.0)
                yield _interpolate_frame(previous[1], previous[2], landmarks, detected, weight)


def resample(
    times: np.ndarray, landmarks: np.ndarray, detected: np.ndarray, rate: float
) -> tuple[np.ndarray, np.ndarray]:
    """The frames of a whole recording at 0, 1/rate, 2/rate ... seconds after its first frame.

    Args:
        times: (T,), of the frames, in seconds, rising.
        landmarks: (T, 543, 3).
        detected: bool (T, 4).
        rate: frames per second of the result.

    Returns landmarks float32 (T', 543, 3) and detected bool (T', 4).
    """
    resampler = Resampler(rate)
    frames = [
        frame
        for time, points, parts in zip(times - times[0], landmarks, detected, strict=True)
        for frame in resampler.push(float(time), points, parts)
    ]
    return np.stack([frame[0] for frame in frames]), np.stack([frame[1] for frame in frames])


def _interpolate_frame(
    before: np.ndarray,
    before_detected: np.ndarray,
    after: np.ndarray,
    after_detected: np.ndarray,
    weight: float,
) -> tuple[np.ndarray, np.ndarray]:
    """The frame between two frames (543, 3); weight: of `after`, 0 to 1."""
    nearer, detected = (before, before_detected) if weight < 0.5 else (after, after_detected)
    frame = nearer.copy()
    for column, part in enumerate(PARTS):
        if before_detected[column] and after_detected[column]:
            points = PART_SLICES[part]
            with np.errstate(invalid="ignore"):  # infinity becomes NaN: no corpus takes either
                frame[points] = (1 - weight) * before[points] + weight * after[points]
    return frame, detected
