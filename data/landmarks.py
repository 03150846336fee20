"""The 543-point MediaPipe Holistic layout: parts, reference points and the named subsets that part
encoders read.

Order on disk and in memory: pose 0-32, face 33-500, left hand 501-521, right hand 522-542. Indices
inside a part are MediaPipe's own (https://github.com/google-ai-edge/mediapipe, `pose_landmark`,
`face_mesh_connections`, `hands_connections`).
"""

import difflib
from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np

from errors import UsageError

LAYOUT = "mediapipe_holistic_543"
NUM_LANDMARKS = 543
NUM_COORDINATES = 3
BLOCK_SIZE = NUM_LANDMARKS * NUM_COORDINATES  # 1629 values: one block of the feature vector
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
# The landmark that each part's fourth feature block is measured from.
PART_ROOTS = {
    "pose": NOSE,
    "face": FACE_ROOT,
    "left_hand": LEFT_HAND_WRIST,
    "right_hand": RIGHT_HAND_WRIST,
}
# What moves with a hand, and how far: of the pose, the elbow, the wrist and its own three points of
# the hand.
ARMS = {
    "left_hand": {13: 0.5, 15: 1.0, 17: 1.0, 19: 1.0, 21: 1.0},
    "right_hand": {14: 0.5, 16: 1.0, 18: 1.0, 20: 1.0, 22: 1.0},
}
# The pose landmark that a lost part is carried along with, so that a bridged gap still follows the
# body.
PART_ANCHORS = {"face": NOSE, "left_hand": LEFT_WRIST, "right_hand": RIGHT_WRIST}

# Face mesh indices (0-467), from MediaPipe's FACEMESH_LIPS, FACEMESH_*_EYEBROW, FACEMESH_*_EYE and
# FACEMESH_FACE_OVAL.
LIPS_OUTER = (
    61,
    146,
    91,
    181,
    84,
    17,
    314,
    405,
    321,
    375,
    291,
    409,
    270,
    269,
    267,
    0,
    37,
    39,
    40,
    185,
)
LIPS_INNER = (
    78,
    95,
    88,
    178,
    87,
    14,
    317,
    402,
    318,
    324,
    308,
    415,
    310,
    311,
    312,
    13,
    82,
    81,
    80,
    191,
)
LEFT_BROW = (276, 283, 282, 295, 285, 300, 293, 334, 296, 336)
RIGHT_BROW = (46, 53, 52, 65, 55, 70, 63, 105, 66, 107)
LEFT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
RIGHT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
FACE_OVAL = (
    10,
    338,
    297,
    332,
    284,
    251,
    389,
    356,
    454,
    323,
    361,
    288,
    397,
    365,
    379,
    378,
    400,
    377,
)
FACE_OVAL += (152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)

# Lines to draw a body by: through pose landmarks (trunk, left arm, right arm, head), and through
# those of a hand.
BODY_LINES = ((12, 11, 23, 24, 12), (11, 13, 15), (12, 14, 16), (8, 6, 5, 4, 0, 1, 2, 3, 7))
# Of a hand, base first
FINGERS = ((1, 2, 3, 4), (5, 6, 7, 8), (9, 10, 11, 12), (13, 14, 15, 16), (17, 18, 19, 20))
FINGER_LINES = tuple((0, *finger) for finger in FINGERS)


