"""What a vector of landmarks with an unsupported number of values is, and what it would need."""

import math
from dataclasses import dataclass

POSE_POINTS, FACE_POINTS, HAND_POINTS = 33, 468, 21
ALL_POINTS = POSE_POINTS + FACE_POINTS + 2 * HAND_POINTS
IRISES = 10  # points that a refined face has after its 468 ones


@dataclass(frozen=True)
class _Content:
    """The parts of a vector. pose, others: values per point of the pose, of face and hands."""

    pose: int
    face: int
    hands: int
    others: int

    @property
    def width(self) -> int:
        points = self.face + self.hands * HAND_POINTS
        return POSE_POINTS * self.pose + points * self.others


def _contents() -> dict[int, _Content]:
    """By width, the most usual content of vectors that people store."""
    contents: dict[int, _Content] = {}
    for hands in (2, 0, 1):
        for pose, others in ((4, 3), (3, 3), (4, 4), (2, 2), (0, 3), (0, 2)):
            for face in (FACE_POINTS, 0, FACE_POINTS + IRISES):
                content = _Content(pose, face, hands, others)
                if content.width:
                    contents.setdefault(content.width, content)
    return contents


_CONTENTS = _contents()
_USUAL_POINTS = {33 * bool(c.pose) + c.face + HAND_POINTS * c.hands for c in _CONTENTS.values()}
_VALUES = {2: "(x, y)", 3: "(x, y, z)", 4: "(x, y, z, visibility)"}


def explain_shape(shape: tuple[int, ...]) -> str:
    """What is wrong with an array of landmarks of an unsupported shape; '' for an unknown shape."""
    if shape[:1] == (0,):
        return "it has no frames: leave the file out, or make it again"
    # 543 frames of fewer points look almost the same
    if len(shape) == 3 and shape[0] == ALL_POINTS and shape[1] not in _USUAL_POINTS:
        return f"its first axis is the {ALL_POINTS} points, and frames must be the first axis"
    return explain_width(math.prod(shape[1:]), with_visibility=False)


def explain_width(width: int, with_visibility: bool) -> str:
    """What a vector of `width` values probably is and what it needs; '' for an unknown width.

    with_visibility: whether the format wants the visibility of the pose (mp_data) or not (npy).
    """
    content = _CONTENTS.get(width)
    if content is None:
        return ""
    parts = []
    if content.pose:
        parts.append(f"the pose 33 x {_VALUES[content.pose]}")
    if content.face:
        parts.append(f"the face {content.face} x {_VALUES[content.others]}")
    if content.hands:
        number = "both hands 2 x 21" if content.hands == 2 else "one hand 21"
        parts.append(f"{number} x {_VALUES[content.others]}")
    needs = "; ".join(_needs(content, with_visibility))
    return f"{width} values are probably {' and '.join(parts)}; {needs}"


def _needs(content: _Content, with_visibility: bool) -> list[str]:
    """What must be changed in vectors of this content, one sentence each."""
    if not content.pose:
        return [
            "the pose is missing, and features are measured from its nose, shoulders and wrists: "
            "extract the videos again with the pose"
        ]
    needs = []
    if content.others == 2:
        needs.append("add a z of 0 after each x, y")
    if with_visibility and content.pose < 4:
        needs.append("add a visibility such as 1 after each point of the pose")
    if content.others == 4:
        needs.append("leave the visibility of face and hands out")
    if not with_visibility and content.pose == 4:
        needs.append("leave the visibility of the pose out")
    if content.face > FACE_POINTS:
        needs.append("leave the last 10 points of the face (the irises) out")
    if not content.face and not with_visibility:
        needs.append("add 468 x 3 zeros for the face after the pose")
    if content.hands < 2:
        missing = "the other hand" if content.hands else "both hands"
        needs.append(f"add zeros for {missing}, left hand before right hand")
    return needs
