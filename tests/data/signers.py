"""A signer who stands in the image, for the tests of whatever looks at the shape of a body."""

import numpy as np

from data.landmarks import LEFT_WRIST, NOSE, PART_SLICES, RIGHT_WRIST

# x and y of the pose: head, shoulders, elbows, wrists with the hand's points, hips, legs
_HEAD = [(0.5, 0.3), *((0.53, 0.27),) * 3, *((0.47, 0.27),) * 3]
_HEAD += [(0.57, 0.29), (0.43, 0.29), (0.52, 0.34), (0.48, 0.34)]
_ARMS = [(0.65, 0.55), (0.35, 0.55), (0.7, 0.75), (0.3, 0.75), (0.62, 0.7), (0.38, 0.6)]
_ARMS += [(0.6, 0.66), (0.4, 0.56)] * 3
_LEGS = [(0.6, 1.1), (0.4, 1.1), (0.6, 1.5), (0.4, 1.5), (0.6, 1.8), (0.4, 1.8)]
_LEGS += [(0.6, 1.9), (0.4, 1.9)] * 2
POSE = np.array(_HEAD + _ARMS + _LEGS)


def standing_signer(frames: int, seed: int = 0) -> np.ndarray:
    """Landmarks float64 (T, 543, 3), image fractions: face around the nose, hands at the wrists.

    Nose, shoulders and wrists stand still; all other points tremble.
    """
    random = np.random.default_rng(seed)
    landmarks = random.uniform(-0.01, 0.01, (frames, 543, 3))
    landmarks[:, PART_SLICES["pose"], :2] += POSE
    landmarks[:, [0, 11, 12, 15, 16], :2] = POSE[[0, 11, 12, 15, 16]]
    for part, root, size in (
        ("face", NOSE, (0.08, 0.11)),
        ("left_hand", LEFT_WRIST, (0.04, 0.05)),
        ("right_hand", RIGHT_WRIST, (0.04, 0.05)),
    ):
        points = PART_SLICES[part].stop - PART_SLICES[part].start
        shape = random.uniform(-1, 1, (points, 2)) * size
        shape[0] = 0
        landmarks[:, PART_SLICES[part], :2] += POSE[root] + shape
    return landmarks


def mp_data_vectors(landmarks: np.ndarray, face: bool = False) -> np.ndarray:
    """Landmarks (T, 543, 3) as mp_data vectors: (T, 1662) with a face, else (T, 258)."""
    count = len(landmarks)
    pose = np.concatenate([landmarks[:, :33], np.full((count, 33, 1), 0.9)], axis=2)
    others = landmarks[:, 33 if face else 501 :]
    return np.concatenate([pose.reshape(count, -1), others.reshape(count, -1)], axis=1)
