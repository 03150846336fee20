"""Change the frame rate of landmarks, one frame at a time, as streaming recognition needs it."""

from collections.abc import Iterator

import numpy as np

from data.landmarks import PART_SLICES, PARTS

# Relative difference of two frame rates that count as the same, e.g. 29.97 and 30
SAME_RATE = 0.01


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
            frame[points] = (1 - weight) * before[points] + weight * after[points]
    return frame, detected
