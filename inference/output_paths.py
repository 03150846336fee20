"""Where the transcript and the overlay of each recording are written."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data.sources.video_files import RecordingFile
from errors import UsageError
from inference.recordings import is_landmark_file
from reports.result_files import refuse_existing

_SUFFIXES = {"text": ".txt", "json": ".json", "srt": ".srt", "vtt": ".vtt", "eaf": ".eaf"}


@dataclass(frozen=True)
class OutputPaths:
    """transcript: None for the screen; overlay: None for no overlay."""

    transcript: Path | None
    overlay: Path | None


def choose_output_paths(
    recordings: Sequence[RecordingFile],
    format: str,
    output: Path | None,
    overlay: Path | None,
    several: bool,
    overwrite: bool = False,
) -> list[OutputPaths]:
    """The output paths of each recording.

    With several recordings, or if a folder of that name exists, `output` and `overlay` are folders,
    and each recording gets a file there.

    Args:
        format: one of transcript_files.FORMATS.
        output, overlay: as given on the command line.
        several: whether the command line names several recordings, also ones that cannot be read.
        overwrite: replace files that exist already.

    Raises UsageError if two outputs have the same path, an output would overwrite a recording, a
    file exists already and `overwrite` is not given, or an overlay is not possible.
    """
    if several and output is None and format not in ("text", "json"):
        raise UsageError(
            f"--format {format} of several recordings needs --output FOLDER, a file for each"
        )
    used_by = {recording.path.resolve(): recording.path for recording in recordings}
    chosen = []
    for recording in recordings:
        paths = OutputPaths(
            _path_for(recording, output, _SUFFIXES[format], several),
            _path_for(recording, overlay, ".mp4", several),
        )
        if paths.overlay is not None:
            check_overlay(paths.overlay, recording)
        for path in filter(None, (paths.transcript, paths.overlay)):
            other = used_by.setdefault(path.resolve(), recording.path)
            if (
                other != recording.path
                or path.resolve() == recording.path.resolve()
                or paths.transcript == paths.overlay
            ):
                raise UsageError(
                    f"{recording.path} would be written to {path}, which belongs to {other}: "
                    "choose another place"
                )
        chosen.append(paths)
    written = [path for paths in chosen for path in (paths.transcript, paths.overlay) if path]
    refuse_existing(written, overwrite)
    return chosen


def _path_for(
    recording: RecordingFile, given: Path | None, suffix: str, several: bool
) -> Path | None:
    if given is None or not (several or given.is_dir()):
        return given
    name = Path(*recording.parts)
    return given / name.with_name(name.name + suffix)


def check_overlay(path: Path, recording: RecordingFile | None = None) -> None:
    """Raise UsageError if `path` is not an .mp4, or if the recording has no pictures to draw on.

    recording: None for a camera.
    """
    if recording is not None and is_landmark_file(recording):
        raise UsageError(
            f"--overlay draws on a video, and {recording.path} has no pictures: leave --overlay out"
        )
    if path.suffix.lower() != ".mp4":
        raise UsageError(f"--overlay {path}: expected a name that ends in .mp4")
