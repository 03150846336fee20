"""A recording read frame by frame: whole where it is short, in overlapping windows where it is long
or live.

At most the landmarks of `Windows.whole` seconds, or of one window, are held at a time, so that a
long recording needs no more memory than a short one. A window is normalised by itself
(shoulder width, bridged gaps), as the sentences of training were.
"""

import contextlib
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from data.ctc_lengths import TIME_STRIDE
from data.resampling import SAME_RATE, Resampler
from decoding.timed_gloss import TimedGloss
from inference.emitter import Emitter
from inference.recognizer import Recognizer
from inference.recordings import Frame, LandmarkStream, in_aspect_ratio


@dataclass(frozen=True)
class Windows:
    """Seconds. length: of a window; overlap: of each with the next; lookahead: what must be seen
    behind a gloss's end before it is emitted; whole: recordings up to this long are read as one
    piece (0: those that fit into one window); live: do not wait for the first window to fill, read
    what is there at each hop (`whole` is then without meaning)."""

    length: float
    overlap: float
    lookahead: float
    whole: float = 0.0
    live: bool = False


class WindowedTranscriber:
    """Landmarks in frame by frame at `rate` frames a second, glosses out as soon as they are
    certain to stay.

    `held` is the largest number of frames that were in memory at a time; `in_windows` says that one
    window was not enough.
    """

    def __init__(self, recognizer: Recognizer, rate: float, windows: Windows):
        self._recognizer, self.rate = recognizer, rate
        self._length = _frames(windows.length, rate)
        self._hop = max(_frames(windows.length - windows.overlap, rate), TIME_STRIDE)
        self._lookahead = windows.lookahead
        # Frames that are worth a reading
        self._fewest = self._hop if windows.live else self._length
        self._whole = 0 if windows.live else max(round(windows.whole * rate), self._length)
        self._buffer: deque[tuple[np.ndarray, np.ndarray]] = deque()
        # Frames that came; how many had come at the last reading
        self._seen = self._read_at = self.held = 0
        self._last_reading: list[TimedGloss] = []
        self._emitter = Emitter()
        self.in_windows = False

    def push(self, landmarks: np.ndarray, detected: np.ndarray) -> list[TimedGloss]:
        """The next frame, landmarks float16 (543, 3) and detected bool (4,). Returns the glosses
        that are emitted now."""
        self._buffer.append((landmarks, detected))
        self._seen += 1
        self.held = max(self.held, len(self._buffer))
        if self.in_windows:
            return self._advance()
        if len(self._buffer) <= self._whole:
            return []
        return self._begin_windows()

    def finish(self) -> list[TimedGloss]:
        """The glosses of the end of the recording; none for a recording without a frame."""
        if not self._buffer:
            return []
        if self._read_at < self._seen:
            self._read()
        return self._emitter.take(self._last_reading, float("inf"))

    def _begin_windows(self) -> list[TimedGloss]:
        self.in_windows = True
        backlog, self._buffer = self._buffer, deque()
        self._seen = 0
        emitted = []
        for frame in backlog:
            self._buffer.append(frame)
            self._seen += 1
            emitted += self._advance()
        return emitted

    def _advance(self) -> list[TimedGloss]:
        """Keep one window of frames; read it when there are enough and a hop has passed."""
        if len(self._buffer) > self._length:
            self._buffer.popleft()
        if len(self._buffer) < self._fewest or (
            self._read_at and self._seen - self._read_at < self._hop
        ):
            return []
        self._read()
        return self._emitter.take(self._last_reading, self._seen / self.rate - self._lookahead)

    def _read(self) -> None:
        landmarks, detected = (np.stack(part) for part in zip(*self._buffer, strict=True))
        origin = (self._seen - len(self._buffer)) / self.rate
        read = self._recognizer.read(landmarks, detected, self.rate)
        self._last_reading = [gloss.moved(origin) for gloss in read]
        self._read_at = self._seen


def _frames(seconds: float, rate: float) -> int:
    """A duration in frames, a whole number of the model's steps."""
    return max(round(seconds * rate / TIME_STRIDE), 1) * TIME_STRIDE


