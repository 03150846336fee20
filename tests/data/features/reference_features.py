"""A slow and simple implementation of the features, and sentences to compare it with.

It works frame by frame and point by point, as data/features.py defines the features.
"""

import itertools

import numpy as np
import torch

from data.features import MIN_SHOULDER_WIDTH
from data.handedness.leading_hand import HIPS_Y
from data.landmarks import MIRRORED

ASPECT = 0.8
POSE, FACE, LEFT, RIGHT = range(4)
# For each part: its first landmark, the landmark after its last, its root for the fourth block, and
# its anchor in the pose.
PARTS = {
    POSE: (0, 33, 0, None),
    FACE: (33, 501, 201, 0),
    LEFT: (501, 522, 501, 15),
    RIGHT: (522, 543, 522, 16),
}


def fill_gaps(values: list, seen: list[bool]) -> list:
    """Interpolate the frames that are not seen, hold the ends, and give zeros if none is seen.

    values: one array per frame.
    """
    filled = []
    for t in range(len(values)):
        before = [s for s in range(t + 1) if seen[s]]
        after = [s for s in range(t, len(values)) if seen[s]]
        if not before and not after:
            filled.append(np.zeros_like(values[t]))
        elif not before:
            filled.append(values[after[0]])
        elif not after:
            filled.append(values[before[-1]])
        elif before[-1] == after[0]:
            filled.append(values[t])
        else:
            a, b = before[-1], after[0]
            filled.append(values[a] + (values[b] - values[a]) * (t - a) / (b - a))
    return filled


def reference_body(landmarks: np.ndarray, detected: np.ndarray, aspect: float) -> np.ndarray:
    """Body coordinates (T, 543, 3) of one sentence."""
    frames = len(landmarks)
    image = landmarks.astype(np.float64).copy()
    image[:, :, 0] *= aspect  # from image widths to image heights
    image[:, :, 2] *= aspect  # z is in image widths, too
    body = np.zeros_like(image)
    for part, (start, stop, _, anchor) in PARTS.items():
        for point in range(start, stop):
            if part == POSE:
                body[:, point] = fill_gaps(list(image[:, point]), list(detected[:, POSE]))
                continue
            origins = [
                np.array([body[t, anchor, 0], body[t, anchor, 1], 0.0]) for t in range(frames)
            ]
            seen = [bool(detected[t, part] and detected[t, POSE]) for t in range(frames)]
            offsets = fill_gaps([image[t, point] - origins[t] for t in range(frames)], seen)
            body[:, point] = [offsets[t] + origins[t] for t in range(frames)]
    widths = sorted(
        np.hypot(body[t, 11, 0] - body[t, 12, 0], body[t, 11, 1] - body[t, 12, 1])
        for t in range(frames)
        if detected[t, POSE]
    )
    # The median: of an even number of widths the lower of the middle two
    unit = widths[(len(widths) - 1) // 2] if widths else 1.0
    unit = max(unit, MIN_SHOULDER_WIDTH)
    for t in range(frames):
        centre = (body[t, 11] + body[t, 12]) / 2
        for point in range(543):
            body[t, point, :2] -= centre[:2]
            if point < 33:
                body[t, point, 2] -= centre[2]
        body[t] /= unit
    return body


def left_hand_leads(body: np.ndarray, detected: np.ndarray) -> bool:
    """Whether the left hand leads: the right one is hardly detected; or, where both are, the left
    wrist (15) is higher than the right one (16), and either moves more or is much higher."""
    left, right = (sum(bool(frame[part]) for frame in detected) for part in (LEFT, RIGHT))
    if max(left, right) >= 0.5 * len(body) and min(left, right) < 0.2 * len(body):
        return left > right
    raised, moved = [], []
    for wrist in (15, 16):
        raised.append(sum(max(HIPS_Y - frame[wrist, 1], 0) for frame in body))
        moved.append(
            sum(np.hypot(*(b[wrist, :2] - a[wrist, :2])) for a, b in itertools.pairwise(body))
        )
    higher = (raised[0] - raised[1]) / len(body)
    return higher > 0.75 or (higher > 0.25 and moved[0] > moved[1])


def mirror_if_left_handed(body: np.ndarray, detected: np.ndarray) -> np.ndarray:
    """Mirror the body if the left hand leads."""
    if not left_hand_leads(body, detected):
        return body
    mirrored = np.empty_like(body)
    for point in range(543):
        mirrored[:, MIRRORED[point]] = body[:, point] * [-1, 1, 1]
    return mirrored


def reference_features(
    landmarks: np.ndarray, detected: np.ndarray, aspect: float = ASPECT
) -> np.ndarray:
    """Features (T, 6516) of one sentence."""
    body = mirror_if_left_handed(reference_body(landmarks, detected, aspect), detected)
    frames = len(body)
    rows = []
    for t in range(frames):
        before, after = body[max(t - 1, 0)], body[min(t + 1, frames - 1)]
        relative = body[t].copy()
        for start, stop, root, _ in PARTS.values():
            relative[start:stop] -= body[t, root]
        rows.append(
            np.concatenate(
                [body[t], (after - before) / 2, after - 2 * body[t] + before, relative]
            ).reshape(-1)
        )
    return np.array(rows)


def random_sentence(seed: int, frames: int, lost: dict[int, slice | list[int]] | None = None):
    """Random landmarks (T, 543, 3) and detected (T, 4).

    lost: the frames in which each part is not detected; its landmarks are zeros there.
    """
    random = np.random.default_rng(seed)
    landmarks = random.uniform(0.1, 0.9, size=(frames, 543, 3)).astype(np.float32)
    landmarks[:, 11, 0] += 0.5  # shoulders apart
    detected = np.ones((frames, 4), dtype=bool)
    for part, when in (lost or {}).items():
        detected[when, part] = False
        landmarks[~detected[:, part], PARTS[part][0] : PARTS[part][1]] = 0
    return landmarks, detected


def batch_of(sentences):
    """A batch of sentences: tensors landmarks and detected, padded with zeros, and lengths."""
    longest = max(len(landmarks) for landmarks, _ in sentences)
    landmarks = np.zeros((len(sentences), longest, 543, 3), dtype=np.float32)
    detected = np.zeros((len(sentences), longest, 4), dtype=bool)
    for row, (points, seen) in enumerate(sentences):
        landmarks[row, : len(points)], detected[row, : len(points)] = points, seen
    lengths = torch.tensor([len(points) for points, _ in sentences])
    return torch.from_numpy(landmarks), torch.from_numpy(detected), lengths


SENTENCES = {
    "all seen": random_sentence(1, 7),
    "hand lost inside": random_sentence(2, 8, {LEFT: slice(2, 5)}),
    "hand lost at both ends": random_sentence(3, 9, {RIGHT: [0, 1, 7, 8], LEFT: [0]}),
    "hand and face never seen": random_sentence(4, 6, {LEFT: slice(None), FACE: slice(None)}),
    "pose lost inside, hands seen": random_sentence(5, 9, {POSE: slice(3, 6), RIGHT: [2]}),
    "pose lost at both ends": random_sentence(6, 6, {POSE: [0, 4, 5], FACE: [1]}),
    "pose never seen": random_sentence(7, 4, {POSE: slice(None)}),
    "nothing seen": random_sentence(8, 3, {part: slice(None) for part in range(4)}),
    "one frame": random_sentence(9, 1),
    "two frames": random_sentence(10, 2, {LEFT: [0]}),
}
