"""The 543 landmarks of MediaPipe Holistic: parts, reference points, mirror images, named subsets.

The order on disk and in memory is: pose 0-32, face 33-500, left hand 501-521, right hand 522-542.
Inside a part it is MediaPipe's own order (https://github.com/google-ai-edge/mediapipe,
`pose_landmark`, `face_mesh_connections`, `hands_connections`). Left and right are the signer's.
"""

import difflib
from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np

from errors import UsageError

LAYOUT = "mediapipe_holistic_543"  # the name of this order in corpora and exported models
NUM_LANDMARKS = 543
NUM_COORDINATES = 3
BLOCK_SIZE = NUM_LANDMARKS * NUM_COORDINATES  # 1629: values of one block of the features
FEATURE_BLOCKS = ("position", "velocity", "acceleration", "relative")
NUM_FEATURES = len(FEATURE_BLOCKS) * BLOCK_SIZE  # 6516

PARTS = ("pose", "face", "left_hand", "right_hand")  # the columns of `detected`
PART_SLICES = {
    "pose": slice(0, 33),
    "face": slice(33, 501),
    "left_hand": slice(501, 522),
    "right_hand": slice(522, 543),
}

NOSE = 0
LEFT_SHOULDER, RIGHT_SHOULDER = 11, 12
LEFT_WRIST, RIGHT_WRIST = 15, 16
FACE_ROOT = 33 + 168  # between the eyes, where the nose begins
LEFT_HAND_WRIST, RIGHT_HAND_WRIST = 501, 522
# The landmark of each part that its fourth feature block, the relative position, is measured from
PART_ROOTS = {
    "pose": NOSE,
    "face": FACE_ROOT,
    "left_hand": LEFT_HAND_WRIST,
    "right_hand": RIGHT_HAND_WRIST,
}
# The pose landmarks that move with each hand, and how far, as a share of the hand's own movement:
# the elbow, the wrist, and the three points of the hand that the pose has.
ARMS = {
    "left_hand": {13: 0.5, 15: 1.0, 17: 1.0, 19: 1.0, 21: 1.0},
    "right_hand": {14: 0.5, 16: 1.0, 18: 1.0, 20: 1.0, 22: 1.0},
}
# The pose landmark that each other part is attached to. A part that was not detected for some
# frames moves with its anchor.
PART_ANCHORS = {"face": NOSE, "left_hand": LEFT_WRIST, "right_hand": RIGHT_WRIST}

# Face mesh indices (0-467), from MediaPipe's FACEMESH_LIPS, FACEMESH_*_EYEBROW, FACEMESH_*_EYE and
# FACEMESH_FACE_OVAL.
# fmt: off
LIPS_OUTER: tuple[int, ...] = (
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185,
)
LIPS_INNER: tuple[int, ...] = (
    78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191,
)
LEFT_BROW: tuple[int, ...] = (276, 283, 282, 295, 285, 300, 293, 334, 296, 336)
RIGHT_BROW: tuple[int, ...] = (46, 53, 52, 65, 55, 70, 63, 105, 66, 107)
LEFT_EYE: tuple[int, ...] = (
    263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466,
)
RIGHT_EYE: tuple[int, ...] = (
    33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246,
)
FACE_OVAL: tuple[int, ...] = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)
# fmt: on

# Lines to draw a body with. Each tuple is one line through pose landmarks: trunk, left arm, right
# arm, head.
BODY_LINES = ((12, 11, 23, 24, 12), (11, 13, 15), (12, 14, 16), (8, 6, 5, 4, 0, 1, 2, 3, 7))
# Landmarks of each finger inside a hand, from its base to its tip; the wrist is 0
FINGERS = ((1, 2, 3, 4), (5, 6, 7, 8), (9, 10, 11, 12), (13, 14, 15, 16), (17, 18, 19, 20))
FINGER_LINES = tuple((0, *finger) for finger in FINGERS)


def _face(indices: tuple[int, ...]) -> tuple[int, ...]:
    """Face mesh indices (0-467) as indices into the 543 landmarks."""
    return tuple(PART_SLICES["face"].start + index for index in indices)


