"""Recordings to transcripts: one or many, from files or a camera, to the screen, to files, and onto
the video."""

import contextlib
import os
import sys
import tempfile
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data.landmarks import NUM_COORDINATES, NUM_LANDMARKS, PARTS
from data.sources.holistic import FEW_HANDS, Tracker, missing_library, quiet_libraries
from data.sources.video_files import RecordingFile, open_video_frames
from decoding.timed_gloss import TimedGloss
from errors import DataError, UsageError
from inference.recognizer import Recognizer, open_recognizer
from inference.recordings import (
    Frame,
    LandmarkStream,
    find_recordings,
    is_landmark_file,
    open_camera,
    open_recording,
)
from inference.transcript_files import Transcript, render, text_line
from inference.windows import TranscriptionSummary, Windows, transcribe_stream
from reports.video_overlay import OverlayWriter

LINGER = 2.0  # seconds that a gloss stays in an overlay's caption after its end
CAMERA_OVERLAY_FPS = 25.0
SUFFIX = {"text": ".txt", "json": ".json", "srt": ".srt", "vtt": ".vtt", "eaf": ".eaf"}
_LANDMARKS_BYTES = NUM_LANDMARKS * NUM_COORDINATES * 2


@dataclass(frozen=True)
class TranscriptionRequest:
    """What transcribe.py was asked: see its --help. fps and aspect_ratio: None for those of the
    model's corpus."""

    inputs: tuple[str, ...]
    camera: int | None
    checkpoint: Path
    decoder: str | None
    device: str
    format: str
    output: Path | None
    overlay: Path | None
    windows: Windows
    fps: float | None
    aspect_ratio: float | None


def transcribe(request: TranscriptionRequest) -> int:
    """Transcribe all that was asked for. Returns the exit code: 3 where one of several recordings
    failed, which are told with the reason. Raises UsageError, and DataError where there is only one
    recording."""
    if request.camera is not None:
        recordings, failed = [], {}
        if request.overlay is not None:
            check_overlay(request.overlay)
    else:
        recordings, failed = find_recordings(request.inputs)
    count = len(recordings) + len(failed)
    if not recordings and failed:
        raise DataError("; ".join(f"{name}: {reason}" for name, reason in failed.items()))
    places = _places(request, recordings, count > 1)
    with contextlib.redirect_stdout(sys.stderr):  # stdout is for transcripts
        recognizer = open_recognizer(request.checkpoint, request.decoder, request.device)
    _introduce(recognizer, request)
    session = _Session(request, recognizer, count > 1)
    with quiet_libraries():
        if request.camera is not None:
            session.transcribe_camera(request.camera, request.output, request.overlay)
            return 0
        for recording, (output, overlay) in zip(recordings, places, strict=True):
            try:
                session.transcribe(recording, output, overlay)
            except (DataError, OSError) as error:
                reason = str(error)
                if not isinstance(error, DataError):
                    reason = error.strerror or reason
                if str(recording.path) not in reason:
                    reason = f"{recording.path}: {reason}"
                if count == 1:
                    raise DataError(reason) from None
                failed[str(recording.path)] = reason.removeprefix(
                    f"{recording.path}: "
                ).removeprefix(f"{recording.path} ")
    for name, reason in failed.items():
        print(f"failed: {name}: {reason}", file=sys.stderr)
    if failed:
        print(f"{len(failed)} of {count} recordings failed", file=sys.stderr)
    return 3 if failed else 0


def _introduce(recognizer: Recognizer, request: TranscriptionRequest) -> None:
    if recognizer.simulated:
        print(
            f"note: the model was trained on {recognizer.corpus}: do not rely on it for real signers",
            file=sys.stderr,
        )
    if recognizer.assumed:
        print(
            f"warning: {request.checkpoint} does not say its corpus's frame rate and image shape, and the corpus is not here: "
            f"{recognizer.fps:g} frames/s and width/height {recognizer.aspect_ratio:.3f} are assumed",
            file=sys.stderr,
        )
    print(f"decoder: {recognizer.decoder_description}", file=sys.stderr)


