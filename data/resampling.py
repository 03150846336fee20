"""Landmarks at one frame rate from landmarks at any other, one frame at a time."""

from collections.abc import Iterator

import numpy as np

from data.landmarks import PART_SLICES, PARTS

SAME_RATE = 0.01  # rates that differ by less (29.97 and 30) are the same to the model


class Resampler:
    """Frames at given times in, frames at 0, 1/rate, 2/rate ... seconds out.

    Between two frames a part that both of them have is interpolated linearly; else the nearer frame
    is taken as it is.
    """

    def __init__(self, rate: float):
        self.rate = rate
        self._due = 0  # frames that went out
        self._before: tuple[float, np.ndarray, np.ndarray] | None = None

    def push(
        self, time: float, landmarks: np.ndarray, detected: np.ndarray
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Frames that are due up to `time` (seconds, rising), float32 (543, 3) and bool (4,), given
        landmarks (543, 3) and detected (4,) of the frame at that time."""
        landmarks = landmarks.astype(np.float32)
        before, self._before = self._before, (time, landmarks, detected)
        while (at := self._due / self.rate) <= time + 1e-6:
            self._due += 1
            if before is None or time - before[0] <= 0:
                yield landmarks, detected
            else:
                weight = min(max((at - before[0]) / (time - before[0]), 0.0), 1.0)
                yield _between(before[1], before[2], landmarks, detected, weight)


def _between(
    first: np.ndarray,
    first_seen: np.ndarray,
    second: np.ndarray,
    second_seen: np.ndarray,
    weight: float,
) -> tuple[np.ndarray, np.ndarray]:
    nearer, seen = (first, first_seen) if weight < 0.5 else (second, second_seen)
    frame = nearer.copy()
    for column, part in enumerate(PARTS):
        if first_seen[column] and second_seen[column]:
            place = PART_SLICES[part]
            frame[place] = (1 - weight) * first[place] + weight * second[place]
    return frame, seen
