"""Recordings: which one belongs to which sentence.

A recording is a video, a folder of video frames (pictures, numbered without a gap) or a landmark
file. data/sources/video_frames.py reads the frames.
"""

import errno
import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath

import numpy as np

from data.sources.annotations.segment_overlaps import Part, check_overlaps
from data.sources.annotations.segments import Segment
from data.sources.annotations.transcripts import TranscribedSentence
from data.text_fields import nfc
from errors import DataError, printable

VIDEO_SUFFIXES = (
    *(".mp4", ".avi", ".mov", ".mkv", ".webm"),
    *(".m4v", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".flv", ".3gp", ".ogv"),
)
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
_Parts = tuple[str, ...]  # names on a path
LANDMARK_SUFFIXES = (".npy", ".npz", ".pose", ".parquet")


@dataclass(frozen=True)
class RecordingFile:
    """The file or the folder of frames of one recording.

    `parts` are the names on the path from the input folder to the recording, without the suffix of
    a file.
    """

    path: Path
    parts: tuple[str, ...]

    @property
    def is_video(self) -> bool:
        """Whether it is a video. A folder of frames may be named like one."""
        return self.path.suffix.lower() in VIDEO_SUFFIXES and not self.path.is_dir()


def find_recording_files(
    source: Path,
    file_suffixes: tuple[str, ...] = VIDEO_SUFFIXES,
    frame_suffixes: tuple[str, ...] = IMAGE_SUFFIXES,
    option: str = "--input",
) -> list[RecordingFile]:
    """Find all recordings below a folder, sorted by path. Names that begin with '.' are ignored.

    Args:
        source: the input folder.
        file_suffixes: suffixes of files that are one recording each.
        frame_suffixes: suffixes of video frames; a folder with such files is one recording.
        option: what named the folder on the command line, for messages.

    Raises DataError when the folder is missing, cannot be read or has no recordings, and for a link
    that leads out of it.
    """
    if not source.is_dir():
        problem = "is not a folder" if source.exists() else "does not exist"
        raise DataError(f"{source} {problem}: expected a folder of recordings; check {option}")
    found: list[RecordingFile] = []
    visited: set[str] = set()
    for folder, folders, files in os.walk(source, onerror=_refuse_unreadable, followlinks=True):
        if os.path.realpath(folder) in visited:  # a link in a circle
            folders.clear()
            continue
        visited.add(os.path.realpath(folder))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in folders:
            _refuse_link_outside(Path(folder, name), source, option)
        place = Path(folder).relative_to(source)
        suffixes = {file: Path(file).suffix.lower() for file in files if not file.startswith(".")}
        for file in sorted(file for file, suffix in suffixes.items() if suffix in file_suffixes):
            _refuse_link_outside(Path(folder, file), source, option)
            found.append(RecordingFile(Path(folder, file), _without_suffix(_names(place / file))))
        if any(suffix in frame_suffixes for suffix in suffixes.values()):
            found.append(RecordingFile(Path(folder), _names(place) or (source.resolve().name,)))
    if not found:
        frames = f" or folders of frames ({', '.join(frame_suffixes)})" if frame_suffixes else ""
        raise DataError(
            f"{source} has no recordings in it: "
            f"expected files {', '.join(file_suffixes)}{frames}; check {option}"
        )
    return found


def unread_files(source: Path) -> dict[str, Path]:
    """Files below a folder that are neither videos nor frames, by their name without the suffix.
    Their suffix is perhaps that of a video which is not read."""
    return {
        nfc(Path(file).stem): Path(folder, file)
        for folder, _, files in os.walk(source, onerror=_refuse_unreadable)
        for file in sorted(files, reverse=True)
        if Path(file).suffix.lower() not in (*VIDEO_SUFFIXES, *IMAGE_SUFFIXES, "")
    }


def _refuse_unreadable(error: OSError) -> None:
    """Raise DataError for a folder that cannot be listed."""
    raise DataError(f"{error.filename} cannot be read: {error.strerror}") from None


