"""A moving body → landmarks as MediaPipe Holistic would detect them: projection, noise, and parts
that are not found.

The numbers are set by comparison with webcam recordings of real signs:

- Jitter differs by part: the pose drifts slowly, hands and face tremble.
- Depth is noisier than x and y and has its own scales.
- Hands are lost for several frames where they move fast, touch the face or each other, or leave the
  image.
- The wrists of the pose model and of the hand model are a little apart.
"""

import math

import numpy as np

from data.keyed_random import generator
from data.landmarks import PART_SLICES
from data.simulation.body import Framing, Signer, face_mesh
from data.simulation.embodiment import Body
from data.simulation.time_series import combine, drift

_HAND_DEPTH, _FACE_DEPTH = 0.6, 0.85  # MediaPipe's depth of these parts, relative to the true one
_HIP_DEPTH = 0.28  # in shoulder widths behind the shoulders
# Standard deviation of the pose's slow errors, in fractions of the image's width, for a signer of
# the mean shoulder width.
_POSE_ERROR = np.array(
    [0.0018] * 11
    + [0.0024] * 2
    + [0.005] * 2
    + [0.009] * 2
    + [0.011] * 6
    + [0.006] * 2
    + [0.016] * 8
)
_POSE_DEPTH_ERROR = np.array([0.02] * 13 + [0.03] * 2 + [0.045] * 8 + [0.01] * 2 + [0.05] * 8)
_POSE_MEMORY, _POSE_DEPTH_MEMORY = 0.97, 0.8
_MEAN_SHOULDER_WIDTH = 0.27


def observe(
    body: Body, signer: Signer, framing: Framing, seed: int, sentence: str
) -> tuple[np.ndarray, np.ndarray]:
    """Landmarks float32 (T, 543, 3) and detected bool (T, 4) of a body in front of the camera.

    x and y are fractions of the image, z is a fraction of its width: the pose's z is relative to
    the hips, a hand's to its wrist, the face's to its mean. Parts that are not detected are zeros.
    The randomness depends on (seed, sentence).
    """
    rng = generator(seed, "detection", sentence)
    frames = len(body.pose)
    # The camera of one recording differs a little from the signer's usual one
    width = signer.shoulder_width * float(np.exp(rng.normal(0, 0.02)))
    shift = rng.normal(0, 0.006, 2)
    centre = (signer.centre[0] + float(shift[0]), signer.centre[1] + float(shift[1]))

    points = np.concatenate([body.pose, body.face, body.hands.reshape(frames, 42, 3)], axis=1)
    image = _project(points, width, centre, signer, framing)
    _set_depths(image, points, width, signer)
    clean_hands = image[:, 501:].reshape(frames, 2, 21, 3).copy()
    detected = _detections(clean_hands, image[:, PART_SLICES["face"]], signer, framing, rng)

    scale = signer.noise * width / _MEAN_SHOULDER_WIDTH * float(np.exp(rng.normal(0, 0.2)))
    # The same error in pixels in x and y
    isotropic = np.array([1, framing.aspect_ratio, 1], np.float32)
    image[:, :33] = _pose_noise(image[:, :33], scale, rng) * isotropic + _lagged(image[:, :33])
    image[:, 33:501] += _face_noise(frames, scale, signer.face_shape, rng) * isotropic
    for hand, part in ((0, "left_hand"), (1, "right_hand")):
        image[:, PART_SLICES[part]] += (
            _hand_noise(clean_hands[:, hand], scale, framing, rng) * isotropic
        )
    for column, part in enumerate(PART_SLICES):
        image[~detected[:, column], PART_SLICES[part]] = 0
    return image, detected


