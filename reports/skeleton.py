"""A frame's landmarks as a line drawing in a matplotlib plot: the left arm and hand are blue, the
right ones red."""

from typing import TYPE_CHECKING

import numpy as np

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

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEFT, RIGHT, MIDDLE = "tab:blue", "tab:red", "0.45"  # visible on white and on black
# The lower and the upper edge of each brow
_BROWS = (LEFT_BROW[:5], LEFT_BROW[5:], RIGHT_BROW[:5], RIGHT_BROW[5:])
_FACE = (*((*loop, loop[0]) for loop in (FACE_OVAL, LIPS_OUTER, LEFT_EYE, RIGHT_EYE)), *_BROWS)
_TRUNK, _LEFT_ARM, _RIGHT_ARM, _HEAD = (
    BODY_LINES  # the pose's head replaces a face that is not detected
)


def draw_skeleton(
    axes: "Axes", landmarks: np.ndarray, detected: np.ndarray, aspect_ratio: float
) -> None:
    """Draw the detected parts of one frame.

    The axes become the image: (0, 0) is its upper left corner, and its height is 1.

    Args:
        landmarks: (543, 3), x and y in fractions of the image.
        detected: (4,).
        aspect_ratio: width of the image divided by its height.
    """
    points = landmarks[:, :2].astype(np.float64) * [aspect_ratio, 1]
    pose, face, left, right = (points[PART_SLICES[part]] for part in PARTS)
    has_pose, has_face, has_left, has_right = detected
    in_middle, on_left, on_right = [], [], []
    if has_pose:
        in_middle += [pose[list(line)] for line in ((_TRUNK,) if has_face else (_TRUNK, _HEAD))]
        on_left.append(pose[list(_LEFT_ARM)])
        on_right.append(pose[list(_RIGHT_ARM)])
    if has_face:
        in_middle += [face[list(line)] for line in _FACE]
    if has_left:
        on_left += [left[list(line)] for line in FINGER_LINES]
    if has_right:
        on_right += [right[list(line)] for line in FINGER_LINES]
    for lines, colour in ((in_middle, MIDDLE), (on_left, LEFT), (on_right, RIGHT)):
        if lines:  # one path per colour, with NaN between its lines
            path = np.concatenate([np.vstack([line, [[np.nan, np.nan]]]) for line in lines])
            axes.plot(*path.T, color=colour, linewidth=1.0)
    axes.set(xlim=(0, aspect_ratio), ylim=(1, 0), xticks=[], yticks=[], aspect="equal")
