"""The simulated signer's body: the properties of one signer, hands from joint angles, arms by
inverse kinematics, and a face that moves.

Space is in shoulder widths, x to the signer's left, y down, z away from the camera, origin in the
middle of the shoulders, as in data/simulation/lexicon.py. Landmark numbers are MediaPipe's: the
signer's left is at larger x in the image.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from data.keyed_random import generator
from data.landmarks import (
    FACE_OVAL,
    LEFT_BROW,
    LEFT_EYE,
    LIPS_INNER,
    LIPS_OUTER,
    RIGHT_BROW,
    RIGHT_EYE,
)

CLAVICLE = 0.5  # half the shoulder width


@dataclass(frozen=True)
class Framing:
    """How the camera of a corpus shows its signers. Ranges are fractions of the image; the distance
    is in shoulder widths."""

    width: int
    height: int
    shoulder_width: tuple[float, float]  # of the image's width
    centre_x: tuple[float, float]
    centre_y: tuple[float, float]
    distance: tuple[float, float]

    @property
    def aspect_ratio(self) -> float:
        return self.width / self.height


WEBCAM = Framing(640, 480, (0.225, 0.32), (0.46, 0.54), (0.5, 0.6), (2.8, 4.5))
# As in the frames of RWTH-PHOENIX-Weather
STUDIO = Framing(210, 260, (0.34, 0.4), (0.41, 0.5), (0.44, 0.49), (5.0, 7.0))


@dataclass(frozen=True)
class Signer:
    """The properties of one signer. Lengths are in shoulder widths, angles in radians, times in
    frames."""

    name: str
    left_handed: bool
    shoulder_width: float  # of the image's width
    centre: tuple[float, float]  # of the shoulders, in the image
    distance: float  # of the camera
    roll: float
    yaw: float
    upper_arm: float
    forearm: float
    hand: float  # wrist to middle knuckle
    finger_length: float  # relative to the hand
    neck: float  # shoulders to the middle of the face
    face_width: float
    # Height, eye distance, mouth width, nose, brow height, relative to the mean face
    face_shape: tuple[float, ...]
    speed: float
    amplitude: float
    smoothing: float  # standard deviation of the Gaussian that blends neighbouring signs
    offset: tuple[float, float, float]  # of all places of articulation
    elbow: float  # how far the elbows point outwards
    rest: str  # a key of REST_POSES
    perseveration: float  # share of one-handed signs during which the other hand stays in place
    mouth: float
    sway: float
    depth_scale: float  # of the pose's z in MediaPipe
    noise: float  # of detections, relative to a mean recording
    hand_loss: float  # base log-odds of losing a hand in a frame
    face_loss: float  # share of frames without a face


def draw_signer(name: str, seed: int, framing: Framing) -> Signer:
    """Draw the signer with this name: the same one for the same seed and framing."""
    rng = generator(seed, "signer", name)

    def vary(mean: float, deviation: float) -> float:
        return float(mean * np.exp(deviation * np.clip(rng.standard_normal(), -2, 2)))

    return Signer(
        name=name,
        left_handed=bool(rng.random() < 0.1),
        shoulder_width=float(rng.uniform(*framing.shoulder_width)),
        centre=(float(rng.uniform(*framing.centre_x)), float(rng.uniform(*framing.centre_y))),
        distance=float(rng.uniform(*framing.distance)),
        roll=float(rng.normal(0, 0.025)),
        yaw=float(rng.normal(0, 0.08)),
        upper_arm=vary(0.85, 0.06),
        forearm=vary(0.72, 0.06),
        hand=vary(0.27, 0.06),
        finger_length=vary(1.0, 0.05),
        neck=vary(0.58, 0.06),
        face_width=vary(0.43, 0.06),
        face_shape=tuple(vary(1.0, 0.06) for _ in range(5)),
        speed=vary(1.0, 0.13),
        amplitude=vary(1.0, 0.15),
        smoothing=float(rng.uniform(0.8, 1.4)),
        offset=_triple(rng.normal(0, 0.07, 3)),
        elbow=float(rng.uniform(0.6, 1.3)),
        rest=str(rng.choice(list(REST_POSES))),
        perseveration=float(rng.uniform(0.3, 0.75)),
        mouth=float(rng.uniform(0.3, 1.1)),
        sway=float(rng.uniform(0.5, 1.5)),
        depth_scale=vary(2.6, 0.12),
        noise=vary(1.0, 0.35),
        hand_loss=float(rng.normal(-4.2, 0.5)),
        face_loss=float(np.exp(rng.uniform(np.log(0.0005), np.log(0.04)))),
    )


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])


# The right hand at rest: contact point and orientation (a key of ORIENTATIONS).
REST_POSES = {
    "lap": ((-0.24, 1.62, -0.35), "across_in"),
    "sides": ((-0.66, 1.75, -0.12), "down_in"),
    "table": ((-0.30, 1.30, -0.55), "across_down"),
}

# ---- hands and arms ----

# Units are palm lengths (wrist to middle knuckle). Axes: x towards the thumb, y along the fingers,
# z out of the palm.
_KNUCKLES = np.array(
    [[0.26, 0.96, 0], [0.05, 1.0, 0], [-0.15, 0.94, 0], [-0.33, 0.84, 0]], np.float32
)
_PHALANGES = np.array(
    [[0.45, 0.27, 0.21], [0.50, 0.31, 0.22], [0.46, 0.29, 0.22], [0.36, 0.21, 0.19]], np.float32
)
_FAN = np.array([1.0, 0.2, -0.6, -1.4], np.float32)  # share of the spread of each finger
_NATURAL_FAN = np.array([0.06, 0.01, -0.05, -0.12], np.float32)
_THUMB_ROOT = np.array([0.27, 0.30, 0.08], np.float32)
_THUMB_BONES = (0.38, 0.32, 0.26)
CONTACTS = {
    "tip": np.array([0.05, 1.6, 0.15], np.float32),
    "palm": np.array([0.0, 0.95, 0.12], np.float32),
}


def hand_joints(angles: np.ndarray, finger_length: float) -> np.ndarray:
    """Joint angles of a right hand (T, 12) in radians → its joints (T, 21, 3) in palm lengths.

    Axes: x towards the thumb, y along the fingers, z out of the palm; the wrist is the origin.
    finger_length: relative to the mean hand.
    """
    knuckle, middle, spread, thumb = angles[:, :4], angles[:, 4:8], angles[:, 8:9], angles[:, 9:12]
    joints = np.zeros((len(angles), 21, 3), np.float32)
    side = _NATURAL_FAN + spread * _FAN  # (T, 4)
    bend = np.stack([knuckle, knuckle + middle, knuckle + 1.65 * middle], axis=2)  # (T, 4, 3)
    side = side[:, :, None]
    direction = np.stack(
        [np.sin(side) * np.cos(bend), np.cos(side) * np.cos(bend), np.sin(bend)], axis=3
    )
    bones = direction * (_PHALANGES * finger_length)[None, :, :, None]  # (T, 4, 3, 3)
    fingers = np.concatenate(
        [np.broadcast_to(_KNUCKLES[:, None], (len(angles), 4, 1, 3)), bones], axis=2
    )
    joints[:, 5:] = np.cumsum(fingers, axis=2).reshape(len(angles), 16, 3)
    turn = thumb[:, :1] - thumb[:, 2:] * np.arange(3, dtype=np.float32)  # (T, 3)
    lift = thumb[:, 1:2]
    direction = np.stack(
        [
            np.sin(turn) * np.cos(lift),
            np.cos(turn) * np.cos(lift),
            np.broadcast_to(np.sin(lift), turn.shape),
        ],
        axis=2,
    )
    bones = direction * np.array(_THUMB_BONES, np.float32)[None, :, None]
    joints[:, 1] = _THUMB_ROOT
    joints[:, 2:5] = _THUMB_ROOT + np.cumsum(bones, axis=1)
    return joints


def rotation_matrices(quaternions: np.ndarray) -> np.ndarray:
    """Unit quaternions w, x, y, z (T, 4) → rotation matrices (T, 3, 3)."""
    w, x, y, z = quaternions.T
    rows = [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)]
    rows += [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)]
    rows += [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]
    return np.stack(rows, axis=1).reshape(-1, 3, 3)


def multiply(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Hamilton product of quaternions (..., 4): rotate by `second`, then by `first`."""
    a, b, c, d = np.moveaxis(first, -1, 0)
    e, f, g, h = np.moveaxis(second, -1, 0)
    parts = [a * e - b * f - c * g - d * h, a * f + b * e + c * h - d * g]
    parts += [a * g - b * h + c * e + d * f, a * h + b * g - c * f + d * e]
    return np.stack(parts, axis=-1)