def _project(
    points: np.ndarray, width: float, centre: tuple[float, float], signer: Signer, framing: Framing
) -> np.ndarray:
    """Project points (T, N, 3) through a slightly turned camera whose principal point is the middle
    of the image. Returns (T, N, 3) with z = 0."""
    c, s = math.cos(signer.yaw), math.sin(signer.yaw)
    x = c * points[:, :, 0] + s * points[:, :, 2]
    z = c * points[:, :, 2] - s * points[:, :, 0]
    near = 1 / (1 + np.maximum(z, -0.6 * signer.distance) / signer.distance)
    x = (centre[0] - 0.5 + width * x) * near
    # In image widths
    y = (centre[1] - 0.5) / framing.aspect_ratio * near + width * points[:, :, 1] * near
    c, s = math.cos(signer.roll), math.sin(signer.roll)
    image = np.zeros((*x.shape, 3), np.float32)
    image[:, :, 0] = 0.5 + c * x - s * y
    image[:, :, 1] = 0.5 + (s * x + c * y) * framing.aspect_ratio
    return image


def _set_depths(image: np.ndarray, points: np.ndarray, width: float, signer: Signer) -> None:
    """Write MediaPipe's z of each part into `image` (T, 543, 3)."""
    z = points[:, :, 2] * width
    image[:, :33, 2] = (z[:, :33] - _HIP_DEPTH * width) * signer.depth_scale
    face = z[:, 33:501]
    image[:, 33:501, 2] = _FACE_DEPTH * (face - face.mean(axis=1, keepdims=True))
    for first in (501, 522):
        image[:, first : first + 21, 2] = _HAND_DEPTH * (
            z[:, first : first + 21] - z[:, first : first + 1]
        )


def _lagged(pose: np.ndarray) -> np.ndarray:
    """The pose smoothed in time. MediaPipe smooths the pose only, not hands and face."""
    padded = np.concatenate([pose[:1], pose[:1], pose])
    return 0.75 * padded[2:] + 0.18 * padded[1:-1] + 0.07 * padded[:-2]


def _pose_noise(pose: np.ndarray, scale: float, rng: np.random.Generator) -> np.ndarray:
    """Errors of the pose (T, 33, 3) that change slowly."""
    frames = len(pose)
    memory = np.repeat([_POSE_MEMORY, _POSE_MEMORY, _POSE_DEPTH_MEMORY], 33)
    noise = drift(rng, frames, memory).reshape(frames, 3, 33).transpose(0, 2, 1)
    size = np.stack([_POSE_ERROR, _POSE_ERROR, _POSE_DEPTH_ERROR], axis=1)
    for wrist in (15, 16):  # hand points have nearly the error of their wrist
        noise[:, wrist + 2 : wrist + 8 : 2] = (
            0.85 * noise[:, wrist : wrist + 1] + 0.53 * noise[:, wrist + 2 : wrist + 8 : 2]
        )
    return noise * (size * scale).astype(np.float32)


def _face_noise(
    frames: int, scale: float, shape: tuple[float, ...], rng: np.random.Generator
) -> np.ndarray:
    """Errors of the face (T, 468, 3): rigid jitter, smooth fields over the face, and a little white
    noise at each point. shape: that of the signer's face."""
    mesh, _ = face_mesh(shape)
    x, y, z = mesh.T
    fields = [
        x,
        y,
        z,
        np.sin(6 * x),
        np.cos(6 * x),
        np.sin(6 * y),
        np.cos(6 * y),
        np.sin(5 * x) * np.sin(5 * y),
    ]
    basis = np.stack([np.full_like(x, 1.4), *(field / field.std() for field in fields)])  # (9, 468)
    weights = drift(rng, frames, np.full(27, 0.6)).reshape(frames, 3, 9) * np.float32(
        0.00028 * scale
    )
    noise = (
        combine(weights.reshape(3 * frames, 9), basis).reshape(frames, 3, 468).transpose(0, 2, 1)
    )
    white = rng.standard_normal((frames, 468, 3), dtype=np.float32)
    white *= np.float32(0.0002 * scale)
    white += noise
    # In MediaPipe, the mean of a face's z is always 0
    white[:, :, 2] -= white[:, :, 2].mean(axis=1, keepdims=True)
    return white


