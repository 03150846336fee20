"""Transcribes one recording, frame by frame, and summarises how it went."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from data.checks.plausibility import is_turned
from data.landmarks import PARTS
from data.resampling import Resampler, same_rate
from decoding.timed_gloss import TimedGloss
from inference.recognizer import Recognizer
from inference.recordings import Frame, Recording, in_aspect_ratio
from inference.streaming_transcriber import StreamingTranscriber
from inference.windowed_transcriber import WindowedTranscriber
from inference.windows import Windows

_LOOKED_AT = 10  # one of this many frames is checked for a turned image


class Transcriber(Protocol):
    """Frames in, glosses out when they are final.

    `method`: "whole", "in windows" or "frame by frame". `most_held`: the largest number of frames
    that were in memory at a time.
    """

    most_held: int

    @property
    def method(self) -> str: ...

    def push(self, landmarks: np.ndarray, detected: np.ndarray) -> list[TimedGloss]:
        """Add the next frame, landmarks float32 (543, 3) and detected bool (4,). Returns the
        glosses that are emitted now."""
        ...

    def finish(self) -> list[TimedGloss]:
        """The last glosses of the recording; none if it had no frame."""
        ...


@dataclass
class TranscriptionSummary:
    """How the transcription of one recording went.

    Args:
        fps: frames per second of the recording; None for a camera.
        frames: in the recording.
        with_pose: frames in which the pose was detected.
        with_hands: frames in which a hand was detected.
        upright, turned: of the frames that were looked at, those in which the signer is upright,
            and those in which the signer lies or the image is turned.
        seconds: length of the recording.
        method: "whole", "in windows" or "frame by frame".
        most_held: the largest number of frames that were in memory at a time.
        work_seconds: computing time.
        glosses: that were emitted.
        total_latency: seconds from a gloss's end to its emission, by the recording's clock, summed
            over the glosses.
        largest_latency: the largest of them.
    """

    fps: float | None
    frames: int = 0
    with_pose: int = 0
    with_hands: int = 0
    upright: int = 0
    turned: int = 0
    seconds: float = 0.0
    method: str = "whole"
    most_held: int = 0
    work_seconds: float = 0.0
    glosses: int = 0
    total_latency: float = 0.0
    largest_latency: float = 0.0

    def count(self, glosses: list[TimedGloss], now: float) -> None:
        """Count glosses that are emitted at `now`, in seconds of the recording."""
        for gloss in glosses:
            self.glosses += 1
            self.total_latency += now - gloss.end
            self.largest_latency = max(self.largest_latency, now - gloss.end)

    @property
    def mean_latency(self) -> float | None:
        """Seconds; None if the recording was transcribed as a whole, or has no gloss."""
        if self.method == "whole" or not self.glosses:
            return None
        return self.total_latency / self.glosses

    def facts(self) -> dict[str, Any]:
        """Plain values for a transcript's `facts`."""
        facts: dict[str, Any] = {
            "seconds": round(self.seconds, 3),
            "frames": self.frames,
            "frames_with_pose": self.with_pose,
            "frames_with_hands": self.with_hands,
            "fps": self.fps,
            "read": self.method,
            "frames_per_second": round(self.frames / self.work_seconds, 1),
        }
        if self.mean_latency is not None:
            facts["mean_latency"] = round(self.mean_latency, 2)
            facts["largest_latency"] = round(self.largest_latency, 2)
        return facts

    def __str__(self) -> str:
        how = "as a whole" if self.method == "whole" else self.method
        speed = self.frames / self.work_seconds
        text = (
            f"{self.seconds:.2f} s transcribed {how}, {self.frames} frames at {speed:.1f} frames/s"
        )
        if self.mean_latency is not None:
            text += (
                f"; glosses came {self.mean_latency:.1f} s after their end on average, "
                f"{self.largest_latency:.1f} s at most"
            )
        return text


def transcribe_recording(
    recording: Recording,
    recognizer: Recognizer,
    windows: Windows | None,
    on_frame: Callable[[Frame, list[TimedGloss]], None] = lambda frame, glosses: None,
    on_glosses: Callable[[list[TimedGloss]], None] = lambda glosses: None,
) -> TranscriptionSummary:
    """Transcribe a recording to its end, at the model's frame rate and aspect ratio.

    Ctrl-C ends a camera's recording; it stops the transcription of a file. Raises DataError if the
    recording cannot be read to its end.

    Args:
        windows: None streams frame by frame, which needs a `recognizer.streaming_student`.
        on_frame: is called with each frame and the glosses that are emitted at it.
        on_glosses: is called with the glosses of each emission.
    """
    live = recording.fps is None
    rate, resampler = recognizer.fps, Resampler(recognizer.fps)
    resample = True
    if recording.fps is not None and recording.even and same_rate(recording.fps, recognizer.fps):
        rate, resample = recording.fps, False
    transcriber: Transcriber = (
        StreamingTranscriber(recognizer, rate)
        if windows is None
        else WindowedTranscriber(recognizer, rate, windows)
    )
    summary = TranscriptionSummary(recording.fps)
    start = 0.0  # time of the first frame, from which the transcriber counts

    def emit(glosses: list[TimedGloss], now: float) -> list[TimedGloss]:
        glosses = [gloss.moved(start) for gloss in glosses]
        if glosses:
            summary.count(glosses, now)
            on_glosses(glosses)
        return glosses

    started = time.perf_counter()
    with (
        contextlib.closing(recording.frames),
        contextlib.suppress(*([KeyboardInterrupt] if live else [])),
    ):
        for frame in recording.frames:
            assert recording.aspect_ratio is not None  # known from the first frame on
            if not summary.frames:
                start = frame.time
                started = time.perf_counter() if live else started  # a camera may begin late
            landmarks = in_aspect_ratio(frame, recording.aspect_ratio, recognizer.aspect_ratio)
            frames = (
                resampler.push(frame.time - start, landmarks, frame.detected)
                if resample
                else [(landmarks, frame.detected)]
            )
            emitted: list[TimedGloss] = []
            for points, detected in frames:
                emitted += transcriber.push(points, detected)
            has_pose = bool(frame.detected[PARTS.index("pose")])
            if has_pose and summary.with_pose % _LOOKED_AT == 0:
                turned = is_turned(frame.landmarks[None], frame.detected[None])
                summary.turned += turned
                summary.upright += not turned
            summary.frames += 1
            summary.with_pose += has_pose
            summary.with_hands += bool(frame.detected[2:].any())
            summary.seconds = frame.time - start + (1 / recording.fps if recording.fps else 0.0)
            now = time.perf_counter() - started if live else start + summary.seconds
            on_frame(frame, emit(emitted, now))
    emit(transcriber.finish(), start + summary.seconds)
    summary.method, summary.most_held = transcriber.method, transcriber.most_held
    summary.work_seconds = time.perf_counter() - started
    return summary
