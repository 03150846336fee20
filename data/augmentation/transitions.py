"""New frames between recorded frames: a recording at another speed, and a transition from one
recording to the next.

A recording is a pair of landmarks (T, 543, 3) and detected (T, 4).
"""

import numpy as np

from data.landmarks import PART_SLICES, PARTS

TRANSITION_FRAMES = (2, 6)  # range of the transition between two recordings, both ends included


def change_speed(
    landmarks: np.ndarray, detected: np.ndarray, speed: float
) -> tuple[np.ndarray, np.ndarray]:
    """Play a recording at another speed, from its first frame to its last.

    A part is interpolated linearly between two frames if it was detected in both of them.
    Otherwise the part of the nearer frame is used, detected or not.

    Args:
        landmarks: (T, 543, 3).
        detected: bool (T, 4).
        speed: 2.0 gives half as many frames. The result has at least 2 frames.

    Returns landmarks float32 (T', 543, 3) and detected bool (T', 4).
    """
    frames = max(2, round(len(landmarks) / speed))
    position = np.linspace(0, len(landmarks) - 1, frames)
    before = np.floor(position).astype(np.int64)
    after = np.minimum(before + 1, len(landmarks) - 1)
    weight = (position - before).astype(np.float32)
    return _interpolate(
        landmarks[before],
        detected[before],
        landmarks[after],
        detected[after],
        weight,
        require_both=False,
    )


def transition(
    before: tuple[np.ndarray, np.ndarray], after: tuple[np.ndarray, np.ndarray], frames: int
) -> tuple[np.ndarray, np.ndarray]:
    """New frames that lead from the end of one recording to the start of the next.

    They move in equal steps from the last frame of `before` to the first frame of `after`, without
    repeating either. A part that is missing on one side stays missing: no hand is invented.

    Args:
        before: landmarks (T, 543, 3) and detected bool (T, 4).
        after: the same of the next recording.
        frames: number of new frames.

    Returns landmarks float32 (frames, 543, 3) and detected bool (frames, 4).
    """
    weight = np.arange(1, frames + 1, dtype=np.float32) / (frames + 1)
    return _interpolate(
        np.repeat(before[0][-1:], frames, axis=0),
        np.repeat(before[1][-1:], frames, axis=0),
        np.repeat(after[0][:1], frames, axis=0),
        np.repeat(after[1][:1], frames, axis=0),
        weight,
        require_both=True,
    )


def _interpolate(
    before: np.ndarray,
    before_detected: np.ndarray,
    after: np.ndarray,
    after_detected: np.ndarray,
    weight: np.ndarray,
    *,
    require_both: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Interpolate between pairs of frames, part by part.

    Args:
        before, after: landmarks (T, 543, 3) of each pair; before_detected, after_detected: (T, 4).
        weight: float32 (T,), the weight of `after`, 0 to 1.
        require_both: a part is detected only where both frames have it; otherwise where the nearer
            frame has it.
    """
    weight = weight[:, None, None]
    mixed = (1 - weight) * before.astype(np.float32) + weight * after.astype(np.float32)
    nearer = np.where(weight < 0.5, before, after).astype(np.float32)
    both = before_detected & after_detected
    detected = (
        both if require_both else np.where(weight[:, 0] < 0.5, before_detected, after_detected)
    )
    landmarks = np.zeros_like(mixed)
    for column, part in enumerate(PARTS):
        points = PART_SLICES[part]
        values = np.where(both[:, column, None, None], mixed[:, points], nearer[:, points])
        landmarks[:, points] = np.where(detected[:, column, None, None], values, 0)
    return landmarks, detected
