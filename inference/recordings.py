"""Landmarks of a recording of any kind, one frame after the other: video, folder of frames, camera,
or a file of landmarks.

Nothing but the current frame is held, whatever the recording's length; files of landmarks are read
whole, as they are small.
"""

import contextlib
import glob
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.landmarks import PART_SLICES, PARTS
from data.sources.holistic import Tracker, missing_library
from data.sources.landmark_files import READERS, check_image_coordinates
from data.sources.recording_facts import to_aspect_ratio
from data.sources.video_files import (
    IMAGE_SUFFIXES,
    VIDEO_SUFFIXES,
    RecordingFile,
    find_recording_files,
    open_video_frames,
)
from errors import DataError

LANDMARK_READERS = {suffix: read for suffixes, read in READERS.values() for suffix in suffixes}
SUFFIXES = (*VIDEO_SUFFIXES, *LANDMARK_READERS)


@dataclass(frozen=True)
class Frame:
    """time in seconds of the recording; landmarks float16 (543, 3) as fractions of the picture, 0
    where not detected; detected bool (4,); picture uint8 (H, W, 3) blue, green, red, None where
    there is none."""

    time: float
    landmarks: np.ndarray
    detected: np.ndarray
    picture: np.ndarray | None = None


@dataclass
class LandmarkStream:
    """A recording being read. fps: of its frames, None where they come as they come (a camera);
    fps_is_known: not assumed; expected: number of frames, 0 where that is unknown; aspect_ratio:
    width / height, None until the first frame is read."""

    frames: Iterator[Frame]
    fps: float | None
    fps_is_known: bool
    expected: int
    aspect_ratio: float | None = None


def is_landmark_file(recording: RecordingFile) -> bool:
    return recording.path.suffix.lower() in LANDMARK_READERS and not recording.path.is_dir()


def find_recordings(words: Sequence[str]) -> tuple[list[RecordingFile], dict[str, str]]:
    """Recordings that command line words name, and the words that name none with the reason.

    A word is a file, a folder (all recordings below it; pictures beside videos are none) or a
    pattern such as '*.mp4'.
    """
    found, failed = [], {}
    for word in words:
        paths = (
            [word]
            if os.path.exists(word) or not glob.has_magic(word)
            else sorted(glob.glob(word, recursive=True))
        )
        if not paths:
            failed[word] = "no file has a name like this"
        for path in map(Path, paths):
            try:
                found += _recordings_at(path)
            except DataError as error:
                failed[str(path)] = str(error).removeprefix(f"{path} ")
    once: dict[Path, RecordingFile] = {}
    for recording in found:
        once.setdefault(recording.path.resolve(), recording)
    return list(once.values()), failed


def _recordings_at(path: Path) -> list[RecordingFile]:
    if path.is_dir():
        below = find_recording_files(path, SUFFIXES, IMAGE_SUFFIXES)
        beside = {one.path.parent for one in below if not one.path.is_dir()}
        return [_named(one) for one in below if one.path not in beside]
    if not path.exists():
        raise DataError("does not exist")
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(
            f"is no recording that can be read: expected {', '.join(SUFFIXES)} or a folder of frames"
        )
    return [RecordingFile(path, (path.stem,))]


def _named(recording: RecordingFile) -> RecordingFile:
    """With the name of the sentence where PHOENIX's `<id>/1` itself was given."""
    if recording.parts != ("1",):
        return recording
    return RecordingFile(recording.path, (recording.path.resolve().parent.name,))


def open_recording(
    recording: RecordingFile, tracker: Callable[[], Tracker], fps: float, aspect_ratio: float
) -> LandmarkStream:
    """Begin to read a recording. tracker: gives the one for footage, asked for only then. fps and
    aspect_ratio: of recordings that do not say theirs. This and reading frames raise DataError, of
    footage without the path."""
    if is_landmark_file(recording):
        return _open_landmarks(recording.path, fps, aspect_ratio)
    try:
        opened = open_video_frames(recording)
    except ImportError as error:
        raise DataError(missing_library(error)) from None
    rate = opened.fps or fps
    tracking = tracker()
    stream = LandmarkStream(iter(()), rate, opened.fps is not None, opened.expected)

    def frames() -> Iterator[Frame]:
        tracking.reset()
        with contextlib.closing(opened.frames):
            for number, picture in enumerate(opened.frames):
                yield _tracked(stream, tracking, number / rate, picture)

    stream.frames = frames()
    return stream


def open_camera(number: int, tracker: Callable[[], Tracker]) -> LandmarkStream:
    """Frames of a camera as they come, until it ends; times are by the clock, from the first frame
    on. Raises DataError."""
    try:
        import cv2
    except ImportError as error:
        raise DataError(missing_library(error)) from None

    capture = cv2.VideoCapture(number)
    if not capture.isOpened():
        raise DataError(
            f"camera {number} cannot be opened: it is not there, or another program has it (on Linux see "
            "`ls /dev/video*`; a container must be given the device)"
        )
    tracking = tracker()
    stream = LandmarkStream(iter(()), None, True, 0)

    def frames() -> Iterator[Frame]:
        tracking.reset()
        begun = None
        try:
            while True:
                read, picture = capture.read()
                if not read:
                    break
                now = time.monotonic()
                begun = now if begun is None else begun
                yield _tracked(stream, tracking, now - begun, picture)
        finally:
            capture.release()
        if begun is None:
            raise DataError(f"camera {number} gives no picture")

    stream.frames = frames()
    return stream


def _tracked(stream: LandmarkStream, tracker: Tracker, at: float, picture: np.ndarray) -> Frame:
    stream.aspect_ratio = picture.shape[1] / picture.shape[0]
    landmarks, detected = tracker.track(picture)
    return Frame(at, landmarks.astype("<f2"), detected, picture)  # float16 as in a corpus


def _open_landmarks(path: Path, fps: float, aspect_ratio: float) -> LandmarkStream:
    read = LANDMARK_READERS[path.suffix.lower()]
    check_image_coordinates([path], read)
    sequence = read(path)
    rate = sequence.fps or fps
    with np.errstate(over="ignore"):
        landmarks = sequence.landmarks.astype("<f2")
    for column, part in enumerate(PARTS):
        landmarks[~sequence.detected[:, column], PART_SLICES[part]] = 0
    if not np.isfinite(landmarks).all():
        raise DataError(f"{path} has values that are larger than a float16 can be")
    frames = (
        Frame(number / rate, *frame)
        for number, frame in enumerate(zip(landmarks, sequence.detected, strict=True))
    )
    ratio = sequence.aspect_ratio or aspect_ratio
    return LandmarkStream(frames, rate, sequence.fps is not None, len(landmarks), ratio)


def in_aspect_ratio(frame: Frame, ratio: float, wanted: float) -> np.ndarray:
    """Landmarks float16 (543, 3) of a frame of width/height `ratio` as fractions of a picture of
    `wanted`."""
    turned = to_aspect_ratio(frame.landmarks[None], ratio, wanted)[0]
    for column, part in enumerate(PARTS):
        if not frame.detected[column]:
            turned[PART_SLICES[part]] = 0
    return turned.astype("<f2")
