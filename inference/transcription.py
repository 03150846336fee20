"""Transcribes recordings: one or many files, or a camera; to the screen, to files, onto video."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

from data.extractors import mixing_warning
from data.output_place import is_device, write_whole
from data.sources.holistic import FEW_HANDS, missing_library, quiet_libraries
from data.sources.trackers import Tracker, extractor_facts, open_tracker
from data.sources.video_files import RecordingFile
from decoding.timed_gloss import TimedGloss
from errors import DataError, is_out_of_memory, no_memory_message, printable
from inference.output_paths import OutputPaths, check_camera_outputs, choose_output_paths
from inference.overlays import CameraOverlay, VideoOverlay
from inference.recognizer import Recognizer, open_recognizer
from inference.recording_transcription import TranscriptionSummary, transcribe_recording
from inference.recordings import (
    Frame,
    Recording,
    find_recordings,
    names_several,
    open_camera,
    open_recording,
    refuse_useless_options,
)
from inference.requests import TranscriptionRequest
from inference.streaming_transcriber import StreamingTranscriber
from inference.transcript_files import Transcript, render, text_line
from inference.windows import LOOKAHEAD, OVERLAP, WINDOW, Windows
from progress_bar import ProgressBar

FEW_POSES = 0.9  # share of frames; below it, a warning


def transcribe(request: TranscriptionRequest) -> int:
    """Transcribe everything that is requested.

    Returns the exit code: 3 if one of several recordings failed; the failed ones are printed with
    the reason. Raises UsageError, and DataError if the only recording failed.
    """
    recordings: list[RecordingFile] = []
    failed: dict[str, str] = {}
    if request.camera is None:
        recordings, failed = find_recordings(request.inputs)
    else:
        check_camera_outputs(
            request.output_path, request.overlay, request.overwrite, request.model_files
        )
    count = len(recordings) + len(failed)
    if failed and not recordings:
        raise DataError("; ".join(f"{name}: {reason}" for name, reason in failed.items()))
    if recordings:
        refuse_useless_options(recordings, request.model, request.aspect_ratio)
    paths = choose_output_paths(
        recordings,
        request.format,
        request.output,
        request.overlay,
        several=count > 1,
        to_folders=names_several(request.inputs, recordings),
        overwrite=request.overwrite,
        skip_existing=request.skip_existing,
        model_files=request.model_files,
    )
    wanted = [
        (recording, outputs)
        for recording, outputs in zip(recordings, paths, strict=True)
        if outputs is not None
    ]
    if left_out := len(recordings) - len(wanted):
        print(f"{left_out} of {count} recordings are transcribed already", file=sys.stderr)
    if recordings and not wanted:
        return _report_failures(failed, count)
    with contextlib.redirect_stdout(sys.stderr):  # stdout is for transcripts
        recognizer = open_recognizer(
            request.checkpoint, request.decoder, request.device, request.closed_set
        )
    _introduce(recognizer, request)
    session = _Session(request, recognizer, count > 1)
    with quiet_libraries():
        if request.camera is not None:
            session.transcribe_camera(request.camera)
            return 0
        for recording, outputs in wanted:
            try:
                session.transcribe_file(recording, outputs)
            except BrokenPipeError:  # nobody reads the transcripts any more
                raise
            except Exception as error:
                if not (isinstance(error, DataError | OSError) or is_out_of_memory(error)):
                    raise
                message = _message(error, recording.path, request)
                if count == 1:
                    raise DataError(message) from None
                shown = printable(str(recording.path))
                failed[shown] = message.removeprefix(f"{shown}: ").removeprefix(f"{shown} ")
    return _report_failures(failed, count)


def _report_failures(failed: dict[str, str], count: int) -> int:
    """Print the recordings that failed, of `count`, and return the exit code."""
    for name, reason in failed.items():
        print(printable(f"failed: {name}: {reason}"), file=sys.stderr)
    if failed:
        print(f"{len(failed)} of {count} recordings failed", file=sys.stderr)
    return 3 if failed else 0


def _introduce(recognizer: Recognizer, request: TranscriptionRequest) -> None:
    """Print, to stderr, what the user should know of the model, and which way it is used."""
    if recognizer.simulated:
        print(
            f"note: the model was trained on {recognizer.trained_on}: do not rely on it for real "
            "signers",
            file=sys.stderr,
        )
    if recognizer.format_is_assumed:
        print(
            f"warning: {request.checkpoint} does not give its corpus's frame rate and aspect "
            f"ratio, and the corpus is not here: {recognizer.fps:g} frames/s and width/height "
            f"{recognizer.aspect_ratio:.3f} are assumed",
            file=sys.stderr,
        )
    print(f"decoder: {recognizer.decoder_description}", file=sys.stderr)
    if request.windows.online:
        print(_describe_online(recognizer, request.windows), file=sys.stderr)
    streams = request.windows.online and recognizer.streaming_student is not None
    if not streams and (warning := request.windows.warning()) is not None:
        print(f"warning: {warning}", file=sys.stderr)


def _describe_online(recognizer: Recognizer, windows: Windows) -> str:
    """Whether the model streams or uses windows, and when a gloss is final."""
    if recognizer.streaming_student is None:
        longer = "" if windows.live else ", for recordings that are longer than that"
        text = (
            f"windows of {windows.length:g} s{longer}: a gloss is final when the model has seen "
            f"{windows.lookahead:g} s after its end"
        )
        if recognizer.streaming_obstacle is not None:
            text += f"; no streaming: {recognizer.streaming_obstacle}"
        return text
    frames = StreamingTranscriber(recognizer, recognizer.fps).latency
    seconds = frames / recognizer.fps
    text = f"streaming: a gloss is final {frames} frames ({seconds:.2f} s) after it is signed"
    if (windows.length, windows.overlap, windows.lookahead) != (WINDOW, OVERLAP, LOOKAHEAD):
        text += "; --window, --overlap and --lookahead have no effect"
    return text


class _Session:
    """Transcribes recordings with one model and one tracker."""

    def __init__(self, request: TranscriptionRequest, recognizer: Recognizer, several: bool):
        self._request, self._recognizer, self._several = request, recognizer, several
        streams = request.windows.online and recognizer.streaming_student is not None
        self._windows = None if streams else request.windows
        self._aspect_ratio = request.aspect_ratio or recognizer.aspect_ratio
        self._has_told_assumed = False  # once is enough for a folder of such recordings
        self._note = "trained on simulated signers" if recognizer.simulated else ""
        # Glosses are printed as soon as they are final.
        self._prints_glosses = request.format == "text" and request.output is None

    @cached_property
    def _tracker(self) -> Tracker:
        model = self._request.model
        try:
            used = extractor_facts(model=model)
            tracker = open_tracker(model)
        except ImportError as error:
            raise DataError(missing_library(error)) from None
        warning = mixing_warning(self._recognizer.extractor, used, "this tracking")
        if warning is not None:
            print(warning, file=sys.stderr)
        return tracker

    def transcribe_file(self, file: RecordingFile, outputs: OutputPaths) -> None:
        """Transcribe one file or folder of frames. Raises DataError and OSError."""
        recording = self._open(file)
        with contextlib.ExitStack() as stack:
            overlay = None
            if outputs.overlay is not None:
                assert recording.fps is not None  # a file has a frame rate
                overlay = stack.enter_context(
                    VideoOverlay(outputs.overlay, file, recording.fps, self._note)
                )
            transcript = self._new_transcript("/".join(file.parts), file.path)
            bar = stack.enter_context(self._bar(transcript.name, recording.expected))

            def on_frame(frame: Frame, emitted: list[TimedGloss]) -> None:
                bar.update()
                if overlay is not None:
                    overlay.keep(frame)

            summary = self._transcribe(recording, transcript, on_frame)
            bar.close()
            self._finish(transcript, summary, outputs.transcript)
            if overlay is not None:
                overlay.draw(transcript.glosses)

    def transcribe_camera(self, number: int) -> None:
        """Transcribe a camera until it ends, the user presses Ctrl-C, or the process is asked to
        end. Raises DataError; the glosses until then are written."""
        recording = open_camera(number, lambda: self._tracker)
        print(f"camera {number}: stop with Ctrl-C", file=sys.stderr)
        transcript = self._new_transcript(f"camera {number}", None)
        output = self._request.output_path
        summary: TranscriptionSummary | None = None
        with _stops_as_ctrl_c():
            try:
                with contextlib.ExitStack() as stack:
                    overlay = None
                    if self._request.overlay is not None:
                        overlay = CameraOverlay(self._request.overlay, self._note)
                        stack.enter_context(overlay)

                    def on_frame(frame: Frame, emitted: list[TimedGloss]) -> None:
                        if overlay is not None:
                            overlay.draw(frame, emitted)

                    summary = self._transcribe(recording, transcript, on_frame)
            finally:  # also where the overlay cannot be completed
                if summary is not None:
                    self._finish(transcript, summary, output)
                elif output is not None and transcript.glosses:
                    self._write(transcript, output)
                    print(printable(f"the glosses until then: {output}"), file=sys.stderr)

    def _open(self, file: RecordingFile) -> Recording:
        recording = open_recording(
            file,
            lambda: self._tracker,
            self._request.fps,
            self._recognizer.fps,
            self._aspect_ratio,
        )
        assumed = recording.assumed(shape_is_given=self._request.aspect_ratio is not None)
        if assumed and not self._has_told_assumed:
            self._has_told_assumed = True
            print(printable(f"{file.path} does not give its {assumed}"), file=sys.stderr)
        return recording

    def _new_transcript(self, name: str, source: Path | None) -> Transcript:
        model = self._recognizer
        facts = {
            "file": None if source is None else str(source),
            "checkpoint": str(self._request.checkpoint),
            "trained_on": model.trained_on,
            "decoder": model.decoder_description,
        }
        return Transcript(name, source, model.simulated, facts)

    def _bar(self, name: str, expected: int) -> ProgressBar:
        # It would mix with glosses that are printed to a terminal.
        visible = not (self._prints_glosses and sys.stdout.isatty())
        return ProgressBar(printable(name), expected, "frame", visible, leave=False)

    def _transcribe(
        self,
        recording: Recording,
        transcript: Transcript,
        on_frame: Callable[[Frame, list[TimedGloss]], None],
    ) -> TranscriptionSummary:
        if self._prints_glosses and self._several:
            print(printable(f"{transcript.name}:"), flush=True)

        def on_glosses(glosses: list[TimedGloss]) -> None:
            transcript.glosses += glosses
            if self._prints_glosses:
                print("\n".join(map(text_line, glosses)), flush=True)

        return transcribe_recording(
            recording, self._recognizer, self._windows, on_frame, on_glosses
        )

    def _write(self, transcript: Transcript, output: Path) -> None:
        _write(output, render(transcript, self._request.format, output.parent))

    def _finish(
        self, transcript: Transcript, summary: TranscriptionSummary, output: Path | None
    ) -> None:
        """Write the transcript, and print the summary to stderr. Raises DataError if nobody was
        seen in the whole recording: an empty transcript would look like a silent signer."""
        if summary.frames and not summary.with_pose:
            raise DataError(f"{transcript.source or transcript.name}: {_nobody(summary)}")
        transcript.facts |= summary.facts()
        if output is not None:
            self._write(transcript, output)
        elif not self._prints_glosses:
            print(render(transcript, self._request.format), end="", flush=True)
        count, name = len(transcript.glosses), printable(transcript.name)
        place = printable(f" in {output}") if output is not None else ""
        if place and self._note:  # text and subtitles have no place for it
            place += f" ({self._note})"
        print(
            f"{name}: {count} gloss{'' if count == 1 else 'es'}{place}; {summary}",
            file=sys.stderr,
        )
        if summary.turned > summary.upright:
            print(
                f"warning: {name}: the signer lies, or the image is turned; if it is "
                "turned, turn the recording",
                file=sys.stderr,
            )
        if summary.with_hands < FEW_HANDS * summary.frames:
            share = summary.with_hands / summary.frames
            print(
                f"warning: {name}: hands were detected in only {100 * share:.0f} % of "
                "its frames; is a signer well visible?",
                file=sys.stderr,
            )
        if summary.with_pose < FEW_POSES * summary.frames:
            share = summary.with_pose / summary.frames
            print(
                f"warning: {name}: a pose was detected in only {100 * share:.0f} % of "
                "its frames; there is no gloss where nobody is seen",
                file=sys.stderr,
            )


@contextlib.contextmanager
def _stops_as_ctrl_c() -> Iterator[None]:
    """Context in which SIGTERM and a closed terminal end a camera's recording like Ctrl-C. What
    comes after the first of them is ignored, so that the transcript is written. A signal that is
    ignored already, as under nohup, stays ignored."""
    names = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    obeyed = [number for number in numbers if before[number] not in (signal.SIG_IGN, None)]

    def stop(*_: object) -> None:
        for number in obeyed:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in obeyed:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in obeyed:
            signal.signal(number, before[number])


def _nobody(summary: TranscriptionSummary) -> str:
    """Why a recording without any detected pose has no transcript."""
    hands = (
        f"; hands were detected in {summary.with_hands} frames, but all landmarks are measured "
        "from the shoulders"
        if summary.with_hands
        else ""
    )
    return (
        f"no pose was detected in any of its {summary.frames} frames, so there is nothing to "
        f"transcribe{hands}: check that a signer is in the picture, with both shoulders, in good "
        "light"
    )


def _message(error: Exception, path: Path, request: TranscriptionRequest) -> str:
    """Why a recording failed, with its path; printable."""
    if is_out_of_memory(error):
        windows, advice = request.windows, ""
        if windows.whole_up_to > windows.length and request.decoder != "closed":
            advice = (
                f"lower --whole (now {windows.whole_up_to:g}), the seconds up to which a recording "
                "is transcribed as a whole"
            )
        reason = no_memory_message(error, advice)
    elif isinstance(error, OSError):
        reason = error.strerror or str(error)
    else:
        reason = str(error)
    reason, shown = printable(reason), printable(str(path))
    return reason if shown in reason else f"{shown}: {reason}"


def _write(path: Path, text: str) -> None:
    """Write the complete file or none, see `write_whole`. Raises DataError."""
    errors = "backslashreplace"  # characters of a file name that the locale does not have
    try:
        if is_device(path):
            path.write_text(text, encoding="utf-8", errors=errors, newline="\n")
            return
        Path(os.path.realpath(path)).parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text, errors)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}") from None
