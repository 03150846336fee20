"""A causal student that reads frames as they come: the same log-probabilities as on the whole
sentence, a little behind it.

Kept between calls are what was last seen of each part, the running shoulder width, what the
convolutions' kernels still reach back to, and the LSTM's state: memory and time a frame do not grow
with the length of the stream.
"""

import numpy as np
import torch
from torch import Tensor

from data.features import MIN_SHOULDER_WIDTH, feature_blocks
from data.landmarks import (
    LEFT_SHOULDER,
    NUM_LANDMARKS,
    PART_ANCHORS,
    PART_SLICES,
    PARTS,
    RIGHT_SHOULDER,
)
from models.student import StreamState, Student

_FLAT = np.array([1, 1, 0], np.float32)  # z of hands and face is measured from their own root


class RunningBody:
    """`body_coordinates(causal=True)` one frame at a time, in numpy, which is quicker on so little."""

    def __init__(self, aspect_ratio: float):
        self._scale = np.array([aspect_ratio, 1, aspect_ratio], np.float32)
        self._pose = np.zeros((PART_SLICES["pose"].stop, 3), np.float32)
        self._offsets = {part: np.zeros((1, 3), np.float32) for part in PART_ANCHORS}
        self._widths, self._count = 0.0, 0

    def __call__(self, landmarks: np.ndarray, detected: np.ndarray) -> np.ndarray:
        """landmarks float (543, 3), detected bool (4,) -> float32 (543, 3)."""
        seen = dict(zip(PARTS, detected.tolist(), strict=True))
        landmarks = landmarks.astype(np.float32) * self._scale
        if seen["pose"]:
            self._pose = landmarks[PART_SLICES["pose"]]
            self._widths += float(
                np.hypot(*(self._pose[LEFT_SHOULDER] - self._pose[RIGHT_SHOULDER])[:2])
            )
            self._count += 1
        body = np.empty((NUM_LANDMARKS, 3), np.float32)
        centre = (self._pose[LEFT_SHOULDER] + self._pose[RIGHT_SHOULDER]) / 2
        body[PART_SLICES["pose"]] = self._pose - centre
        for part, anchor in PART_ANCHORS.items():
            origin = self._pose[anchor] * _FLAT
            if seen[part] and seen["pose"]:
                self._offsets[part] = landmarks[PART_SLICES[part]] - origin
            body[PART_SLICES[part]] = self._offsets[part] + origin - centre * _FLAT
        unit = self._widths / self._count if self._count else 1.0
        return body / np.float32(max(unit, MIN_SHOULDER_WIDTH))


class StreamingStudent:
    """Reads a stream with a causal student.

    stream = StreamingStudent(model, aspect_ratio=4 / 3)
    for landmarks, detected in chunks:
        log_probs = stream.push(landmarks, detected)      # the steps that are final by now, maybe none
    log_probs = stream.finish()                           # the last ones
    """

    def __init__(self, model: Student, aspect_ratio: float):
        assert model.lookahead is not None, "a student that reads whole sentences cannot stream"
        self.model = model.eval()
        self._body = RunningBody(aspect_ratio)
        # Features of a frame need the one before and the one after: the last but one frame and the
        # last are kept, the first frame of the stream standing in for the one before it.
        self._bodies: list[np.ndarray] = []
        self._detected: list[np.ndarray] = []
        self._state: StreamState | None = None

    def push(self, landmarks: np.ndarray, detected: np.ndarray) -> Tensor:
        """landmarks float (n, 543, 3) as stored, detected bool (n, 4) -> log-probs float32
        (steps, V) of the steps that no later frame can change."""
        for frame, seen in zip(landmarks, detected, strict=True):
            body = self._body(frame, seen)
            self._bodies += [body] if self._bodies else [body, body]
            self._detected.append(seen)
        return self._read(last=False)

    def finish(self) -> Tensor:
        """The stream has ended: log-probs float32 (steps, V) of the steps that are left."""
        if not self._bodies:
            return torch.empty(0, self.model.classes)
        self._bodies.append(self._bodies[-1])
        return self._read(last=True)

    @torch.inference_mode()
    def _read(self, last: bool) -> Tensor:
        frames = len(self._bodies) - 2  # whose features are known
        if frames < 1:
            return torch.empty(0, self.model.classes)
        body = torch.from_numpy(np.stack(self._bodies))[None]
        features = feature_blocks(body, torch.tensor([frames + 2]))[:, 1:-1]
        detected = torch.from_numpy(np.stack(self._detected[:frames]))[None]
        log_probs, self._state = self.model.forward_chunk(features, detected, self._state, last)
        self._bodies, self._detected = self._bodies[frames:], self._detected[frames:]
        return log_probs[0]
