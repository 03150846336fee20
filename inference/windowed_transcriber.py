"""Transcribes a recording as a whole if it is short, in overlapping windows if it is long or live.

It keeps the landmarks of at most `Windows.whole_up_to` seconds, or of one window, so a long
recording needs no more memory than a short one. Each window is normalised by itself (shoulder
width, bridged gaps), like the sentences of training. Which hand leads is decided by all frames of
the recording so far.
"""

from collections import deque

import numpy as np

from data.ctc_lengths import TIME_STRIDE
from data.handedness.signer_votes import RecordingVote
from decoding.timed_gloss import TimedGloss
from errors import DataError
from inference.emitter import Emitter
from inference.recognizer import Recognizer
from inference.windows import Windows


class WindowedTranscriber:
    """Frames in, glosses out when they are final.

    `method` is "whole" or "in windows". `most_held` is the largest number of frames that were in
    memory at a time.
    """

    def __init__(self, recognizer: Recognizer, rate: float, windows: Windows):
        """rate: frames per second."""
        self._recognizer, self._rate = recognizer, rate
        self._length = _whole_steps(windows.length, rate)
        self._hop = _whole_steps(windows.length - windows.overlap, rate)
        self._lookahead = windows.lookahead
        # The first prediction needs this many frames.
        self._fewest = self._hop if windows.live else self._length
        self._whole = 0 if windows.live else max(round(windows.whole_up_to * rate), self._length)
        self._in_windows = False
        self._buffer: deque[tuple[np.ndarray, np.ndarray]] = deque()
        self._frames = 0  # so far
        self._frames_predicted = 0  # frames so far at the last prediction
        self._hypothesis: list[TimedGloss] = []
        self._vote = (
            RecordingVote(recognizer.aspect_ratio) if recognizer.recording_decides else None
        )
        self._emitter = Emitter()
        self.most_held = 0

    @property
    def method(self) -> str:
        return "in windows" if self._in_windows else "whole"

    def push(self, landmarks: np.ndarray, detected: np.ndarray) -> list[TimedGloss]:
        """Add the next frame, landmarks float32 (543, 3) and detected bool (4,). Returns the
        glosses that are emitted now.

        Raises DataError if the recording is too long for a decoder that needs the whole of it.
        """
        self._buffer.append((landmarks, detected))
        self._frames += 1
        self.most_held = max(self.most_held, len(self._buffer))
        if self._in_windows:
            return self._advance()
        if len(self._buffer) <= self._whole:
            return []
        return self._begin_windows()

    def finish(self) -> list[TimedGloss]:
        """The last glosses of the recording; none if it had no frame."""
        if not self._buffer:
            return []
        if self._frames_predicted < self._frames:
            self._predict()
        return self._emitter.emit(self._hypothesis, float("inf"))

    def _begin_windows(self) -> list[TimedGloss]:
        """The recording is too long to be transcribed as a whole: start again, in windows."""
        if self._recognizer.whole_only:
            raise DataError(
                f"the recording is longer than {self._whole / self._rate:g} s, and --decoder "
                "closed chooses one sentence for a whole recording: cut it into sentences, or give "
                "a longer --whole"
            )
        self._in_windows = True
        backlog, self._buffer = self._buffer, deque()
        self._frames = 0
        emitted = []
        for frame in backlog:
            self._buffer.append(frame)
            self._frames += 1
            emitted += self._advance()
        return emitted

    def _advance(self) -> list[TimedGloss]:
        """Keep one window of frames; predict when it is long enough and a hop has passed."""
        if len(self._buffer) > self._length:
            self._buffer.popleft()
        if len(self._buffer) < self._fewest or (
            self._frames_predicted and self._frames - self._frames_predicted < self._hop
        ):
            return []
        self._predict()
        return self._emitter.emit(self._hypothesis, self._frames / self._rate - self._lookahead)

    def _predict(self) -> None:
        landmarks, detected = (np.stack(part) for part in zip(*self._buffer, strict=True))
        start = (self._frames - len(self._buffer)) / self._rate
        left = None
        if self._vote is not None:
            new = min(self._frames - self._frames_predicted, len(landmarks))
            self._vote.add(landmarks, detected, new)
            left = self._vote.left
        glosses = self._recognizer.transcribe(landmarks, detected, self._rate, left)
        self._hypothesis = [gloss.moved(start) for gloss in glosses]
        self._frames_predicted = self._frames


def _whole_steps(seconds: float, rate: float) -> int:
    """A duration in frames, rounded to whole output steps of the model."""
    return max(round(seconds * rate / TIME_STRIDE), 1) * TIME_STRIDE
