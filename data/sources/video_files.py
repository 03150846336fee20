"""Footage: which video or folder of frames belongs to which sentence, and its frames one after the
other.

A video is an mp4, avi, mov, mkv or webm file; a folder of frames holds png or jpg files that are
numbered without a hole. OpenCV is imported only when frames are read.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath

import numpy as np

from data.sources.transcripts import TranscribedSentence
from errors import DataError

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
SHOWN = 10  # names in one message before the rest is only counted


@dataclass(frozen=True)
class RecordingFile:
    """A video file or a folder of frames; `parts` is its place in the input folder without suffix
    and PHOENIX's `/1`."""

    path: Path
    parts: tuple[str, ...]

    @property
    def is_video(self) -> bool:
        return self.path.suffix.lower() in VIDEO_SUFFIXES


def find_recording_files(
    source: Path,
    file_suffixes: tuple[str, ...] = VIDEO_SUFFIXES,
    frame_suffixes: tuple[str, ...] = IMAGE_SUFFIXES,
) -> list[RecordingFile]:
    """All videos and folders of frames below a folder, in order of their paths; hidden ones are
    passed over.

    With other suffixes, all files of these. Raises DataError when the folder is missing or holds
    none.
    """
    if not source.is_dir():
        raise DataError(
            f"{source} {'is not a folder' if source.exists() else 'does not exist'}: expected the footage"
        )
    found, seen = [], set()
    for folder, folders, files in os.walk(source, followlinks=True):
        if os.path.realpath(folder) in seen:  # a link that leads in a circle
            folders.clear()
            continue
        seen.add(os.path.realpath(folder))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in folders:
            refuse_link_outside(Path(folder, name), source)
        place = Path(folder).relative_to(source)
        suffixes = {file: Path(file).suffix.lower() for file in files if not file.startswith(".")}
        for file in sorted(file for file, suffix in suffixes.items() if suffix in file_suffixes):
            refuse_link_outside(Path(folder, file), source)
            found.append(RecordingFile(Path(folder, file), _parts(str(place / file))))
        if any(suffix in frame_suffixes for suffix in suffixes.values()):
            found.append(
                RecordingFile(Path(folder), _parts(str(place)) or (source.resolve().name,))
            )
    if not found:
        frames = f" or folders of frames ({', '.join(frame_suffixes)})" if frame_suffixes else ""
        raise DataError(
            f"{source} has no recordings in it: expected files {', '.join(file_suffixes)}{frames}"
        )
    return found


def refuse_link_outside(path: Path, source: Path) -> None:
    """Raise DataError for a link that leads out of the input folder: an archive from elsewhere
    could point anywhere."""
    if path.is_symlink() and not path.resolve().is_relative_to(source.resolve()):
        raise DataError(
            f"{path} is a link out of {source}, to {path.resolve()}, and is not followed: copy or mount what it leads to, "
            "or give that folder as --input"
        )


def _parts(place: str) -> tuple[str, ...]:
    """Names on the way to a recording: of '<id>/1/*.png', '<id>/1', '<id>' and '<id>.mp4' all
    ('<id>',)."""
    parts = [
        part
        for part in PurePosixPath(place.replace("\\", "/")).parts
        if part not in ("/", ".", "..")
    ]
    if parts and "*" in parts[-1]:
        parts.pop()
    if len(parts) > 1 and parts[-1] == "1":
        parts.pop()
    if parts and PurePosixPath(parts[-1]).suffix.lower() in (
        *VIDEO_SUFFIXES,
        ".npy",
        ".npz",
        ".pose",
        ".parquet",
    ):
        parts[-1] = PurePosixPath(parts[-1]).stem
    return tuple(parts)


def match_recording_files(
    splits: dict[str, list[TranscribedSentence]], footage: list[RecordingFile]
) -> tuple[dict[tuple[str, str], RecordingFile], list[RecordingFile]]:
    """The footage of each sentence by (split, id), and the footage that no sentence has. Sentences
    may lack theirs.

    A sentence's footage is where its table says, or else named as the sentence, from any folder of
    the input on; of several such, the one in its split's folder. Raises DataError for two
    recordings of one sentence, or two sentences of one recording.
    """
    by_name: dict[str, list[RecordingFile]] = {}
    for recording in footage:
        by_name.setdefault(recording.parts[-1], []).append(recording)
    matched, sentence_of = {}, {}
    for split, sentences in splits.items():
        for sentence in sentences:
            found = _recordings_of(_parts(sentence.footage), split, by_name)
            found = found or _recordings_of(_parts(sentence.id), split, by_name)
            if len(found) > 1:
                raise DataError(
                    f"{split} sentence {sentence.id!r} has {len(found)} recordings, {found[0].path} and {found[1].path}: "
                    "remove or rename one, or give the folder of the right ones as --input"
                )
            if found:
                other = sentence_of.setdefault(found[0], (split, sentence.id))
                if other != (split, sentence.id):
                    raise DataError(
                        f"{other[0]} sentence {other[1]!r} and {split} sentence {sentence.id!r} are the same recording "
                        f"{found[0].path}: remove one from the annotations"
                    )
                matched[split, sentence.id] = found[0]
    return matched, [recording for recording in footage if recording not in sentence_of]


