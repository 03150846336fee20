"""Transcribes a recording frame by frame with a causal student.

Greedy CTC decoding on the steps that no later frame can change. A gloss is a run of steps with the
same best class; it ends with its run. The result is that of greedy decoding of the whole recording.
"""

import numpy as np
from torch import Tensor

from data.ctc_lengths import TIME_STRIDE
from data.vocabulary import BLANK
from decoding.timed_gloss import TimedGloss
from inference.posteriors import check_finite
from inference.recognizer import Recognizer
from inference.streaming import StreamingStudent


class StreamingTranscriber:
    """Frames in, glosses out when they are final.

    Memory and time per frame do not grow. `most_held` is the largest number of frames whose
    landmarks were kept from one call to the next.
    """

    method = "frame by frame"

    def __init__(self, recognizer: Recognizer, rate: float):
        """recognizer: with a `streaming_student`. rate: frames per second."""
        assert recognizer.streaming_student is not None
        self._stream = StreamingStudent(recognizer.streaming_student, recognizer.aspect_ratio)
        self._vocabulary = recognizer.vocabulary
        self._rate = rate
        self._frames = self._steps = 0  # so far
        # The run of steps with the same best class that is still open
        self._class, self._first_step, self._probability_sum = BLANK, 0, 0.0
        self.most_held = 0

    @property
    def latency(self) -> int:
        """Frames from the end of a gloss until it is emitted."""
        # The run has ended when the first step after it is final. That step begins with the frame
        # after the gloss and waits for `lookahead` more frames.
        return self._stream.lookahead + 1

    def push(self, landmarks: np.ndarray, detected: np.ndarray) -> list[TimedGloss]:
        """Add the next frame, landmarks float32 (543, 3) and detected bool (4,). Returns the
        glosses that are emitted now. Raises DataError if the model's output is not finite."""
        self._frames += 1
        log_probs = self._stream.push(landmarks[None], detected[None])
        self.most_held = max(self.most_held, self._stream.frames_held)
        return self._decode(log_probs)

    def finish(self) -> list[TimedGloss]:
        """The last glosses of the recording; none if it had no frame."""
        return [*self._decode(self._stream.finish()), *self._end_run()]

    def _decode(self, log_probs: Tensor) -> list[TimedGloss]:
        """The glosses that end within the next final steps. log_probs float32 (steps, V)."""
        check_finite(log_probs, f"second {self._frames / self._rate:.2f} of the recording")
        glosses = []
        classes = log_probs.argmax(-1)
        probabilities = log_probs.gather(1, classes[:, None])[:, 0].double().exp()
        for index, probability in zip(classes.tolist(), probabilities.tolist(), strict=True):
            if index != self._class:
                glosses += self._end_run()
                self._class, self._first_step, self._probability_sum = index, self._steps, 0.0
            self._probability_sum += probability
            self._steps += 1
        return glosses

    def _end_run(self) -> list[TimedGloss]:
        """The gloss of the open run, which ends before the next step; none if its class is the
        blank."""
        if self._class == BLANK:
            return []
        step = TIME_STRIDE / self._rate  # seconds
        start, end = self._first_step * step, self._steps * step
        confidence = self._probability_sum / (self._steps - self._first_step)
        (gloss,) = self._vocabulary.decode([self._class])
        # The last step can run over the end of the recording.
        return [TimedGloss(gloss, start, min(end, self._frames / self._rate), confidence)]