def _unit(vectors: np.ndarray) -> np.ndarray:
    unit: np.ndarray = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-6)
    return unit


def bend_wrist(rotation: np.ndarray, forearm: np.ndarray, limit: float = 1.25) -> np.ndarray:
    """Turn hands back where the wrist bends too far.

    rotation (T, 3, 3): of the hands. forearm (T, 3): its direction. limit: largest angle between
    hand and forearm, in radians.
    """
    fingers = rotation[:, :, 1]
    angle = np.arccos(np.clip(np.sum(fingers * forearm, axis=1), -1, 1))
    excess = np.maximum(angle - limit, 0)
    # Fade out the correction near the opposite direction, where its axis flips
    excess = np.where(angle > 2.6, excess * np.clip((np.pi - angle) / (np.pi - 2.6), 0, 1), excess)
    axis = _unit(np.cross(fingers, forearm))
    half = excess[:, None] / 2
    turn = rotation_matrices(np.concatenate([np.cos(half), np.sin(half) * axis], axis=1))
    bent: np.ndarray = np.einsum("tij,tjk->tik", turn, rotation)
    return bent


def reach(
    shoulder: np.ndarray, wrist: np.ndarray, upper: float, fore: float, elbow_out: float
) -> tuple[np.ndarray, np.ndarray]:
    """Two-bone inverse kinematics of a right arm: shoulder and wanted wrist → elbow and wrist, all
    (T, 3).

    A wrist that is too far away is moved to the nearest point that the arm reaches. upper, fore:
    lengths of upper arm and forearm. elbow_out: how far the elbow points outwards.
    """
    to_wrist = wrist - shoulder
    length = np.linalg.norm(to_wrist, axis=1, keepdims=True)
    direction = to_wrist / np.maximum(length, 1e-6)
    length = np.clip(length, abs(upper - fore) + 0.25, 0.985 * (upper + fore))
    wrist = shoulder + length * direction
    along = (length**2 + upper**2 - fore**2) / (2 * length)
    out = np.sqrt(np.maximum(upper**2 - along**2, 0))
    pole = np.array([-elbow_out, 1.0, 0.25], np.float32)
    pole = _unit(pole - np.sum(direction * pole, axis=1, keepdims=True) * direction)
    return shoulder + along * direction + out * pole, wrist


