"""A frame's landmarks as a line drawing: left arm and hand in one colour, right ones in another."""

import numpy as np
from matplotlib.axes import Axes

from data.landmarks import (
    BODY_LINES,
    FACE_OVAL,
    FINGER_LINES,
    LEFT_BROW,
    LEFT_EYE,
    LIPS_OUTER,
    PART_SLICES,
    PARTS,
    RIGHT_BROW,
    RIGHT_EYE,
)

LEFT, RIGHT, MIDDLE = "tab:blue", "tab:red", "0.45"  # seen on white and on black
# Lower and upper edge of each
_BROWS = (LEFT_BROW[:5], LEFT_BROW[5:], RIGHT_BROW[:5], RIGHT_BROW[5:])
_FACE = (*((*loop, loop[0]) for loop in (FACE_OVAL, LIPS_OUTER, LEFT_EYE, RIGHT_EYE)), *_BROWS)
_TRUNK, _LEFT_ARM, _RIGHT_ARM, _HEAD = BODY_LINES  # the pose's head is drawn where there is no face


def draw_skeleton(
    axes: Axes, landmarks: np.ndarray, detected: np.ndarray, aspect_ratio: float
) -> None:
    """Draw what was detected of one frame, landmarks (543, 3) and detected (4,), in an image of
    width/height aspect_ratio.

    The axes become the image: (0, 0) is its upper left corner, its height is 1.
    """
    points = landmarks[:, :2].astype(np.float64) * [aspect_ratio, 1]
    pose, face, left, right = (points[PART_SLICES[part]] for part in PARTS)
    has_pose, has_face, has_left, has_right = detected
    middle = (
        [pose[list(line)] for line in ((_TRUNK,) if has_face else (_TRUNK, _HEAD))]
        if has_pose
        else []
    )
    middle += [face[list(line)] for line in _FACE] if has_face else []
    of_left = ([pose[list(_LEFT_ARM)]] if has_pose else []) + (
        [left[list(f)] for f in FINGER_LINES] if has_left else []
    )
    of_right = ([pose[list(_RIGHT_ARM)]] if has_pose else []) + (
        [right[list(f)] for f in FINGER_LINES] if has_right else []
    )
    for lines, colour in ((middle, MIDDLE), (of_left, LEFT), (of_right, RIGHT)):
        if lines:  # one path a colour, interrupted by NaN
            path = np.concatenate([np.vstack([line, [[np.nan, np.nan]]]) for line in lines])
            axes.plot(*path.T, color=colour, linewidth=1.0)
    axes.set(xlim=(0, aspect_ratio), ylim=(1, 0), xticks=[], yticks=[], aspect="equal")