def _face(indices: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(PART_SLICES["face"].start + index for index in indices)


# Runs of face points on the signer's right and their partners on the left: (right, left, how many
# in a row). Measured: in a mean face of recorded footage every point has one nearest partner across
# the plane of symmetry (28 lie on it).
FACE_MIRROR_RUNS = (
    (3, 248, 1),
    (7, 249, 1),
    (20, 250, 74),
    (95, 324, 56),
    (153, 380, 11),
    (165, 391, 3),
    (169, 394, 6),
)
FACE_MIRROR_RUNS += ((176, 400, 19), (196, 419, 1), (198, 420, 1), (201, 421, 47))
POSE_MIRROR_PAIRS = (
    (1, 4),
    (2, 5),
    (3, 6),
    (7, 8),
    (9, 10),
    *((left, left + 1) for left in range(11, 33, 2)),
)


def _mirrored() -> np.ndarray:
    partner = np.arange(NUM_LANDMARKS)
    pairs = list(POSE_MIRROR_PAIRS)
    face = PART_SLICES["face"].start
    for right, left, count in FACE_MIRROR_RUNS:
        pairs += [(face + right + i, face + left + i) for i in range(count)]
    pairs += [(LEFT_HAND_WRIST + i, RIGHT_HAND_WRIST + i) for i in range(21)]
    for one, other in pairs:
        partner[one], partner[other] = other, one
    return partner


MIRRORED = _mirrored()  # int64 (543,): the landmark that stands in each one's place in a mirror
MIRRORED_PARTS = (0, 1, 3, 2)  # the same for the columns of `detected`

# Named subsets: configuration says which of them a part encoder reads. Values are indices into the
# 543 landmarks.
SUBSETS: dict[str, tuple[int, ...]] = {
    "pose_all": tuple(range(33)),
    "upper_body": tuple(range(25)),  # face points of the pose, shoulders, arms, pose hands, hips
    "arms": (0, 11, 12, 13, 14, 15, 16),  # nose, shoulders, elbows, wrists
    "face_all": tuple(range(33, 501)),
    "mouth": _face(LIPS_OUTER[::2] + LIPS_INNER[::2]),  # 20 points
    "brows": _face(LEFT_BROW[::2] + RIGHT_BROW[::2]),  # 10 points
    "eyes": _face((263, 386, 362, 374, 33, 159, 133, 145)),  # corners and lids: 8 points
    "mouth_brows_eyes": _face(LIPS_OUTER[::2] + LIPS_INNER[::2] + LEFT_BROW[::2] + RIGHT_BROW[::2])
    + _face((263, 386, 362, 374, 33, 159, 133, 145)),  # 38 points
    "left_hand": tuple(range(501, 522)),
    "right_hand": tuple(range(522, 543)),
}


def subset(name: str) -> tuple[int, ...]:
    """Landmark indices of a named subset. Raises UsageError naming the nearest known subset."""
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
    """Columns of the 6516-dim feature vector that hold the given landmarks in the given blocks.

    coordinates: 3, or 2 for x and y alone. Returns int64 (len(blocks) * len(indices) *
    coordinates,), ordered block, landmark, coordinate.
    """
    starts = np.array([FEATURE_BLOCKS.index(block) * BLOCK_SIZE for block in blocks])
    points = np.array(indices) * NUM_COORDINATES
    return (starts[:, None, None] + points[None, :, None] + np.arange(coordinates)).reshape(-1)


class LandmarkSelection:
    """Some of the 543 landmarks, in their order: those that are asked for, and what their features
    are made with.

    Models read a sixth of the landmarks; features of the others need not be computed. Kept besides
    are the points that coordinates are measured from, whole hands (fingers are folded point by
    point) and every landmark's mirror image.

    landmarks int64 (K,) into the 543; parts are slices of the K, and all other places are indices
    into them.
    """

    def __init__(self, wanted: Iterable[int]):
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
        self.left_shoulder, self.right_shoulder = self._places(LEFT_SHOULDER, RIGHT_SHOULDER)
        self.left_wrist, self.right_wrist = self._places(LEFT_WRIST, RIGHT_WRIST)
        self.part_roots = dict(zip(PART_ROOTS, self._places(*PART_ROOTS.values()), strict=True))
        self.part_anchors = dict(
            zip(PART_ANCHORS, self._places(*PART_ANCHORS.values()), strict=True)
        )
        self.arms = {
            hand: [
                (place, share)
                for place, index in enumerate(self.landmarks.tolist())
                if (share := shares.get(index))
            ]
            for hand, shares in ARMS.items()
        }
        self.mirrored = tuple(self._places(*MIRRORED[self.landmarks]))

    def __len__(self) -> int:
        return len(self.landmarks)

    def _places(self, *landmarks: int) -> list[int]:
        return np.searchsorted(self.landmarks, landmarks).tolist()

    @property
    def block(self) -> int:
        """Values of one block of the features."""
        return len(self) * NUM_COORDINATES

    @cached_property
    def values(self) -> np.ndarray:
        """int64 (3 K,): where the coordinates of these landmarks stand among those of all 543."""
        return (self.landmarks[:, None] * NUM_COORDINATES + np.arange(NUM_COORDINATES)).reshape(-1)

    def pick(self, landmarks: np.ndarray) -> np.ndarray:
        """A copy of these of all 543 landmarks: (T, 543, 3) -> (T, K, 3)."""
        return landmarks.reshape(len(landmarks), -1)[:, self.values].reshape(
            len(landmarks), -1, NUM_COORDINATES
        )

    @property
    def full_columns(self) -> np.ndarray:
        """int64 (12 K,): where the features of these landmarks stand in the 6516-dim feature
        vector."""
        return (np.arange(len(FEATURE_BLOCKS))[:, None] * BLOCK_SIZE + self.values).reshape(-1)

    def columns(self, columns: np.ndarray) -> np.ndarray:
        """Where columns of the 6516-dim feature vector stand in the 12 K features of these
        landmarks."""
        blocks, values = np.divmod(columns, BLOCK_SIZE)
        places = np.searchsorted(self.values, values)
        assert (self.values[places.clip(max=self.block - 1)] == values).all(), (
            "a landmark that is not kept"
        )
        return blocks * self.block + places


ALL_LANDMARKS = LandmarkSelection(range(NUM_LANDMARKS))
