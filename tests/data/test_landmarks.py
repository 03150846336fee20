"""The 543 landmarks: facts of MediaPipe's numbering, and feature columns worked out by hand."""

import numpy as np
import pytest

from data import landmarks
from data.landmarks import (
    PART_ANCHORS,
    PART_ROOTS,
    PART_SLICES,
    PARTS,
    SUBSETS,
    feature_columns,
    subset,
)
from errors import UsageError


def test_the_parts_cover_all_landmarks_in_order():
    assert [PART_SLICES[part] for part in PARTS] == [
        slice(0, 33),
        slice(33, 501),
        slice(501, 522),
        slice(522, 543),
    ]
    assert landmarks.NUM_LANDMARKS == 33 + 468 + 21 + 21
    assert (landmarks.BLOCK_SIZE, landmarks.NUM_FEATURES) == (1629, 6516)


def test_every_part_has_its_own_root_and_an_anchor_in_the_pose():
    for part, root in PART_ROOTS.items():
        assert PART_SLICES[part].start <= root < PART_SLICES[part].stop
    assert PART_ROOTS == {"pose": 0, "face": 33 + 168, "left_hand": 501, "right_hand": 522}
    # In MediaPipe's pose left landmarks are odd and right ones even.
    assert PART_ANCHORS == {"face": 0, "left_hand": 15, "right_hand": 16}


def test_subsets_stay_in_their_part_and_have_each_point_once():
    part_of = {
        "pose_all": "pose",
        "upper_body": "pose",
        "arms": "pose",
        "left_hand": "left_hand",
        "right_hand": "right_hand",
    }
    for name, indices in SUBSETS.items():
        part = PART_SLICES[part_of.get(name, "face")]
        assert len(set(indices)) == len(indices), name
        assert all(part.start <= index < part.stop for index in indices), name
    sizes = {name: len(indices) for name, indices in SUBSETS.items()}
    assert sizes == {
        "pose_all": 33,
        "upper_body": 25,
        "arms": 7,
        "face_all": 468,
        "mouth": 20,
        "outer_lips": 18,
        "brows": 10,
        "eyes": 8,
        "mouth_brows_eyes": 38,
        "left_hand": 21,
        "right_hand": 21,
    }


def test_mouth_brows_and_eyes_make_up_their_joint_subset():
    joined = set(SUBSETS["mouth"]) | set(SUBSETS["brows"]) | set(SUBSETS["eyes"])
    assert set(SUBSETS["mouth_brows_eyes"]) == joined


def test_rings_of_the_face_mesh_have_each_point_once():
    sizes = {
        "LIPS_OUTER": 20,
        "LIPS_INNER": 20,
        "LEFT_BROW": 10,
        "RIGHT_BROW": 10,
        "LEFT_EYE": 16,
        "RIGHT_EYE": 16,
    }
    for name, size in (sizes | {"FACE_OVAL": 36}).items():
        ring = getattr(landmarks, name)
        assert len(ring) == len(set(ring)) == size, name
        assert all(0 <= index < 468 for index in ring), name
    assert not set(landmarks.LEFT_EYE) & set(landmarks.RIGHT_EYE)
    assert not set(landmarks.LIPS_OUTER) & set(landmarks.LIPS_INNER)


def test_well_known_points_of_the_face_mesh():
    """Corners of the mouth 61 and 291, middle of the upper lip 0 and of the lower 17; eye corners
    33, 133, 362, 263."""
    assert {61, 291, 0, 17} <= set(landmarks.LIPS_OUTER)
    assert {78, 308, 13, 14} <= set(landmarks.LIPS_INNER)
    assert {33, 133, 159, 145} <= set(landmarks.RIGHT_EYE)
    assert {362, 263, 386, 374} <= set(landmarks.LEFT_EYE)
    assert {10, 152, 234, 454} <= set(landmarks.FACE_OVAL)
    assert {33 + 61, 33 + 291} <= set(SUBSETS["mouth"])  # both corners of the mouth are kept


def test_the_error_for_an_unknown_subset_names_the_nearest():
    assert subset("arms") == (0, 11, 12, 13, 14, 15, 16)
    with pytest.raises(
        UsageError, match="unknown landmark subset 'lefthand': did you mean 'left_hand'"
    ):
        subset("lefthand")