@dataclass
class TranscriptionSummary:
    """What came of one recording. frames and seconds of it; with_hands: frames in which a hand was
    seen; fps, None for a camera's; held: most frames in memory at a time; took: seconds of work.
    Latency is how long after its end, by the recording's clock, a gloss is emitted."""

    fps: float | None
    frames: int = 0
    with_hands: int = 0
    seconds: float = 0.0
    in_windows: bool = False
    held: int = 0
    took: float = 0.0
    glosses: int = 0
    total_latency: float = 0.0
    largest_latency: float = 0.0

    def emitted(self, glosses: list[TimedGloss], now: float) -> None:
        for gloss in glosses:
            self.glosses += 1
            self.total_latency += now - gloss.end
            self.largest_latency = max(self.largest_latency, now - gloss.end)

    def facts(self) -> dict:
        """Plain values for a transcript's `facts`."""
        facts = {
            "seconds": round(self.seconds, 3),
            "frames": self.frames,
            "frames_with_hands": self.with_hands,
            "fps": self.fps,
            "read": "in windows" if self.in_windows else "whole",
            "frames_per_second": round(self.frames / self.took, 1),
        }
        if self.in_windows and self.glosses:
            facts["mean_latency"] = round(self.total_latency / self.glosses, 2)
            facts["largest_latency"] = round(self.largest_latency, 2)
        return facts

    def __str__(self) -> str:
        how = "in windows" if self.in_windows else "as a whole"
        text = f"{self.seconds:.2f} s read {how}, {self.frames} frames at {self.frames / self.took:.1f} frames/s"
        if self.in_windows and self.glosses:
            mean = self.total_latency / self.glosses
            text += f"; glosses came {mean:.1f} s after their end on average, {self.largest_latency:.1f} s at most"
        return text


def transcribe_stream(
    stream: LandmarkStream,
    recognizer: Recognizer,
    windows: Windows,
    on_frame: Callable[[Frame, list[TimedGloss]], None] = lambda frame, glosses: None,
    on_glosses: Callable[[list[TimedGloss]], None] = lambda glosses: None,
) -> TranscriptionSummary:
    """Read a recording to its end, its frames brought to the model's frame rate and aspect ratio.

    on_frame is called with each frame and the glosses emitted at it, on_glosses with every
    emission. For a camera Ctrl-C is the end. Raises DataError.
    """
    same_rate = stream.fps is not None and abs(stream.fps / recognizer.fps - 1) < SAME_RATE
    rate = stream.fps if same_rate else recognizer.fps
    resampler = None if same_rate else Resampler(rate)
    reader, progress = (
        WindowedTranscriber(recognizer, rate, windows),
        TranscriptionSummary(stream.fps),
    )
    started = time.perf_counter()
    live = stream.fps is None
    with (
        contextlib.closing(stream.frames),
        contextlib.suppress(*([KeyboardInterrupt] if live else [])),
    ):
        for frame in stream.frames:
            landmarks = in_aspect_ratio(frame, stream.aspect_ratio, recognizer.aspect_ratio)
            resampled = [(landmarks, frame.detected)]
            if resampler is not None:
                resampled = resampler.push(frame.time, landmarks, frame.detected)
            emitted: list[TimedGloss] = []
            for points, seen in resampled:
                emitted += reader.push(points.astype("<f2"), seen)
            progress.frames += 1
            progress.with_hands += bool(frame.detected[2:].any())
            progress.seconds = frame.time + (1 / stream.fps if stream.fps else 0.0)
            _emit(
                emitted,
                progress,
                time.perf_counter() - started if live else progress.seconds,
                on_glosses,
            )
            on_frame(frame, emitted)
    rest = reader.finish()
    _emit(rest, progress, progress.seconds, on_glosses)
    progress.in_windows, progress.held = reader.in_windows, reader.held
    progress.took = time.perf_counter() - started
    return progress


def _emit(
    glosses: list[TimedGloss],
    progress: TranscriptionSummary,
    now: float,
    on_glosses: Callable[[list[TimedGloss]], None],
) -> None:
    if glosses:
        progress.emitted(glosses, now)
        on_glosses(glosses)
