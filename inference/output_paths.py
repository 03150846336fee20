"""Where the transcript and the overlay of each recording are written."""

import os
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from data.output_place import (
    check_output_files,
    ignores_case,
    is_device,
    is_occupied,
    nearest_existing,
)
from data.sources.video_files import IMAGE_SUFFIXES, RecordingFile
from errors import UsageError
from inference.recordings import is_landmark_file
from inference.requests import is_folder_name

_SUFFIXES = {"text": ".txt", "json": ".json", "srt": ".srt", "vtt": ".vtt", "eaf": ".eaf"}


@dataclass(frozen=True)
class OutputPaths:
    """transcript: None for the screen; overlay: None for no overlay."""

    transcript: Path | None
    overlay: Path | None

    @property
    def files(self) -> list[Path]:
        return [path for path in (self.transcript, self.overlay) if path is not None]


def choose_output_paths(
    recordings: Sequence[RecordingFile],
    format: str,
    output: str | Path | None,
    overlay: Path | None,
    several: bool,
    to_folders: bool = False,
    overwrite: bool = False,
    skip_existing: bool = False,
    model_files: Sequence[Path] = (),
) -> list[OutputPaths | None]:
    """The output paths of each recording; None for a recording that is left out, because its files
    exist already.

    With several recordings, a folder or a pattern, or if a folder of that name exists, `output` and
    `overlay` are folders, and each recording gets a file there. So is an `output` that ends in a
    slash. A name with the ending of the format (.srt; .mp4 of an overlay) is a file's, unless a
    folder has it.

    Args:
        format: one of transcript_files.FORMATS.
        output, overlay: as given on the command line.
        several: whether the command line names several recordings, also ones that cannot be read.
        to_folders: whether it names a folder or a pattern, also one of a single recording.
        overwrite: replace files that exist already.
        skip_existing: leave out recordings whose files exist already.
        model_files: what the transcription reads besides: the checkpoint and the like.

    Raises UsageError if two outputs have the same path, `output` or `overlay` is a file for several
    recordings, an output would overwrite an input, a file exists already and `overwrite` is not
    given, or an overlay is not possible; DataError if a file cannot be made in its folder.
    """
    if several and output is None and format not in ("text", "json"):
        raise UsageError(
            f"--format {format} of several recordings needs --output FOLDER, a file for each"
        )
    chosen = []
    for recording in recordings:
        paths = OutputPaths(
            _path_for(recording, output, _SUFFIXES[format], several, to_folders),
            _path_for(recording, overlay, ".mp4", several, to_folders),
        )
        if paths.overlay is not None:
            check_overlay(paths.overlay, recording)
        chosen.append(paths)
    refuse_replaced_inputs(
        [path for paths in chosen for path in paths.files],
        [recording.path for recording in recordings] + [*model_files],
    )
    wanted = [None if skip_existing and _exist_already(paths) else paths for paths in chosen]
    check_output_files(
        [path for paths in wanted if paths for path in paths.files],
        overwrite,
        ", or --skip_existing to leave out the recordings that have their files" if several else "",
    )
    _refuse_shared_names(list(zip(recordings, chosen, strict=True)))
    return wanted


def check_camera_outputs(
    output: Path | None, overlay: Path | None, overwrite: bool, model_files: Sequence[Path]
) -> None:
    """Raise UsageError or DataError unless the files of a camera can be written."""
    paths = OutputPaths(output, overlay)
    if overlay is not None:
        check_overlay(overlay)
    refuse_replaced_inputs(paths.files, model_files)
    check_output_files(paths.files, overwrite)
    _refuse_shared_names([(None, paths)])


def _exist_already(paths: OutputPaths) -> bool:
    """Whether all files of a recording are there. Raises UsageError if only one of two is."""
    there = [path for path in paths.files if is_occupied(path)]
    missing = [path for path in paths.files if path not in there]
    if there and missing:
        raise UsageError(
            f"{there[0]} exists and {missing[0]} does not, so the recording is transcribed only in "
            f"part: move {there[0]} away, or give --overwrite in place of --skip_existing"
        )
    return bool(there)


def _refuse_shared_names(outputs: Sequence[tuple[RecordingFile | None, OutputPaths]]) -> None:
    """Raise UsageError if two outputs are one file, also through links and on a disk that takes
    `A` and `a` for the same name. The folders of the outputs can be written to."""
    used_by: dict[str, RecordingFile | None] = {}
    folders: dict[Path, bool] = {}
    for recording, paths in outputs:
        for path in paths.files:
            name = os.path.realpath(path)
            above = nearest_existing(Path(name))
            if above not in folders:
                folders[above] = not is_device(path) and ignores_case(above)
            if folders[above]:
                name = unicodedata.normalize("NFC", name).casefold()
            if name not in used_by:
                used_by[name] = recording
                continue
            other = used_by[name]
            if recording is other:
                raise UsageError(
                    f"--output and --overlay would both be written to {path}: give two names"
                )
            assert recording is not None and other is not None
            raise UsageError(
                f"{other.path} and {recording.path} would both be written to {path}: rename one "
                "of them, or transcribe them one by one into different folders"
            )


def _path_for(
    recording: RecordingFile, given: str | Path | None, suffix: str, several: bool, to_folders: bool
) -> Path | None:
    """The file of one recording, see `choose_output_paths`. suffix: of the format."""
    if given is None:
        return None
    path = Path(given)
    if not (is_folder_name(given) or path.is_dir()):
        names_file = path.suffix.lower() == suffix
        if names_file and several:
            raise UsageError(
                f"{given} is the name of a file, but several recordings need a folder, with a file "
                f"for each: give a name without {suffix}"
            )
        if names_file or not (several or to_folders):
            return path
    name = Path(*recording.parts)
    return path / name.with_name(name.name + suffix)


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


def refuse_replaced_inputs(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Raise UsageError if an output is an input, or a picture in a folder of frames."""
    used = {os.path.realpath(path): path for path in inputs}
    for path in outputs:
        real = os.path.realpath(path)
        found = used.get(real)
        if found is None and path.suffix.lower() in IMAGE_SUFFIXES:
            found = used.get(os.path.dirname(real))
        if found is not None:
            raise UsageError(f"{path} would replace the input {found}: choose another place")