def test_feature_columns_worked_out_by_hand():
    np.testing.assert_array_equal(feature_columns((0,), ("position",)), [0, 1, 2])
    # The order of the landmarks is kept.
    np.testing.assert_array_equal(feature_columns((2, 1), ("position",)), [6, 7, 8, 3, 4, 5])
    np.testing.assert_array_equal(feature_columns((542,), ("position",)), [1626, 1627, 1628])
    np.testing.assert_array_equal(feature_columns((1,), ("velocity",)), [1632, 1633, 1634])
    np.testing.assert_array_equal(
        feature_columns((0, 1), ("position", "relative")),
        [0, 1, 2, 3, 4, 5, 4887, 4888, 4889, 4890, 4891, 4892],
    )


def test_all_landmarks_in_all_blocks_are_all_columns():
    np.testing.assert_array_equal(feature_columns(tuple(range(543))), np.arange(6516))


def test_feature_columns_pick_the_named_block_and_landmarks():
    """Every value of the vector encodes its place: block * 10^6 + landmark * 10 + coordinate."""
    block, landmark, coordinate = np.meshgrid(
        np.arange(4), np.arange(543), np.arange(3), indexing="ij"
    )
    vector = (block * 1_000_000 + landmark * 10 + coordinate).reshape(-1)
    picked = vector[feature_columns(SUBSETS["right_hand"], ("acceleration",))]
    assert picked.tolist() == [
        2_000_000 + point * 10 + axis for point in range(522, 543) for axis in range(3)
    ]


def test_the_mirror_pairs_left_with_right_and_leaves_the_middle():
    mirrored = landmarks.MIRRORED
    assert np.array_equal(mirrored[mirrored], np.arange(543))
    face = 33
    for left, right in (("LEFT_BROW", "RIGHT_BROW"), ("LEFT_EYE", "RIGHT_EYE")):
        assert [mirrored[face + i] - face for i in getattr(landmarks, left)] == list(
            getattr(landmarks, right)
        )
    for ring in ("LIPS_OUTER", "LIPS_INNER", "FACE_OVAL"):
        points = {face + i for i in getattr(landmarks, ring)}
        assert {int(mirrored[i]) for i in points} == points
    assert [int(mirrored[face + i]) - face for i in (1, 10, 152, 168, 61, 13)] == [
        1,
        10,
        152,
        168,
        291,
        13,
    ]
    # MediaPipe's pose: nose, eyes (inner, middle, outer), ears, mouth, then left odd and right
    # even.
    pose = [
        0,
        4,
        5,
        6,
        1,
        2,
        3,
        8,
        7,
        10,
        9,
        12,
        11,
        14,
        13,
        16,
        15,
        18,
        17,
        20,
        19,
        22,
        21,
        24,
        23,
        26,
        25,
        28,
        27,
    ]
    assert mirrored[:33].tolist() == [*pose, 30, 29, 32, 31]
    assert mirrored[501:522].tolist() == list(range(522, 543))
    assert [landmarks.PARTS[i] for i in landmarks.MIRRORED_PARTS] == [
        "pose",
        "face",
        "right_hand",
        "left_hand",
    ]


# The landmarks of the face mesh on the signer's middle line, from the forehead to the chin
MIDDLE_LINE = {
    *(10, 151, 9, 8, 168, 6, 197, 195, 5, 4, 1, 19, 94, 2, 164),
    *(0, 11, 12, 13, 14, 15, 16, 17, 18, 200, 199, 175, 152),
}


def test_every_point_of_the_face_has_a_partner_except_the_middle_line():
    mirrored = landmarks.MIRRORED[33:501] - 33
    assert {i for i in range(468) if mirrored[i] == i} == MIDDLE_LINE


def test_the_mirror_keeps_the_edges_of_mediapipes_face_mesh():
    """Neighbours stay neighbours. MediaPipe itself splits six of the mesh's quadrangles another way
    on the other side of the face."""
    connections = pytest.importorskip("mediapipe.python.solutions.face_mesh_connections")
    mirrored = landmarks.MIRRORED[33:501] - 33
    edges = {frozenset(edge) for edge in connections.FACEMESH_TESSELATION}
    moved = {frozenset(int(mirrored[point]) for point in edge) for edge in edges}
    assert len(edges) == 1322 and len(moved - edges) == 6


def test_the_fingers_are_all_points_of_the_hand_except_the_wrist():
    assert sorted(point for finger in landmarks.FINGERS for point in finger) == list(range(1, 21))
    # MediaPipe: the CMC joint of the thumb, the MCP joint of the other fingers
    assert [finger[0] for finger in landmarks.FINGERS] == [1, 5, 9, 13, 17]


def test_two_coordinates_give_the_columns_of_x_and_y():
    found = feature_columns((2, 500), ("velocity",), coordinates=2)
    assert found.tolist() == [1629 + 6, 1629 + 7, 1629 + 1500, 1629 + 1501]
