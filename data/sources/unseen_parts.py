"""Which parts were detected in a landmark file, by one rule for all formats.

Extractors write zeros or NaN for a part that they did not detect. Both mean "not detected". A part
with some points that are NaN or infinite is damage, and so is a part whose points all lie in one
place: that is a fill value such as -1.
"""

from collections.abc import Callable

import numpy as np

from data.landmarks import PART_SLICES, PARTS
from errors import DataError


def find_unseen_parts(
    landmarks: np.ndarray, where: Callable[[int], str], detected: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Separate the parts that were detected from those that were not.

    Args:
        landmarks: float (T, 543, 3), as the file holds them.
        where: the name of a frame for messages, such as 'a.npy frame 3'.
        detected: bool (T, 4), what the file itself says; None if it says nothing. A part that it
            calls undetected is undetected, whatever its values are.

    Returns a copy of the landmarks with zeros where a part was not detected, and detected (T, 4).

    Raises DataError for a detected part that has NaN or infinite values, or whose points all have
    the same x and y.
    """
    known = np.nan_to_num(landmarks, posinf=1.0, neginf=1.0) != 0
    landmarks = landmarks.copy()
    seen = np.ones((len(landmarks), len(PARTS)), bool) if detected is None else detected.copy()
    for column, part in enumerate(PARTS):
        place = PART_SLICES[part]
        seen[:, column] &= known[:, place].any(axis=(1, 2))
        landmarks[~seen[:, column], place] = 0
        points = landmarks[:, place]
        broken = ~np.isfinite(points).all(axis=(1, 2))
        if broken.any():
            frame = int(broken.argmax())
            raise DataError(f"{where(frame)}: {_damage(part, points[frame])}")
        image = points[..., :2]
        filled = seen[:, column] & (image.max(axis=1) == image.min(axis=1)).all(axis=1)
        if filled.any():
            frame = int(filled.argmax())
            x, y = image[frame, 0]
            raise DataError(
                f"{where(frame)}: all points of {part} are at ({x:g}, {y:g}), expected the shape "
                "of a body; if this value means 'not detected', write 0 or NaN instead"
            )
    return landmarks, seen


def _damage(part: str, points: np.ndarray) -> str:
    """What is wrong with a part that has values that are not finite. points: (N, 3)."""
    finite = np.isfinite(points)
    if finite[:, :2].all() and not finite[:, 2].any():
        return f"z of {part} is NaN or infinite in all its points; write 0 if it is not known"
    return (
        f"some points of {part} are NaN or infinite, expected all or none; "
        "extract the landmarks again or remove the sentence"
    )