def _refuse_link_outside(path: Path, source: Path, option: str) -> None:
    """Raise DataError for a link that leads out of the input folder.

    The input may be an archive of someone else, and its links could point to private files.
    """
    if not path.is_symlink():
        return
    try:
        path.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise DataError(f"{path} is a link that leads to itself: remove it") from None
    target = path.resolve()
    if not target.is_relative_to(source.resolve()):
        raise DataError(
            f"{path} is a link out of {source}, to {target}, and is not followed: "
            f"copy its target into the folder, or give the target's folder as {option}"
        )


def _names(place: PurePosixPath | Path | str) -> tuple[str, ...]:
    """The names on a path, in the Unicode form NFC; the file system may have another."""
    parts = PurePosixPath(nfc(str(place)).replace("\\", "/")).parts
    return tuple(part for part in parts if part not in ("/", ".", ".."))


def _without_suffix(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names on a path, the last one without the suffix of a video or landmark file."""
    if names and PurePosixPath(names[-1]).suffix.lower() in (*VIDEO_SUFFIXES, *LANDMARK_SUFFIXES):
        return (*names[:-1], PurePosixPath(names[-1]).stem)
    return names


def _possible_parts(place: str) -> Iterator[tuple[str, ...]]:
    """What a place in an annotation file can mean, the most literal first: the path itself, without
    the suffix of a file, without a pattern such as '*.png', and without PHOENIX's last folder '1'
    ('<id>/1/*.png')."""
    names = _names(place)
    if names:
        yield names
        yield _without_suffix(names)
    if names and "*" in names[-1]:
        names = names[:-1]
        if names:
            yield names
    if len(names) > 1 and names[-1] == "1":
        yield names[:-1]


def match_recording_files(
    splits: dict[str, list[TranscribedSentence]], recordings: list[RecordingFile]
) -> tuple[dict[tuple[str, str], RecordingFile], list[RecordingFile]]:
    """Find the recording of each sentence.

    The recording of a sentence is at the place that the annotation file gives; otherwise it has the
    sentence's id as its name. Both are compared from the end of the path. If several recordings
    fit, the one in the folder of the sentence's split counts.

    Returns the recordings by (split, id) and the recordings without a sentence. A sentence without
    a recording is not in the dict. Raises DataError for two recordings of one sentence, for two
    sentences of one recording that are not different segments of it, and for segments that overlap
    between splits. Segments that overlap within a split are a warning on stderr.
    """
    places = _Places(recordings)
    matched: dict[tuple[str, str], RecordingFile] = {}
    parts_of: dict[RecordingFile, dict[Segment | None, Part]] = {}
    for split, sentences in splits.items():
        for sentence in sentences:
            found = places.of(sentence, split)
            if len(found) > 1:
                raise DataError(
                    f"{split} sentence {sentence.id!r} has {len(found)} recordings, "
                    f"{found[0].path} and {found[1].path}: "
                    "remove or rename one, or give the folder of the right ones as --input"
                )
            if found:
                parts = parts_of.setdefault(found[0], {})
                part, segment = Part(split, sentence.id, sentence.segment), sentence.segment
                whole = segment is None or None in parts
                if segment in parts or (whole and parts):
                    other = parts.get(segment) or next(iter(parts.values()))
                    same = "recording" if whole else f"segment {segment} of the recording"
                    raise DataError(
                        f"{other} and {part} have the same {same} {found[0].path}: "
                        "remove one sentence from the annotations, or give each its part of the "
                        "recording in the columns start_frame and end_frame"
                    )
                parts[segment] = part
                matched[split, sentence.id] = found[0]
    warning = check_overlaps({str(each.path): parts.values() for each, parts in parts_of.items()})
    if warning:
        print(printable(f"warning: {warning}"), file=sys.stderr)
    return matched, [recording for recording in recordings if recording not in parts_of]


class _Places:
    """Where the recordings are, for `match_recording_files`."""

    def __init__(self, recordings: list[RecordingFile]):
        self._paths = _ByEnd((each.parts, each) for each in recordings)
        # PHOENIX's frames are in the folder 1 of a folder that is named like the sentence
        self._parents = _ByEnd(
            (each.parts[:-1], each)
            for each in recordings
            if len(each.parts) > 1 and each.parts[-1] == "1" and each.path.is_dir()
        )

    def of(self, sentence: TranscribedSentence, split: str) -> list[RecordingFile]:
        """The recordings at the place that the annotation file gives; otherwise those that are
        named like the sentence's id."""
        for place in (sentence.recording, sentence.id):
            for wanted in _possible_parts(place):
                found = self._paths.find(wanted, split) or self._parents.find(wanted, split)
                if found:
                    return found
        return []


class _ByEnd:
    """Recordings by the last one and by the last two names of a path."""

    def __init__(self, recordings: Iterable[tuple[_Parts, RecordingFile]]):
        self._found: dict[_Parts, list[tuple[_Parts, RecordingFile]]] = defaultdict(list)
        # Those directly in the input folder
        self._alone: dict[_Parts, list[tuple[_Parts, RecordingFile]]] = defaultdict(list)
        for parts, recording in recordings:
            self._found[parts[-1:]].append((parts, recording))
            if len(parts) > 1:
                self._found[parts[-2:]].append((parts, recording))
            else:
                self._alone[parts[-1:]].append((parts, recording))

    def find(self, wanted: _Parts, split: str) -> list[RecordingFile]:
        """Recordings whose path ends in `wanted`; otherwise those whose path is the end of
        `wanted`. If several fit, those in the split's folder."""
        same = self._found.get(wanted[-2:], [])
        found = [(parts, each) for parts, each in same if parts[-len(wanted) :] == wanted]
        found = found or [(parts, each) for parts, each in same if wanted[-len(parts) :] == parts]
        found = found or self._alone.get(wanted[-1:], [])
        of_split = [each for parts, each in found if split in parts[: -len(wanted)]]
        return of_split or [each for _, each in found]


def signature(recording: RecordingFile) -> list[int]:
    """[size in bytes, modification time in ns]: two numbers that differ after a recording, or a
    frame of it, is replaced. Raises OSError."""
    if not recording.path.is_dir():
        state = recording.path.stat()
        return [state.st_size, state.st_mtime_ns]
    with os.scandir(recording.path) as entries:
        states = [entry.stat() for entry in entries]
    latest = [recording.path.stat().st_mtime_ns, *(state.st_mtime_ns for state in states)]
    return [sum(state.st_size for state in states), max(latest)]


def frame_files(folder: Path) -> list[Path]:
    """The image files of a folder of frames, in the order of the frame numbers.

    The frame number is the number in the names that counts up without a gap: 54 in PHOENIX's
    `..._fn000054-0.png`. Raises DataError when the names have no such number, and when a frame is
    missing.
    """
    names = sorted(
        name
        for name in os.listdir(folder)
        if not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES
    )
    if len(names) < 2:
        return [folder / name for name in names]
    numbers = np.array(
        [[int(digits) for digits in re.findall("[0-9]+", Path(name).stem)] for name in names],
        dtype=object,
    )
    patterns = {re.sub("[0-9]+", "#", Path(name).stem) for name in names}
    unique = []
    if len(patterns) == 1:
        unique = [column for column in numbers.T if len(set(column)) == len(names)]
    if not unique:
        raise DataError(
            f"the frames are not numbered in one way: {names[0]} and {names[-1]}; "
            "name them frame0001.png, frame0002.png ..."
        )
    # The numbers with the smallest range have no gap, if any have none
    unique.sort(key=lambda column: max(column) - min(column))
    order = sorted(range(len(names)), key=lambda index: unique[0][index])
    for before, after in pairwise(order):
        if unique[0][after] != unique[0][before] + 1:
            raise DataError(
                f"frame {unique[0][before] + 1} is missing: "
                f"{names[before]} is followed by {names[after]}; "
                "restore the missing frames, or leave the recording out"
            )
    return [folder / names[index] for index in order]