# Mirror images in the face. (right, left, count): the indices right, right + 1, ... on the
# signer's right are the mirror images of left, left + 1, ... on the left, `count` of them. Measured
# on the mean face of recorded footage: every point has one nearest partner across the plane of
# symmetry; 28 points lie on the plane.
# fmt: off
FACE_MIRROR_RUNS = ((3, 248, 1), (7, 249, 1), (20, 250, 74), (95, 324, 56), (153, 380, 11),
                    (165, 391, 3), (169, 394, 6), (176, 400, 19), (196, 419, 1), (198, 420, 1),
                    (201, 421, 47))
POSE_MIRROR_PAIRS = ((1, 4), (2, 5), (3, 6), (7, 8), (9, 10),
                     *((left, left + 1) for left in range(11, 33, 2)))
# fmt: on


def _mirror_images() -> np.ndarray:
    """The mirror image of each landmark, int64 (543,)."""
    mirrored = np.arange(NUM_LANDMARKS)
    pairs = list(POSE_MIRROR_PAIRS)
    face = PART_SLICES["face"].start
    for right, left, count in FACE_MIRROR_RUNS:
        pairs += [(face + right + i, face + left + i) for i in range(count)]
    pairs += [(LEFT_HAND_WRIST + i, RIGHT_HAND_WRIST + i) for i in range(21)]
    for right, left in pairs:
        mirrored[right], mirrored[left] = left, right
    return mirrored


# int64 (543,): the same landmark on the other side of the body; itself on the middle line.
# landmarks[:, MIRRORED] with x negated is the mirror image of a body.
MIRRORED = _mirror_images()
MIRRORED_PARTS = (0, 1, 3, 2)  # the same for the columns of `detected`

# Named subsets, as indices into the 543 landmarks. The configuration of a model names the subset
# that each of its part encoders uses.
SUBSETS: dict[str, tuple[int, ...]] = {
    "pose_all": tuple(range(33)),
    "upper_body": tuple(range(25)),  # face points of the pose, shoulders, arms, pose hands, hips
    "arms": (0, 11, 12, 13, 14, 15, 16),  # nose, shoulders, elbows, wrists
    "face_all": tuple(range(33, 501)),
    "mouth": _face(LIPS_OUTER[::2] + LIPS_INNER[::2]),  # 20 points
    # The points that Isharah's pickles have, in mirror pairs: 18 points
    "outer_lips": _face(tuple(point for point in LIPS_OUTER if point not in (185, 409))),
    "brows": _face(LEFT_BROW[::2] + RIGHT_BROW[::2]),  # 10 points
    "eyes": _face((263, 386, 362, 374, 33, 159, 133, 145)),  # corners and lids: 8 points
    "mouth_brows_eyes": _face(LIPS_OUTER[::2] + LIPS_INNER[::2] + LEFT_BROW[::2] + RIGHT_BROW[::2])
    + _face((263, 386, 362, 374, 33, 159, 133, 145)),  # 38 points
    "left_hand": tuple(range(501, 522)),
    "right_hand": tuple(range(522, 543)),
}


def subset(name: str) -> tuple[int, ...]:
    """The landmark indices of a named subset.

    Raises UsageError for an unknown name; the message has the nearest known one.
    """
    if name not in SUBSETS:
        near = difflib.get_close_matches(name, SUBSETS, n=1, cutoff=0)[0]
        raise UsageError(
            f"unknown landmark subset '{name}': did you mean '{near}'? Known: {', '.join(SUBSETS)}"
        )
    return SUBSETS[name]


def feature_columns(
    indices: tuple[int, ...],
    blocks: Sequence[str] = FEATURE_BLOCKS,
    coordinates: int = NUM_COORDINATES,
) -> np.ndarray:
    """The columns of the 6516-dim feature vector that hold some landmarks in some blocks.

    Args:
        indices: of the landmarks, 0 to 542.
        blocks: names of `FEATURE_BLOCKS`.
        coordinates: 3, or 2 for x and y alone.

    Returns int64 (len(blocks) * len(indices) * coordinates,), sorted by block, then by landmark as
    given, then by coordinate.
    """
    starts = np.array([FEATURE_BLOCKS.index(block) * BLOCK_SIZE for block in blocks])
    points = np.array(indices) * NUM_COORDINATES
    return (starts[:, None, None] + points[None, :, None] + np.arange(coordinates)).reshape(-1)


