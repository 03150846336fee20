"""Landmarks of recordings, frame by frame: videos, folders of frames, cameras, landmark files.

Only the current frame is in memory, however long the recording is. Landmark files are small and are
read as a whole.
"""

import contextlib
import glob
import os
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.corpus import ARRAYS
from data.landmarks import PART_SLICES, PARTS
from data.resampling import check_rate
from data.sources.holistic import missing_library
from data.sources.landmark_files import READERS, check_image_coordinates
from data.sources.recording_facts import to_aspect_ratio
from data.sources.trackers import Tracker
from data.sources.video_files import (
    IMAGE_SUFFIXES,
    VIDEO_SUFFIXES,
    RecordingFile,
    find_recording_files,
)
from data.sources.video_frames import open_video_frames
from errors import DataError, UsageError, printable

LANDMARK_READERS = {suffix: read for suffixes, read in READERS.values() for suffix in suffixes}
SUFFIXES = (*VIDEO_SUFFIXES, *LANDMARK_READERS)
_WITHOUT_ASPECT_RATIO = (*READERS["npy"][0], *READERS["parquet"][0])
_CORPUS_ARRAYS = tuple(f".{name}" for name in (*ARRAYS, "times"))
_EXPECTED = f"{', '.join(SUFFIXES)} or a folder of frames"


@dataclass(frozen=True)
class Frame:
    """One frame of a recording.

    Args:
        time: in seconds of the recording.
        landmarks: float32 (543, 3), fractions of the picture; 0 if not detected.
        detected: bool (4,).
        picture: uint8 (H, W, 3), blue, green, red; None for landmark files.
    """

    time: float
    landmarks: np.ndarray
    detected: np.ndarray
    picture: np.ndarray | None = None


@dataclass
class Recording:
    """An opened recording.

    Args:
        frames: its frames, in order.
        fps: frames per second; of uneven times, that of half of the frames; None for a camera.
        fps_is_known: whether the recording or the user gives it.
        expected: an estimate of the number of frames; 0 if it is unknown.
        aspect_ratio: width / height of the pictures; None until the first frame is read.
        even: whether the times of the frames are those of a constant frame rate.
        has_aspect_ratio: whether the recording itself gives the aspect ratio.
    """

    frames: Generator[Frame, None, None]
    fps: float | None
    fps_is_known: bool
    expected: int
    aspect_ratio: float | None = None
    even: bool = True
    has_aspect_ratio: bool = True

    def assumed(self, shape_is_given: bool) -> str:
        """What the recording does not give, and what is assumed of it, in words; '' for nothing.

        shape_is_given: whether the user gives the aspect ratio.
        """
        assumed = []
        if not self.fps_is_known:
            assumed.append(("frame rate", f"{self.fps:g} frames/s", "--fps"))
        if not self.has_aspect_ratio and not shape_is_given:
            shape = f"width/height {self.aspect_ratio:.4g}"
            assumed.append(("image shape", shape, "--aspect_ratio"))
        if not assumed:
            return ""
        what, values, options = zip(*assumed, strict=True)
        return f"{' and '.join(what)}: {' and '.join(values)} assumed ({', '.join(options)})"


def is_landmark_file(recording: RecordingFile) -> bool:
    return recording.path.suffix.lower() in LANDMARK_READERS and not recording.path.is_dir()


def find_recordings(words: Sequence[str]) -> tuple[list[RecordingFile], dict[str, str]]:
    """Find the recordings that the words of the command line name.

    A word is a file, a pattern such as '*.mp4', or a folder. A folder means all recordings below
    it, but pictures beside videos are ignored.

    Returns the recordings, and {word: reason} for the words that name no recording.
    """
    found: list[RecordingFile] = []
    failed: dict[str, str] = {}
    for word in words:
        paths = sorted(glob.glob(word, recursive=True)) if _is_pattern(word) else [word]
        if not paths:
            failed[word] = f"no file has a name like this: expected {_EXPECTED}"
        for path in map(Path, paths):
            try:
                found += _recordings_at(path)
            except (DataError, OSError) as error:
                reason = str(error) if isinstance(error, DataError) else error.strerror
                failed[str(path)] = str(reason or error).removeprefix(f"{printable(str(path))} ")
    once: dict[Path, RecordingFile] = {}
    for recording in found:
        once.setdefault(recording.path.resolve(), recording)
    return list(once.values()), failed


def refuse_useless_options(
    recordings: Sequence[RecordingFile], model: Path | None, aspect_ratio: float | None
) -> None:
    """Raise UsageError for an option that none of the recordings uses.

    model: of the tracker. aspect_ratio: of recordings that do not give their own.
    """
    if model is not None and all(map(is_landmark_file, recordings)):
        raise UsageError(
            f"--model {model} has no effect on landmark files, which are tracked already: leave it "
            "out"
        )
    suffixes = {Path(recording.path).suffix.lower() for recording in recordings}
    if aspect_ratio is not None and suffixes.isdisjoint(_WITHOUT_ASPECT_RATIO):
        raise UsageError(
            f"--aspect_ratio {aspect_ratio:g} has no effect on these recordings, which give their "
            f"own: it is for {', '.join(_WITHOUT_ASPECT_RATIO)} files; leave it out"
        )


def names_several(words: Sequence[str], recordings: Sequence[RecordingFile]) -> bool:
    """Whether a word of the command line is a pattern or a folder of recordings, of which there may
    be any number. A folder of frames is one recording.

    recordings: those that `find_recordings` found for the words.
    """
    single = {recording.path.resolve() for recording in recordings}
    return any(
        Path(word).resolve() not in single if os.path.isdir(word) else _is_pattern(word)
        for word in words
    )


def _is_pattern(word: str) -> bool:
    return glob.has_magic(word) and not os.path.exists(word)


