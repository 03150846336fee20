"""A causal student that predicts frame by frame.

It gives the same log-probabilities as for the whole sentence, a few frames later.

Between calls it keeps the last detected landmarks of each part, the running shoulder width, the
inputs that the convolutions' kernels still need, the LSTM's state, and which of the last frames had
a pose. Memory and time per frame do
not grow with the length of the stream.
"""

import numpy as np
import torch
from torch import Tensor

from data.ctc_lengths import TIME_STRIDE
from data.features import MIN_SHOULDER_WIDTH, feature_blocks
from data.landmarks import (
    LEFT_SHOULDER,
    NUM_LANDMARKS,
    PART_ANCHORS,
    PART_SLICES,
    PARTS,
    RIGHT_SHOULDER,
)
from inference.presence import HELD_STEPS, blank_unseen, steps_with_pose
from models.student import StreamState, Student

_FLAT = np.array([1, 1, 0], np.float32)  # z of hands and face is measured from their own root


class RunningBody:
    """`body_coordinates(causal=True)` one frame at a time, in numpy: faster for a single frame."""

    def __init__(self, aspect_ratio: float):
        """aspect_ratio: width / height of the images."""
        self._scale = np.array([aspect_ratio, 1, aspect_ratio], np.float32)
        self._pose = np.zeros((PART_SLICES["pose"].stop, 3), np.float32)
        self._offsets = {part: np.zeros((1, 3), np.float32) for part in PART_ANCHORS}
        self._width_sum, self._width_count = 0.0, 0

    def __call__(self, landmarks: np.ndarray, detected: np.ndarray) -> np.ndarray:
        """landmarks float (543, 3), detected bool (4,) -> float32 (543, 3)."""
        seen = dict(zip(PARTS, detected.tolist(), strict=True))
        landmarks = landmarks.astype(np.float32) * self._scale
        if seen["pose"]:
            self._pose = landmarks[PART_SLICES["pose"]]
            self._width_sum += float(
                np.hypot(*(self._pose[LEFT_SHOULDER] - self._pose[RIGHT_SHOULDER])[:2])
            )
            self._width_count += 1
        body = np.empty((NUM_LANDMARKS, 3), np.float32)
        centre = (self._pose[LEFT_SHOULDER] + self._pose[RIGHT_SHOULDER]) / 2
        body[PART_SLICES["pose"]] = self._pose - centre
        for part, anchor in PART_ANCHORS.items():
            origin = self._pose[anchor] * _FLAT
            if seen[part] and seen["pose"]:
                self._offsets[part] = landmarks[PART_SLICES[part]] - origin
            body[PART_SLICES[part]] = self._offsets[part] + origin - centre * _FLAT
        unit = self._width_sum / self._width_count if self._width_count else 1.0
        return body / np.float32(max(unit, MIN_SHOULDER_WIDTH))


class StreamingStudent:
    """Predicts a stream of frames with a causal student, on the student's device.

    stream = StreamingStudent(model, aspect_ratio=4 / 3)
    for landmarks, detected in chunks:
        log_probs = stream.push(landmarks, detected)  # the steps that are now final, maybe none
    log_probs = stream.finish()                       # the last steps
    """

    def __init__(self, model: Student, aspect_ratio: float):
        """aspect_ratio: width / height of the images."""
        assert model.lookahead is not None, "only a causal student can stream"
        self.model = model.eval()
        self.lookahead = model.lookahead
        self._device = next(model.parameters()).device
        self._body = RunningBody(aspect_ratio)
        # The features of a frame need the frame before and the frame after it, so the last two
        # frames are kept. The first frame of the stream also stands for the frame before it.
        self._bodies: list[np.ndarray] = []
        self._detected: list[np.ndarray] = []
        self._state: StreamState | None = None
        # What was detected in the frames of the next steps, and in those before that still count
        self._seen = torch.zeros(HELD_STEPS * TIME_STRIDE, len(PARTS), dtype=torch.bool)

    @property
    def frames_held(self) -> int:
        """Frames whose landmarks are in memory."""
        return len(self._bodies)

    def push(self, landmarks: np.ndarray, detected: np.ndarray) -> Tensor:
        """The log-probabilities float32 (steps, V), on the CPU, of the steps that no later frame
        can change. landmarks float (n, 543, 3) as stored, detected bool (n, 4)."""
        bodies, seen = list(self._bodies), list(self._detected)
        for frame, parts in zip(landmarks, detected, strict=True):
            body = self._body(frame, parts)
            bodies += [body] if bodies else [body, body]
            seen.append(parts)
        return self._predict(bodies, seen, last=False)

    def finish(self) -> Tensor:
        """The stream has ended: log-probabilities float32 (steps, V) of the steps that are left, on
        the CPU."""
        return self._predict([*self._bodies, *self._bodies[-1:]], self._detected, last=True)

    @torch.inference_mode()
    def _predict(self, bodies: list[np.ndarray], detected: list[np.ndarray], last: bool) -> Tensor:
        """bodies: of the frame before, of the frames to predict, and of the frame after them.

        The stream's state changes in one assignment at the end. If Ctrl-C comes before it, a frame
        is lost, but `finish` can still end the stream.
        """
        frames = len(bodies) - 2  # with known features
        state, seen = self._state, self._seen
        log_probs = torch.empty(0, self.model.classes)
        if frames >= 1:
            body = torch.from_numpy(np.stack(bodies)).to(self._device)[None]
            lengths = torch.tensor([frames + 2], device=self._device)
            features = feature_blocks(body, lengths)[:, 1:-1]
            parts = torch.from_numpy(np.stack(detected[:frames])).to(self._device)[None]
            output, state = self.model.forward_chunk(features, parts, state, last)
            seen = torch.cat([seen, parts[0].cpu()])
            steps = output.shape[1]
            with_pose = steps_with_pose(seen[None])[:, HELD_STEPS : HELD_STEPS + steps]
            log_probs = blank_unseen(output.float().cpu(), with_pose)[0]
            bodies, detected, seen = bodies[frames:], detected[frames:], seen[TIME_STRIDE * steps :]
        self._bodies, self._detected, self._state, self._seen = bodies, detected, state, seen
        return log_probs