def _hand_noise(
    hand: np.ndarray, scale: float, framing: Framing, rng: np.random.Generator
) -> np.ndarray:
    """Errors of one hand (T, 21, 3): of the complete hand and of each joint, slow and fast ones.
    They are larger when the hand moves."""
    frames = len(hand)
    speed = _speed(hand.mean(axis=1), framing)
    wander = drift(rng, frames, np.repeat([0.6, 0.7], [63, 5]))
    slow = wander[:, :63].reshape(frames, 21, 3) * np.array([0.0008, 0.0008, 0.0018], np.float32)
    slow += wander[:, None, 63:66] * np.array([0.0009, 0.0009, 0.0], np.float32)
    fast = rng.standard_normal((frames, 21, 3), dtype=np.float32) * np.array(
        [0.0004, 0.0004, 0.0007], np.float32
    )
    burst = np.exp(0.35 * wander[:, 66]) * (1 + np.minimum(speed / 0.03, 3))
    noise: np.ndarray = (slow + fast) * (burst * scale).astype(np.float32)[:, None, None]
    # MediaPipe estimates the hand a little larger or smaller than it is
    size = 0.015 * scale * wander[:, 67, None, None]
    noise += size * (hand - hand[:, :1]) / np.array([1, framing.aspect_ratio, 1], np.float32)
    return noise


def _speed(points: np.ndarray, framing: Framing) -> np.ndarray:
    """Speed (T,) of a point (T, 2 or 3), in image widths per frame."""
    steps = np.diff(points[:, :2], axis=0, prepend=points[:1, :2]) / np.array(
        [1, framing.aspect_ratio]
    )
    speed: np.ndarray = np.linalg.norm(steps, axis=1)
    return speed


def _detections(
    hands: np.ndarray, face: np.ndarray, signer: Signer, framing: Framing, rng: np.random.Generator
) -> np.ndarray:
    """The parts that are detected: bool (T, 4).

    A part is lost while an autoregressive noise is below the threshold of the frame, so losses last
    for several frames. hands (T, 2, 21, 3) and face (T, 468, 3): without noise.
    """
    frames = len(hands)
    pixels = np.array([1, 1 / framing.aspect_ratio], np.float32)
    centre = hands[..., :2].mean(axis=2) * pixels  # (T, 2, 2), in image widths
    face_centre = face[..., :2].mean(axis=1) * pixels
    face_size = signer.shoulder_width * signer.face_width
    hand_size = signer.shoulder_width * signer.hand
    to_face = np.linalg.norm(centre - face_centre[:, None], axis=2) / face_size
    at_face = np.exp(-((to_face / 0.6) ** 2))
    apart = np.linalg.norm(centre[:, 0] - centre[:, 1], axis=1) / hand_size
    touching = np.exp(-((apart / 0.8) ** 2))[:, None]
    outside = ((hands[..., :2] < 0) | (hands[..., :2] > 1)).any(axis=3).mean(axis=2)
    speed = (
        np.stack([_speed(hands[:, side].mean(axis=1), framing) for side in (0, 1)], axis=1)
        / hand_size
    )
    log_odds = signer.hand_loss + rng.normal(0, 0.4) + np.minimum(2.5 * speed, 2.5)
    log_odds = log_odds + 1.3 * at_face + 1.6 * touching + 10 * np.minimum(outside / 0.5, 1)
    # The wrist leaves the image at the bottom
    log_odds += 5 / (1 + np.exp((0.97 - hands[:, :, 0, 1]) / 0.02))

    # The factor turns normal noise into log-odds: logistic(1.702 x) is nearly the normal's cdf
    latent = drift(rng, frames, np.array([0.75, 0.75, 0.8, 0.9])) * 1.702
    lost = latent[:, :2] < log_odds
    covered = np.log(signer.face_loss / (1 - signer.face_loss)) + 1.5 * at_face.max(axis=1)
    detected = np.ones((frames, 4), bool)
    detected[:, 0] = latent[:, 3] >= np.log(0.0003)
    detected[:, 1] = latent[:, 2] >= covered
    detected[:, 2:] = ~lost
    detected[~detected[:, 0]] = False  # without a pose, MediaPipe looks for no other part
    return detected
