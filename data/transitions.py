"""Frames between frames: recordings at another speed, and bridges from one recording to the next."""

import numpy as np

from data.landmarks import PART_SLICES, PARTS


def resample(
    landmarks: np.ndarray, detected: np.ndarray, speed: float
) -> tuple[np.ndarray, np.ndarray]:
    """Play a recording at `speed` (2.0: half as many frames), from its first frame to its last.

    Between two frames a part is interpolated linearly where it was detected in both, else it is
    that of the nearer frame (detected or not). landmarks: (T, 543, 3), detected: (T, 4). Returns
    float32 (T', 543, 3) and bool (T', 4).
    """
    frames = max(2, round(len(landmarks) / speed))
    position = np.linspace(0, len(landmarks) - 1, frames)
    before = np.floor(position).astype(np.int64)
    after = np.minimum(before + 1, len(landmarks) - 1)
    share = (position - before).astype(np.float32)
    return _interpolate(
        landmarks[before],
        detected[before],
        landmarks[after],
        detected[after],
        share,
        lost_stays=False,
    )


def bridge(
    left: tuple[np.ndarray, np.ndarray], right: tuple[np.ndarray, np.ndarray], frames: int
) -> tuple[np.ndarray, np.ndarray]:
    """`frames` frames from the last of `left` towards the first of `right`, both exclusive, in
    equal steps.

    A part that is lost on either side stays lost: no hand is invented. Returns float32
    (frames, 543, 3), bool (frames, 4).
    """
    share = np.arange(1, frames + 1, dtype=np.float32) / (frames + 1)
    ends = [
        np.repeat(array, frames, axis=0)
        for array in (left[0][-1:], left[1][-1:], right[0][:1], right[1][:1])
    ]
    return _interpolate(*ends, share, lost_stays=True)


def _interpolate(
    before: np.ndarray,
    before_detected: np.ndarray,
    after: np.ndarray,
    after_detected: np.ndarray,
    share: np.ndarray,
    *,
    lost_stays: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Frames between pairs of frames (T, 543, 3), at `share` (T,) of the way, part by part."""
    share = share[:, None, None]
    mixed = (1 - share) * before.astype(np.float32) + share * after.astype(np.float32)
    nearer = np.where(share < 0.5, before, after).astype(np.float32)
    both = before_detected & after_detected
    detected = both if lost_stays else np.where(share[:, 0] < 0.5, before_detected, after_detected)
    landmarks = np.zeros_like(mixed)
    for column, part in enumerate(PARTS):
        points = PART_SLICES[part]
        seen = np.where(both[:, column, None, None], mixed[:, points], nearer[:, points])
        landmarks[:, points] = np.where(detected[:, column, None, None], seen, 0)
    return landmarks, detected