def _places(
    request: TranscriptionRequest, recordings: list[RecordingFile], several: bool
) -> list[tuple[Path | None, Path | None]]:
    """Where the transcript and the overlay of each recording go; folders are meant where there are
    several recordings, or a folder of that name.

    Raises UsageError where two would go to one file, one onto a recording, or an overlay cannot be
    made.
    """
    if several and request.output is None and request.format not in ("text", "json"):
        raise UsageError(
            f"--format {request.format} of several recordings needs --output FOLDER, a file for each"
        )
    taken = {recording.path.resolve(): recording.path for recording in recordings}
    places = []
    for recording in recordings:
        output = _place(request.output, recording, SUFFIX[request.format], several)
        overlay = _place(request.overlay, recording, ".mp4", several)
        if overlay is not None:
            check_overlay(overlay, recording)
        for path in filter(None, (output, overlay)):
            other = taken.setdefault(path.resolve(), recording.path)
            if (
                other != recording.path
                or path.resolve() == recording.path.resolve()
                or output == overlay
            ):
                raise UsageError(
                    f"{recording.path} would be written to {path}, where {other} is or goes: choose another place"
                )
        places.append((output, overlay))
    return places


def _place(asked: Path | None, recording: RecordingFile, suffix: str, several: bool) -> Path | None:
    if asked is None or not (several or asked.is_dir()):
        return asked
    name = Path(*recording.parts)
    return asked / name.with_name(name.name + suffix)


def check_overlay(path: Path, recording: RecordingFile | None = None) -> None:
    """Refuse what no overlay can be drawn onto, or written to (UsageError)."""
    if recording is not None and is_landmark_file(recording):
        raise UsageError(
            f"--overlay draws onto a video, and {recording.path} has no pictures: leave --overlay out"
        )
    if path.suffix.lower() != ".mp4":
        raise UsageError(f"--overlay {path}: expected a name that ends in .mp4")