def _recordings_at(path: Path) -> list[RecordingFile]:
    if path.is_dir():
        _refuse_corpus(path)
        below = find_recording_files(path, SUFFIXES, IMAGE_SUFFIXES, "the path")
        with_files = {recording.path.parent for recording in below if not recording.path.is_dir()}
        shown = [recording for recording in below if recording.path not in with_files]
        beside = Counter(recording.path.resolve().parent for recording in shown)
        return [
            _named_by_id(recording)
            if recording.path.is_dir() and beside[recording.path.resolve().parent] == 1
            else recording
            for recording in shown
        ]
    if not path.exists():
        raise DataError(f"does not exist: expected {_EXPECTED}")
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"is not a recording: expected {_EXPECTED}")
    return [RecordingFile(path, (path.stem,))]


def _refuse_corpus(folder: Path) -> None:
    """Raise DataError for a corpus folder: its files are not recordings."""
    if (folder / "corpus.json").is_file():
        raise DataError(
            f"{folder} is a corpus folder, not a folder of recordings: evaluate the model on it "
            f"with evaluate.py --data_dir {folder}"
        )


def _named_by_id(recording: RecordingFile) -> RecordingFile:
    """The recording, named after its sentence: for PHOENIX's `<id>/1`, the only recording in its
    folder, the name is the id."""
    *before, name = recording.parts
    if name != "1":
        return recording
    parts = tuple(before) or (recording.path.resolve().parent.name,)
    return RecordingFile(recording.path, parts)


def open_recording(
    file: RecordingFile,
    tracker: Callable[[], Tracker],
    fps: float | None,
    default_fps: float,
    aspect_ratio: float,
) -> Recording:
    """Open a recording.

    This function and reading the frames raise DataError; for videos and folders of frames its
    message has no path.

    Args:
        tracker: returns the tracker; it is called only for videos and folders of frames.
        fps: frames per second that the user gives; they replace the recording's own times.
        default_fps, aspect_ratio: of a recording that does not give its own.
    """
    if file.path.suffix == ".npy" and file.path.stem.endswith(_CORPUS_ARRAYS):
        _refuse_corpus(file.path.parent)
    if is_landmark_file(file):
        return _open_landmarks(file.path, fps, default_fps, aspect_ratio)
    tracking = tracker()  # a missing library is reported first
    try:
        video = open_video_frames(file, fps, default_fps)
    except ImportError as error:
        raise DataError(missing_library(error)) from None

    def frames() -> Generator[Frame, None, None]:
        tracking.reset()
        with contextlib.closing(video.frames):  # type: ignore[type-var]
            for seconds, picture in video.frames:
                yield _track(recording, tracking, seconds, picture)

    recording = Recording(frames(), video.fps, video.fps_is_known, video.expected, even=video.even)
    return recording


def open_camera(number: int, tracker: Callable[[], Tracker]) -> Recording:
    """Open a camera. Its frames come until it ends; their times are clock times since the first
    frame. Raises DataError."""
    try:
        import cv2
    except ImportError as error:
        raise DataError(missing_library(error)) from None

    capture = cv2.VideoCapture(number)
    if not capture.isOpened():
        raise DataError(
            f"camera {number} cannot be opened: there is no such camera, or another program uses "
            "it (on Linux see `ls /dev/video*`; a container needs access to the device)"
        )
    tracking = tracker()

    def frames() -> Generator[Frame, None, None]:
        tracking.reset()
        start = None
        try:
            while True:
                has_picture, picture = capture.read()
                if not has_picture:
                    break
                now = time.monotonic()
                start = now if start is None else start
                yield _track(recording, tracking, now - start, picture)
        finally:
            capture.release()
        if start is None:
            raise DataError(f"camera {number} gives no picture")

    recording = Recording(frames(), None, True, 0, even=False)
    return recording


def _track(recording: Recording, tracker: Tracker, seconds: float, picture: np.ndarray) -> Frame:
    recording.aspect_ratio = picture.shape[1] / picture.shape[0]
    landmarks, detected = tracker.track(picture)
    return Frame(seconds, landmarks, detected, picture)


def _open_landmarks(
    path: Path, fps: float | None, default_fps: float, aspect_ratio: float
) -> Recording:
    read = LANDMARK_READERS[path.suffix.lower()]
    check_image_coordinates([path], read)
    sequence = read(path)
    if sequence.fps is not None and fps is None:
        check_rate(sequence.fps)
    rate = fps or sequence.fps or default_fps
    with np.errstate(over="ignore"):
        landmarks = sequence.landmarks.astype(np.float32)
    for column, part in enumerate(PARTS):
        landmarks[~sequence.detected[:, column], PART_SLICES[part]] = 0
    if not np.isfinite(landmarks).all():
        raise DataError(f"{path} has NaN, infinite or too large values")
    frames = (
        Frame(number / rate, *frame)
        for number, frame in enumerate(
            zip(landmarks, sequence.detected, strict=True), start=sequence.first_frame
        )
    )
    ratio, has_ratio = sequence.aspect_ratio or aspect_ratio, sequence.aspect_ratio is not None
    known = fps is not None or sequence.fps is not None
    return Recording(frames, rate, known, len(landmarks), ratio, has_aspect_ratio=has_ratio)


def in_aspect_ratio(frame: Frame, ratio: float, wanted: float) -> np.ndarray:
    """The frame's landmarks float32 (543, 3), converted from pictures of width / height `ratio` to
    fractions of pictures of width / height `wanted`."""
    converted: np.ndarray = to_aspect_ratio(frame.landmarks[None], ratio, wanted)[0]
    for column, part in enumerate(PARTS):
        if not frame.detected[column]:
            converted[PART_SLICES[part]] = 0
    return converted