class LandmarkSelection:
    """K of the 543 landmarks, in their order.

    A model uses about a sixth of the landmarks. To save work, only the features of a selection are
    computed. A selection has the landmarks that the model uses, and the landmarks that their
    features need: the points that coordinates are measured from, all points of both hands
    (the augmentation folds fingers), and the mirror image of every landmark.

    landmarks: int64 (K,), indices into the 543 landmarks, rising.
    All other attributes are positions among the K landmarks:
    part_slices: where each part lies.
    left_shoulder, right_shoulder, left_wrist, right_wrist: of the pose.
    part_roots, part_anchors: as PART_ROOTS and PART_ANCHORS.
    arms: for each hand, pairs of a position and a share, as ARMS.
    mirrored: the mirror image of each of the K, as MIRRORED.
    """

    def __init__(self, wanted: Iterable[int]):
        """wanted: indices of the landmarks that a model uses, 0 to 542."""
        kept = {*wanted, NOSE, LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_WRIST, RIGHT_WRIST, FACE_ROOT}
        kept.update(
            index
            for hand in ("left_hand", "right_hand")
            for index in range(NUM_LANDMARKS)[PART_SLICES[hand]]
        )
        kept.update(MIRRORED[sorted(kept)].tolist())
        self.landmarks = np.array(sorted(kept))
        self.part_slices = {
            part: slice(*np.searchsorted(self.landmarks, (points.start, points.stop)).tolist())
            for part, points in PART_SLICES.items()
        }
        self.left_shoulder, self.right_shoulder = self._positions(LEFT_SHOULDER, RIGHT_SHOULDER)
        self.left_wrist, self.right_wrist = self._positions(LEFT_WRIST, RIGHT_WRIST)
        self.part_roots = dict(zip(PART_ROOTS, self._positions(*PART_ROOTS.values()), strict=True))
        self.part_anchors = dict(
            zip(PART_ANCHORS, self._positions(*PART_ANCHORS.values()), strict=True)
        )
        self.arms = {
            hand: [
                (position, share)
                for position, index in enumerate(self.landmarks.tolist())
                if (share := shares.get(index))
            ]
            for hand, shares in ARMS.items()
        }
        self.mirrored = tuple(self._positions(*MIRRORED[self.landmarks]))

    def __len__(self) -> int:
        """K, the number of landmarks."""
        return len(self.landmarks)

    def _positions(self, *landmarks: int) -> list[int]:
        """Positions among the K of landmarks 0 to 542."""
        return np.searchsorted(self.landmarks, landmarks).tolist()

    @property
    def block_size(self) -> int:
        """Values of one block of the features: 3 K."""
        return len(self) * NUM_COORDINATES

    @cached_property
    def coordinate_columns(self) -> np.ndarray:
        """int64 (3 K,): columns of the coordinates among the 1629 of all 543 landmarks."""
        return (self.landmarks[:, None] * NUM_COORDINATES + np.arange(NUM_COORDINATES)).reshape(-1)

    def pick(self, landmarks: np.ndarray) -> np.ndarray:
        """A copy of the K landmarks out of all: (T, 543, 3) -> (T, K, 3).

        It picks single numbers, which is almost twice as fast as picking landmarks of three.
        """
        return landmarks.reshape(len(landmarks), -1)[:, self.coordinate_columns].reshape(
            len(landmarks), -1, NUM_COORDINATES
        )

    @property
    def full_columns(self) -> np.ndarray:
        """int64 (12 K,): columns of the selection's features in the 6516-dim feature vector."""
        blocks = np.arange(len(FEATURE_BLOCKS))[:, None] * BLOCK_SIZE
        return (blocks + self.coordinate_columns).reshape(-1)

    def columns_in_selection(self, full_columns: np.ndarray) -> np.ndarray:
        """Translate columns of the 6516-dim feature vector into columns of the 12 K features.

        All of them must belong to landmarks of the selection.
        """
        blocks, columns = np.divmod(full_columns, BLOCK_SIZE)
        positions = np.searchsorted(self.coordinate_columns, columns)
        found = self.coordinate_columns[positions.clip(max=self.block_size - 1)]
        assert (found == columns).all(), "a landmark is not in the selection"
        return blocks * self.block_size + positions


ALL_LANDMARKS = LandmarkSelection(range(NUM_LANDMARKS))