class _Session:
    """One model and one tracker for all recordings."""

    def __init__(self, request: TranscriptionRequest, recognizer: Recognizer, several: bool):
        self._request, self._recognizer, self._several = request, recognizer, several
        self._fps = request.fps or recognizer.fps
        self._aspect_ratio = request.aspect_ratio or recognizer.aspect_ratio
        self._fps_told = False  # once is enough for a folder of such recordings

    @cached_property
    def _tracker(self) -> Tracker:
        try:
            return Tracker()
        except ImportError as error:
            raise DataError(missing_library(error)) from None

    def transcribe(
        self, recording: RecordingFile, output: Path | None, overlay: Path | None
    ) -> None:
        """One file or folder of frames. Raises DataError, OSError."""
        stream = self._open(recording)
        with contextlib.ExitStack() as stack:
            spool = stack.enter_context(tempfile.TemporaryFile()) if overlay is not None else None
            transcript = self._new(_name(recording), recording.path)
            bar = stack.enter_context(self._bar(transcript.name, stream.expected, output))

            def on_frame(frame: Frame, glosses: list[TimedGloss]) -> None:
                bar.update()
                if spool is not None:
                    spool.write(frame.landmarks.tobytes() + frame.detected.tobytes())

            progress = self._read(stream, transcript, output, on_frame)
            bar.close()
            self._finish(transcript, progress, output)
            if spool is not None:
                spool.seek(0)
                frames = _spooled(recording, stream.fps, spool)
                self._draw(overlay, stream.fps, frames, transcript.glosses)

    def transcribe_camera(self, number: int, output: Path | None, overlay: Path | None) -> None:
        """What a camera sees until it ends or Ctrl-C comes. Raises DataError."""
        stream = open_camera(number, lambda: self._tracker)
        print(f"camera {number}: stop with Ctrl-C", file=sys.stderr)
        writer = (
            OverlayWriter(overlay, CAMERA_OVERLAY_FPS, self._note) if overlay is not None else None
        )
        recent: deque[TimedGloss] = deque(maxlen=20)  # as many as a caption can show

        def on_frame(frame: Frame, glosses: list[TimedGloss]) -> None:
            recent.extend(glosses)
            if writer is not None:
                caption = [(gloss.gloss, False) for gloss in recent]
                writer.write(frame.time, frame.picture, frame.landmarks, frame.detected, caption)

        transcript = self._new(f"camera {number}", None)
        with writer or contextlib.nullcontext():
            progress = self._read(stream, transcript, output, on_frame)
        self._finish(transcript, progress, output)
        if writer is not None:
            _tell_missing(writer)

    def _open(self, recording: RecordingFile) -> LandmarkStream:
        stream = open_recording(recording, lambda: self._tracker, self._fps, self._aspect_ratio)
        if not stream.fps_is_known and self._request.fps is None and not self._fps_told:
            self._fps_told = True
            print(
                f"{recording.path} does not tell its frame rate: {stream.fps:g} frames/s assumed (--fps)",
                file=sys.stderr,
            )
        return stream

    def _new(self, name: str, source: Path | None) -> Transcript:
        model = self._recognizer
        facts = {
            "file": None if source is None else str(source),
            "checkpoint": str(self._request.checkpoint),
            "trained_on": model.corpus,
            "decoder": model.decoder_description,
        }
        return Transcript(name, source, model.simulated, facts)

    def _streams_text(self, output: Path | None) -> bool:
        return self._request.format == "text" and output is None

    def _bar(self, name: str, expected: int, output: Path | None) -> tqdm:
        # None: no bar in a pipe. Where glosses are printed as they come a bar would stand between
        # them.
        hidden = True if self._streams_text(output) and sys.stdout.isatty() else None
        return tqdm(desc=name, total=expected or None, unit="frame", leave=False, disable=hidden)

    def _read(
        self, stream: LandmarkStream, transcript: Transcript, output: Path | None, on_frame
    ) -> TranscriptionSummary:
        streaming = self._streams_text(output)
        if streaming and self._several:
            print(f"{transcript.name}:", flush=True)

        def on_glosses(glosses: list[TimedGloss]) -> None:
            transcript.glosses += glosses
            if streaming:
                print("\n".join(map(text_line, glosses)), flush=True)

        return transcribe_stream(
            stream, self._recognizer, self._request.windows, on_frame, on_glosses
        )

    def _finish(
        self, transcript: Transcript, progress: TranscriptionSummary, output: Path | None
    ) -> None:
        transcript.facts |= progress.facts()
        if output is not None:
            _write(output, render(transcript, self._request.format, output.parent))
        elif not self._streams_text(output):
            print(render(transcript, self._request.format), end="", flush=True)
        found = f"{len(transcript.glosses)} gloss{'' if len(transcript.glosses) == 1 else 'es'}"
        place = f" in {output}" if output is not None else ""
        print(f"{transcript.name}: {found}{place}; {progress}", file=sys.stderr)
        if progress.with_hands < FEW_HANDS * progress.frames:
            share = progress.with_hands / progress.frames
            print(
                f"warning: {transcript.name}: hands are found in only {100 * share:.0f} % of its frames; is a signer well "
                "in the picture?",
                file=sys.stderr,
            )

    @property
    def _note(self) -> str:
        return "trained on simulated signers" if self._recognizer.simulated else ""

    def _draw(
        self, path: Path, fps: float, frames: Iterator[Frame], glosses: list[TimedGloss]
    ) -> None:
        with OverlayWriter(path, fps, self._note) as writer:
            first = 0
            for frame in frames:
                while first < len(glosses) and glosses[first].end + LINGER < frame.time:
                    first += 1
                begun = []
                for gloss in glosses[first : first + 100]:
                    if gloss.start > frame.time:
                        break
                    begun.append((gloss.gloss, frame.time < gloss.end))
                writer.write(frame.time, frame.picture, frame.landmarks, frame.detected, begun)
        _tell_missing(writer)
        print(f"overlay: {path}", file=sys.stderr)


def _spooled(recording: RecordingFile, fps: float, spool) -> Iterator[Frame]:
    """The recording's pictures again, with the landmarks that were found in them."""
    for number, picture in enumerate(open_video_frames(recording).frames):
        values = spool.read(_LANDMARKS_BYTES + len(PARTS))
        landmarks = np.frombuffer(values[:_LANDMARKS_BYTES], "<f2").reshape(
            NUM_LANDMARKS, NUM_COORDINATES
        )
        yield Frame(
            number / fps, landmarks, np.frombuffer(values[_LANDMARKS_BYTES:], bool), picture
        )


def _tell_missing(writer: OverlayWriter) -> None:
    if writer.missing:
        shown = " ".join(sorted(writer.missing)[:10])
        print(
            f"warning: no installed font has {len(writer.missing)} characters of the glosses ({shown}): they are boxes in "
            f"{writer.path}, the transcript has them; on Debian and Ubuntu apt-get install fonts-noto-cjk has Chinese ones",
            file=sys.stderr,
        )


def _name(recording: RecordingFile) -> str:
    return "/".join(recording.parts)


def _write(path: Path, text: str) -> None:
    """The whole file or none. Raises DataError."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A name in another encoding than the locale's is told in escapes.
        partial.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise DataError(f"cannot write {path}: {error.strerror}") from None
