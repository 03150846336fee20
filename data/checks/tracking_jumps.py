"""Frames in which the landmarks jump from one person to another.

MediaPipe follows one person. When this person leaves the image and another one is in it, the
landmarks continue on the other one.
"""

import numpy as np

from data.checks.plausibility import MIN_BODY_WIDTH, vector_lengths
from data.landmarks import LEFT_SHOULDER, NOSE, RIGHT_SHOULDER

# Body widths, as in data/checks/plausibility.py, by which nose and shoulders must move between two
# frames. No signer moves so far in a frame: the largest step in 7,138 recordings is 1.01.
MIN_JUMP = 1.2
SETTLED_FRAMES = 3  # frames on each side whose median counts, so that one bad frame is no jump


def find_jump(
    landmarks: np.ndarray, detected: np.ndarray, aspect_ratio: float
) -> tuple[int, float] | None:
    """The largest jump of nose and shoulders that lasts.

    Args:
        landmarks: float (T, 543, 3), image fractions.
        detected: bool (T, 4).
        aspect_ratio: image width / height.

    Returns the first frame after the jump and its size in body widths; None without a jump.
    """
    frames = np.flatnonzero(detected[:, 0])
    points = landmarks[:, [NOSE, LEFT_SHOULDER, RIGHT_SHOULDER], :2][frames].astype(np.float64)
    points[..., 0] *= aspect_ratio  # in image heights
    nose, left, right = points.swapaxes(0, 1)
    middle = (left + right) / 2
    body = np.maximum(vector_lengths(left - right), vector_lengths(nose - middle))
    places = np.stack([nose, middle], axis=1)  # (frames, 2, 2)
    has_size = body > MIN_BODY_WIDTH
    frames, body, places = frames[has_size], body[has_size], places[has_size]
    steps = vector_lengths(places[1:] - places[:-1]).min(axis=1)
    largest = None
    for after in np.flatnonzero(steps > MIN_JUMP * np.maximum(body[1:], body[:-1])) + 1:
        sides = slice(max(0, after - SETTLED_FRAMES), after), slice(after, after + SETTLED_FRAMES)
        start, end = (np.median(places[side], axis=0) for side in sides)
        width = max(np.median(body[side]) for side in sides)
        size = float(vector_lengths(end - start).min() / width)
        if size > MIN_JUMP and (largest is None or size > largest[1]):
            largest = int(frames[after]), size
    return largest


def jump_warning(landmarks: np.ndarray, detected: np.ndarray, aspect_ratio: float) -> str | None:
    """What to say of a recording with a jump, after its name; None without a jump.

    The arguments are those of `find_jump`.
    """
    jump = find_jump(landmarks, detected, aspect_ratio)
    if jump is None:
        return None
    frame, size = jump
    return (
        f"the signer jumps by {size:.1f} body widths at frame {frame}; if another person is in the "
        "picture, cut the picture to the signer and extract it again"
    )
