"""Vectors of widths that no format has: what they are and what they need."""

import pytest

from data.sources.vector_widths import explain_width

POSE, HANDS = "the pose 33 x (x, y, z)", "both hands 2 x 21 x (x, y, z)"
ADD_VISIBILITY = "add a visibility such as 1 after each point of the pose"
NO_POSE = "the pose is missing, and features are measured from its nose, shoulders and wrists"


@pytest.mark.parametrize(
    ("width", "content", "mp_data", "npy"),
    [
        (225, f"{POSE} and {HANDS}", ADD_VISIBILITY, "add 468 x 3 zeros for the face"),
        (126, HANDS, NO_POSE, NO_POSE),
        (63, "one hand 21 x (x, y, z)", NO_POSE, NO_POSE),
        (1629, f"{POSE} and the face 468 x (x, y, z) and {HANDS}", ADD_VISIBILITY, None),
        (1404, "the face 468 x (x, y, z)", NO_POSE, NO_POSE),
        (1530, f"the face 468 x (x, y, z) and {HANDS}", NO_POSE, NO_POSE),
        (132, "the pose 33 x (x, y, z, visibility)", "add zeros for both hands", "add 468 x 3"),
        (99, POSE, ADD_VISIBILITY, "add zeros for both hands"),
        (
            1692,
            "the pose 33 x (x, y, z, visibility) and the face 478 x (x, y, z)",
            "leave the last 10 points of the face (the irises) out",
            "leave the visibility of the pose out",
        ),
        (1659, f"{POSE} and the face 478", "the irises", "the irises"),
        (150, "the pose 33 x (x, y) and both hands", "add a z of 0", "add a z of 0"),
        (2172, "the face 468 x (x, y, z, visibility)", "visibility of face and hands out", None),
    ],
)
def test_widths_that_people_store(width, content, mp_data, npy):
    for with_visibility, need in ((True, mp_data), (False, npy)):
        text = explain_width(width, with_visibility)
        assert text.startswith(f"{width} values are probably ")
        assert content in text
        assert need is None or need in text


@pytest.mark.parametrize("width", [0, 1, 301, 1630, 6516])
def test_other_widths_are_not_explained(width):
    assert explain_width(width, True) == ""
