"""From planned postures to a moving body: arms, hands, head and face of one signer.

Postures are planned for a right-handed signer. The other hand is planned as a right hand in a
mirrored space of its own. The body of a left-handed signer is mirrored here.
"""

from dataclasses import dataclass

import numpy as np

from data.simulation.body import (
    CLAVICLE,
    POSE_HEAD,
    POSE_LEGS,
    Signer,
    bend_wrist,
    face_mesh,
    hand_joints,
    multiply,
    reach,
    rotation_matrices,
)
from data.simulation.posture import BROW, CONTACT, FINGER_ANGLES, HAND, HEAD, MOUTH, POINT, TURN
from data.simulation.time_series import combine, combine_frames, drift, smooth


@dataclass(frozen=True)
class Body:
    """A moving body in shoulder widths, without a camera: float32 arrays with one row per frame."""

    pose: np.ndarray  # (T, 33, 3)
    face: np.ndarray  # (T, 468, 3)
    hands: np.ndarray  # (T, 2, 21, 3): left, right


def embody(signer: Signer, plan: np.ndarray, rng: np.random.Generator) -> Body:
    """The moving body of planned postures (T, COLUMN_COUNT).

    rng: draws the body's small wandering.
    """
    frames = len(plan)
    # Columns: 0-2 lean, 3-4 roll and yaw of the torso, 5-7 head, 8-10 dominant hand, 11-13 other
    wander = drift(rng, frames, np.array([0.985] * 5 + [0.95] * 3 + [0.9] * 6))
    wander *= np.array([0.02, 0.01, 0.03, 0.015, 0.04, 0.05, 0.035, 0.03] + [0.012] * 6, np.float32)
    wander[:, :8] *= signer.sway
    wander = smooth(wander, 1.5).astype(np.float32)
    plan = plan.astype(np.float32)
    lean = wander[:, :3]
    # Raised hands lift their shoulders
    lifted = np.clip((0.4 - plan[:, [1, HAND + 1]]) / 1.2, -0.5, 1)
    lean[:, 1] -= 0.03 * lifted.sum(axis=1)
    torso = _rotation(
        wander[:, 4], np.zeros(frames), wander[:, 3] + 0.05 * (lifted[:, 0] - lifted[:, 1])
    )

    side = np.float32(-1.0 if signer.left_handed else 1.0)
    mirror = np.array([side, 1, 1], np.float32)
    dominant = _arm(signer, plan[:, :HAND], lean, torso, wander[:, 8:11], 1) * mirror
    other = _arm(signer, plan[:, HAND : 2 * HAND], lean, torso, wander[:, 11:14], -1) * mirror
    left, right = (dominant, other) if signer.left_handed else (other, dominant)

    tilt = plan[:, HEAD] + wander[:, 5:8]
    centre = lean + torso[:, :, 1] * np.float32(-signer.neck) - np.float32(0.12) * torso[:, :, 2]
    centre[:, 0] *= side
    head = _rotation(side * tilt[:, 0], tilt[:, 1], side * tilt[:, 2])
    head = head * np.float32(signer.face_width)
    weights = np.concatenate([plan[:, MOUTH], plan[:, BROW], _blinks(frames, rng)], axis=1)
    face = _face(signer, weights, head, centre)
    pose = _pose(left, right, head, centre)
    return Body(pose, face, np.stack([left[:, 2:], right[:, 2:]], axis=1))


def _arm(
    signer: Signer,
    hand: np.ndarray,
    lean: np.ndarray,
    torso: np.ndarray,
    wandering: np.ndarray,
    side: int,
) -> np.ndarray:
    """Shoulder, elbow and the 21 hand joints of one arm of a right-handed signer: (T, 23, 3).

    hand: its columns of the plan. side: 1 for the dominant arm, -1 for the other one, which is
    planned in its mirrored space.
    """
    flip = np.array([side, 1, 1], np.float32)
    turn = hand[:, TURN] / np.linalg.norm(hand[:, TURN], axis=1, keepdims=True)
    turn = rotation_matrices(turn)
    shoulder = (lean + side * -CLAVICLE * torso[:, :, 0]) * flip
    offset = np.einsum("tij,tj->ti", turn, hand[:, CONTACT]) * signer.hand
    wrist = hand[:, POINT] + lean * flip + wandering - offset
    elbow, wrist = reach(shoulder, wrist, signer.upper_arm, signer.forearm, signer.elbow)
    turn = bend_wrist(turn, (wrist - elbow) / signer.forearm)
    joints = hand_joints(hand[:, FINGER_ANGLES], signer.finger_length) * signer.hand
    joints = wrist[:, None] + np.einsum("tij,tkj->tki", turn, joints)
    arm: np.ndarray = np.concatenate([np.stack([shoulder, elbow], axis=1), joints], axis=1) * flip
    return arm


def _face(signer: Signer, weights: np.ndarray, head: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """The face's points (T, 468, 3). weights (T, 6): of the face's moves. head (T, 3, 3): rotation
    times size. centre (T, 3): the middle of the face."""
    mesh, moves = face_mesh(signer.face_shape)
    face = combine(weights, moves.transpose(0, 2, 1).reshape(len(moves), -1))
    face = face.reshape(len(weights), 3, -1) + mesh.T  # (T, 3, 468)
    turned: np.ndarray = np.stack([combine_frames(head[:, k], face) for k in range(3)], axis=2)
    turned += centre[:, None]
    return turned


def _pose(left: np.ndarray, right: np.ndarray, head: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """The 33 pose points (T, 33, 3) from the arms (T, 23, 3) and the head."""
    pose = np.empty((len(left), 33, 3), np.float32)
    pose[:, :11] = np.einsum("tij,kj->tki", head, POSE_HEAD) + centre[:, None]
    # Shoulder, elbow, wrist, little finger, index finger, thumb
    for first, arm in ((11, left), (12, right)):
        pose[:, first] = arm[:, 0]
        pose[:, first + 2] = arm[:, 1]
        pose[:, first + 4] = arm[:, 2]
        pose[:, first + 6] = arm[:, 2 + 17]
        pose[:, first + 8] = 0.7 * arm[:, 2 + 5] + 0.3 * arm[:, 2 + 6]
        pose[:, first + 10] = arm[:, 2 + 2]
    pose[:, 23:] = POSE_LEGS
    return pose


def _blinks(frames: int, rng: np.random.Generator) -> np.ndarray:
    """How far the eyes are shut: float32 (T, 1), from 0 to 1; a blink about every 70 frames."""
    starts = rng.random(frames) < 1 / 70
    shut = np.convolve(starts, [0.6, 1.0, 0.9, 0.3])[:frames, None]
    blinks: np.ndarray = np.minimum(shut, 1).astype(np.float32)
    return blinks


def _rotation(yaw: np.ndarray, nod: np.ndarray, tilt: np.ndarray) -> np.ndarray:
    """Rotation matrices (T, 3, 3) of small turns around y (yaw), x (nod) and z (tilt), in that
    order. Angles are in radians."""
    parts = []
    for axis, angle in ((2, yaw), (1, nod), (3, tilt)):
        quaternions = np.zeros((len(angle), 4), np.float32)
        quaternions[:, 0], quaternions[:, axis] = np.cos(angle / 2), np.sin(angle / 2)
        parts.append(quaternions)
    return rotation_matrices(multiply(parts[2], multiply(parts[1], parts[0])))