def _recordings_of(
    wanted: tuple[str, ...], split: str, by_name: dict[str, list[RecordingFile]]
) -> list[RecordingFile]:
    """Recordings whose place ends in the wanted one, or else the other way round; of several, those
    in the split's folder."""
    named = by_name.get(wanted[-1], []) if wanted else []
    found = [one for one in named if one.parts[-len(wanted) :] == wanted]
    found = found or [one for one in named if wanted[-len(one.parts) :] == one.parts]
    return [one for one in found if split in one.parts[: -len(wanted)]] or found


def frame_files(folder: Path) -> list[Path]:
    """The pictures of a folder of frames in the order of their numbers.

    The frame's number is the one that counts through the folder: in PHOENIX's `..._fn000054-0.png`
    it is 54. Raises DataError when none does, or when it leaves one out.
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
    counting = []
    if len(patterns) == 1:
        counting = [column for column in numbers.T if len(set(column)) == len(names)]
    if not counting:
        raise DataError(
            f"the frames are not numbered in one way: {names[0]} and {names[-1]}; name them frame0001.png, frame0002.png ..."
        )
    # Without a hole if there is one such
    counting.sort(key=lambda column: max(column) - min(column))
    order = sorted(range(len(names)), key=lambda index: counting[0][index])
    for before, after in pairwise(order):
        if counting[0][after] != counting[0][before] + 1:
            raise DataError(
                f"frame {counting[0][before] + 1} is missing: {names[before]} is followed by {names[after]}; "
                "a sentence with a hole in it cannot be extracted"
            )
    return [folder / names[index] for index in order]


def signature(recording: RecordingFile) -> list[int]:
    """What changes when footage is replaced: bytes (of a folder, the frames) and time of change.
    Raises OSError."""
    state = recording.path.stat()
    return [
        state.st_size if recording.is_video else len(os.listdir(recording.path)),
        state.st_mtime_ns,
    ]


@dataclass
class VideoFrames:
    """Frames being read: uint8 (H, W, 3) in OpenCV's order blue, green, red; `expected` of them, 0
    where that is unknown."""

    frames: Iterator[np.ndarray]
    fps: float | None
    expected: int


def open_video_frames(recording: RecordingFile) -> VideoFrames:
    """Open a recording. This and reading its frames raise DataError saying what is wrong, without
    the path."""
    return _open_video(recording.path) if recording.is_video else _open_frames(recording.path)


def _open_frames(folder: Path) -> VideoFrames:
    import cv2

    files = frame_files(folder)
    if not files:
        raise DataError("the folder has no frames in it any more")

    def frames() -> Iterator[np.ndarray]:
        for file in files:
            picture = cv2.imread(str(file), cv2.IMREAD_COLOR)
            if picture is None:
                raise DataError(f"{file.name} is not a picture that can be read")
            yield picture

    return VideoFrames(_of_one_size(frames()), None, len(files))


def _open_video(path: Path) -> VideoFrames:
    import cv2

    if path.stat().st_size == 0:
        raise DataError("the file is empty (0 bytes)")
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        raise DataError(
            "cannot be opened: not a video, damaged, or in a codec that OpenCV's FFmpeg lacks "
            "(see whether `ffmpeg -i FILE -c:v libx264 OUTPUT.mp4` can convert it)"
        )
    said, fps = capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)
    code = "".join(
        chr(int(capture.get(cv2.CAP_PROP_FOURCC)) >> shift & 0x7F) for shift in (0, 8, 16, 24)
    )
    expected = int(said) if 0 < said < 1e8 else 0

    def frames() -> Iterator[np.ndarray]:
        count = 0
        try:
            while True:
                read, picture = capture.read()
                if not read:
                    break
                count += 1
                yield picture
        finally:
            capture.release()
        if count == 0:
            raise DataError(
                f"has no frame that can be decoded: it is empty or damaged, or OpenCV lacks its codec "
                f"{code if code.isprintable() else 'of unknown name'}"
            )
        if count < expected - max(2, 0.02 * expected):  # containers round the number they give
            raise DataError(
                f"ends after {count} of {expected} frames: it is damaged or was cut off while being copied"
            )

    return VideoFrames(_of_one_size(frames()), fps if 1 <= fps <= 1000 else None, expected)


def _of_one_size(frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    size = None
    for number, frame in enumerate(frames):
        if size not in (None, frame.shape):
            raise DataError(
                f"frame {number} is {frame.shape[1]}x{frame.shape[0]} where those before it are {size[1]}x{size[0]}"
            )
        size = frame.shape
        yield frame