# ---- face ----

_MIDLINE = {  # landmark index: height, in face widths below the middle of the face
    10: -0.62, 151: -0.50, 9: -0.40, 8: -0.35, 168: -0.28, 6: -0.22, 197: -0.15, 195: -0.09,
    5: -0.04, 4: 0.0, 1: 0.03, 19: 0.07, 94: 0.09, 2: 0.11, 164: 0.16, 18: 0.34, 200: 0.41,
    199: 0.48, 175: 0.55,
}  # fmt: skip
_MOUTH_Y, _MOUTH_HALF, _EYE_Y = 0.24, 0.18, -0.24


def _depth(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Depth of the surface of a face at x and y, in face widths; negative is towards the camera.

    The surface is an ellipsoid with a ridge for the nose.
    """
    shell = -0.42 * np.sqrt(np.maximum(1 - (x / 0.52) ** 2 - 0.55 * (y / 0.66) ** 2, 0.0))
    along = np.clip((y + 0.3) / 0.33, 0, 1) * np.clip((0.14 - y) / 0.09, 0, 1)
    return shell - 0.2 * along * np.exp(-((x / 0.075) ** 2))


@lru_cache(maxsize=64)
def face_mesh(shape: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """A signer's face at rest (468, 3) and its six moves (6, 468, 3), in face widths around the
    middle of the face.

    The moves: mouth opening, mouth width, mouth rounding, brows raised, brows knit, eyes shut.
    Lips, brows, eyes, oval and midline have their MediaPipe indices; all other indices cover the
    rest of the surface evenly.

    shape: height, eye distance, mouth width, nose, brow height, relative to the mean face.
    """
    height, eyes, mouth, nose, brow = shape
    xy = np.full((468, 2), np.nan)
    angle = 2 * np.pi * np.arange(36) / 36
    oval = np.stack([np.sin(angle), -np.cos(angle)], axis=1)
    oval = np.sign(oval) * np.abs(oval) ** 0.85 * [0.5, 0.62]  # squarer than an ellipse
    # The jaw is narrower than the forehead
    oval[:, 0] *= 1 - 0.22 * np.clip(oval[:, 1] / 0.62, 0, 1) ** 2
    xy[list(FACE_OVAL)] = oval
    for index, down in _MIDLINE.items():
        xy[index] = 0, down
    lip_rings = ((LIPS_OUTER, 1.0, 0.055, 0.065), (LIPS_INNER, 0.86, 0.006, 0.01))
    for lip_ring, half, up, down in lip_rings:
        t = np.linspace(-1, 1, 11)  # from the right corner to the left one
        bow = np.sqrt(1 - t**2)
        lower = np.stack([t * _MOUTH_HALF * half, _MOUTH_Y + 0.01 * np.abs(t) + down * bow], axis=1)
        upper = np.stack([t * _MOUTH_HALF * half, _MOUTH_Y + 0.01 * np.abs(t) - up * bow], axis=1)
        xy[list(lip_ring)] = np.concatenate([lower, upper[-2:0:-1]])
    for side, eye_ring, brows in ((1, LEFT_EYE, LEFT_BROW), (-1, RIGHT_EYE, RIGHT_BROW)):
        t = np.linspace(1, -1, 9)  # from the outer corner to the inner one
        lid = np.sqrt(1 - t**2)
        across = side * (0.235 + 0.10 * t) * eyes
        lower = np.stack([across, _EYE_Y + 0.028 * lid], axis=1)
        upper = np.stack([across, _EYE_Y - 0.034 * lid], axis=1)
        xy[list(eye_ring)] = np.concatenate([lower, upper[-2:0:-1]])
        t = np.linspace(0, 1, 5)
        line = np.stack(
            [side * (0.40 - 0.30 * t), -0.35 - 0.05 * np.sin(np.pi * t * 0.8) + 0.02 * t], axis=1
        )
        xy[list(brows)] = np.concatenate([line, line - [0, 0.035]])
    rest = np.flatnonzero(np.isnan(xy[:, 0]))  # in a sunflower pattern over the oval
    order = np.arange(len(rest)) + 0.5
    radius, angle = 0.97 * np.sqrt(order / len(rest)), order * np.pi * (3 - np.sqrt(5))
    filler = np.stack([0.5 * radius * np.cos(angle), 0.62 * radius * np.sin(angle)], axis=1)
    filler[:, 0] *= 1 - 0.22 * np.clip(filler[:, 1] / 0.62, 0, 1) ** 2
    xy[rest] = filler

    x, y = xy[:, 0], xy[:, 1]
    z = _depth(x, y)
    near_mouth = np.exp(-((x / 0.24) ** 2) - ((y - _MOUTH_Y) / 0.14) ** 2)
    moves = np.zeros((6, 468, 3))
    jaw = np.clip((y - _MOUTH_Y) / 0.05, 0, 1) * np.clip(1.25 - (x / 0.42) ** 2, 0, 1)
    lips = np.concatenate([LIPS_OUTER, LIPS_INNER])
    jaw[lips] = 0
    for lip_ring in (LIPS_OUTER, LIPS_INNER):
        t = np.linspace(-1, 1, 11)
        jaw[list(lip_ring[:11])] = np.sqrt(1 - t**2)  # the lower lip
        jaw[[lip_ring[0], lip_ring[10]]] = 0.3  # the corners follow a little
        moves[0, list(lip_ring[11:]), 1] = -0.012
    moves[0, :, 1] += 0.11 * jaw
    moves[1, :, 0] = 0.22 * x * near_mouth
    moves[1, :, 1] = -0.10 * np.abs(x) * near_mouth
    moves[2, :, 0] = -0.38 * x * near_mouth
    moves[2, :, 2] = -0.07 * near_mouth
    near_brow = np.exp(-(((y + 0.37) / 0.075) ** 2))
    moves[3, :, 1] = -0.055 * near_brow
    inner = near_brow * np.exp(-(((np.abs(x) - 0.1) / 0.12) ** 2))
    moves[4, :, 0] = -0.03 * np.sign(x) * inner
    moves[4, :, 1] = 0.035 * inner
    for eye_ring in (LEFT_EYE, RIGHT_EYE):
        upper_lid = list(eye_ring[9:])
        moves[5, upper_lid, 1] = 0.9 * (xy[list(eye_ring[7:0:-1]), 1] - xy[upper_lid, 1])

    base = np.stack([x, y, z], axis=1)
    base[:, 0] *= 1 + (mouth - 1) * near_mouth
    base[:, 1] += -0.37 * (brow - 1) * near_brow
    base[:, 2] += (1 - nose) * 0.4 * np.exp(-((x / 0.09) ** 2) - ((y - 0.02) / 0.1) ** 2)
    scale = np.array([1, height, 1])
    return (base * scale).astype(np.float32), (moves * scale).astype(np.float32)


# Points 0-10 of the pose model: the head, in face widths. The model overestimates its depth.
POSE_HEAD = np.array(
    [
        (0, 0.02, -0.95),  # nose
        # Left eye: inner corner, middle, outer
        *((0.11, -0.25, -0.85), (0.2, -0.26, -0.85), (0.28, -0.25, -0.85)),
        *((-0.11, -0.25, -0.85), (-0.2, -0.26, -0.85), (-0.28, -0.25, -0.85)),
        *((0.5, -0.12, 0.1), (-0.5, -0.12, 0.1)),  # ears
        *((0.17, 0.25, -0.75), (-0.17, 0.25, -0.75)),  # mouth
    ],
    np.float32,
)
# Points 23-32 of the pose model (hips, knees, ankles, heels, toes; left and right): where MediaPipe
# guesses them below the image.
POSE_LEGS = np.array(
    [
        (side * x, y, z)
        for x, y, z in (
            (0.34, 1.6, 0.28),
            (0.36, 2.75, 0.22),
            (0.34, 3.8, 0.66),
            (0.33, 3.98, 0.68),
            (0.27, 4.12, 0.15),
        )
        for side in (1, -1)
    ],
    np.float32,
)
