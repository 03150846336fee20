"""A causal student that reads frames as they come: the same log-probabilities as on the whole sentence, a little behind it.

Kept between calls are what was last seen of each part, the running shoulder width, the frames that the convolutions still reach
back to, and the LSTM's state: memory and time a frame do not grow with the length of the stream.
"""

import torch
from torch import Tensor

from data.features import MIN_SHOULDER_WIDTH, feature_blocks
from data.landmarks import LEFT_SHOULDER, NUM_LANDMARKS, PART_ANCHORS, PART_SLICES, PARTS, RIGHT_SHOULDER
from models.config import TIME_STRIDE
from models.student import Student


class RunningBody:
    """`body_coordinates(causal=True)` one frame at a time."""

    def __init__(self, aspect_ratio: float):
        self._scale = torch.tensor([aspect_ratio, 1.0, aspect_ratio])
        self._pose = torch.zeros(PART_SLICES["pose"].stop, 3)
        self._offsets = {
            part: torch.zeros(PART_SLICES[part].stop - PART_SLICES[part].start, 3) for part in PART_ANCHORS
        }
        self._widths, self._count = 0.0, 0

    def __call__(self, landmarks: Tensor, detected: Tensor) -> Tensor:
        """landmarks float (543, 3), detected bool (4,) -> float32 (543, 3)."""
        seen = dict(zip(PARTS, detected.tolist(), strict=True))
        landmarks = landmarks.float() * self._scale
        if seen["pose"]:
            self._pose = landmarks[PART_SLICES["pose"]]
            self._widths += float((self._pose[LEFT_SHOULDER] - self._pose[RIGHT_SHOULDER])[:2].norm())
            self._count += 1
        flat = torch.tensor([1.0, 1.0, 0.0])  # z of hands and face is measured from their own root
        body = torch.empty(NUM_LANDMARKS, 3)
        centre = (self._pose[LEFT_SHOULDER] + self._pose[RIGHT_SHOULDER]) / 2
        body[PART_SLICES["pose"]] = self._pose - centre
        for part, anchor in PART_ANCHORS.items():
            origin = self._pose[anchor] * flat
            if seen[part] and seen["pose"]:
                self._offsets[part] = landmarks[PART_SLICES[part]] - origin
            body[PART_SLICES[part]] = self._offsets[part] + origin - centre * flat
        unit = self._widths / self._count if self._count else 1.0
        return body / max(unit, MIN_SHOULDER_WIDTH)


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
        self._frames: list[tuple[Tensor, Tensor]] = []  # those that steps to come still read
        self._first = 0  # number of the first of them, a multiple of the stride
        self._steps = 0  # that were given out
        self._state: tuple[Tensor, Tensor] | None = None
        # How many frames a step reaches back, up to a multiple of the stride, so that a window begins where a step does.
        self._context = -(-model.reach_back // TIME_STRIDE) * TIME_STRIDE

    def push(self, landmarks: Tensor, detected: Tensor) -> Tensor:
        """landmarks float (n, 543, 3) as stored, detected bool (n, 4) -> log-probs float32 (steps, V) of the steps that no
        later frame can change."""
        self._frames += [(self._body(*frame), frame[1]) for frame in zip(landmarks, detected, strict=True)]
        last = self._first + len(self._frames) - 1
        return self._read(max((last - self.model.lookahead) // TIME_STRIDE + 1, self._steps))

    def finish(self) -> Tensor:
        """The stream has ended: log-probs float32 (steps, V) of the steps that are left."""
        return self._read(-(-(self._first + len(self._frames)) // TIME_STRIDE))

    @torch.inference_mode()
    def _read(self, until: int) -> Tensor:
        """Log-probs of the steps from those given out to `until`."""
        if until <= self._steps:
            return torch.empty(0, self.model.classes)
        body, detected = (torch.stack(each)[None] for each in zip(*self._frames, strict=True))
        lengths = torch.tensor([body.shape[1]])
        encoded, _ = self.model.encode(feature_blocks(body, lengths), lengths, detected)
        begin = self._first // TIME_STRIDE
        log_probs, self._state = self.model.read_on(encoded[:, self._steps - begin : until - begin], self._state)
        self._steps = until
        drop = max(TIME_STRIDE * until - self._context, self._first) - self._first
        self._frames, self._first = self._frames[drop:], self._first + drop
        return log_probs[0]
