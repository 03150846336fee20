"""The frames of one recording in order, each with its own time.

A video's times are those that the file gives to its frames, whatever frame rate its header claims:
browsers write no rate, phones change theirs. Only reading frames imports PyAV and OpenCV.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data.resampling import check_rate, is_plausible_rate, measure_rate
from data.sources.import_defaults import FPS
from data.sources.video_files import IMAGE_SUFFIXES, RecordingFile, frame_files
from data.sources.video_formats.completeness import missing_bytes
from data.sources.video_formats.frame_times import (
    BEGIN_ANYWHERE,
    FrameClock,
    PacketTimes,
    scan_packets,
)
from data.sources.video_formats.orientation import Orientation
from errors import DataError

if TYPE_CHECKING:
    import av.container
    import av.video.frame
    import av.video.stream

_LONGEST_GAP = 60.0  # seconds between two frames
_START_OF_JPEG, _END_OF_JPEG = b"\xff\xd8", b"\xff\xd9"
_LAST_BYTES = 1024  # of a JPEG, among which its end is


@dataclass
class VideoFrames:
    """An opened recording.

    Args:
        frames: the time of each frame in seconds of the recording, as a player shows it, and its
            picture, uint8 (H, W, 3) in OpenCV's order blue, green, red.
        fps: frames per second; of uneven times, that of half of the frames or more.
        fps_is_known: whether the recording or the user gives it.
        even: whether the times are those of a constant frame rate.
        expected: an estimate of the number of frames.
    """

    frames: Iterator[tuple[float, np.ndarray]]
    fps: float
    fps_is_known: bool
    even: bool
    expected: int


def open_video_frames(
    recording: RecordingFile, fps: float | None = None, default_fps: float = FPS
) -> VideoFrames:
    """Open a video or a folder of frames.

    This function and the iterator of frames raise DataError when the recording is damaged. The
    message does not contain the path.

    Args:
        fps: frames per second that the user gives; they replace the recording's own times.
        default_fps: frames per second of a recording that does not give its own.
    """
    if recording.is_video:
        return _open_video(recording.path, fps, default_fps)
    return _open_folder(recording.path, fps, default_fps)


def _open_folder(folder: Path, fps: float | None, default_fps: float) -> VideoFrames:
    files = frame_files(folder)
    if not files:
        raise DataError(f"the folder has no frames any more: expected {', '.join(IMAGE_SUFFIXES)}")
    rate = fps or default_fps

    def frames() -> Iterator[tuple[float, np.ndarray]]:
        for number, file in enumerate(files):
            yield number / rate, _read_picture(file)

    return VideoFrames(_of_one_size(frames()), rate, fps is not None, True, len(files))


def _read_picture(file: Path) -> np.ndarray:
    """A picture as uint8 (H, W, 3), blue, green, red. Raises DataError if it is damaged."""
    import cv2

    try:
        content = file.read_bytes()
    except OSError as error:
        raise DataError(f"{file.name} cannot be read: {error.strerror}") from None
    # Some versions of OpenCV make up what is missing of a JPEG
    whole = _END_OF_JPEG in content.rstrip(b"\0")[-_LAST_BYTES:]
    if content.startswith(_START_OF_JPEG) and not whole:
        raise DataError(
            f"{file.name} has no end: it was not copied completely; restore it from its source"
        )
    frame = None
    if content:  # not by cv2.imread, which ends the process for a name that is not UTF-8
        frame = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    if frame is None:
        raise DataError(f"{file.name} is not a readable image: restore it from its source")
    return frame


def _open_video(path: Path, fps: float | None, default_fps: float) -> VideoFrames:
    if path.stat().st_size == 0:
        raise DataError("the file is empty (0 bytes): copy the video again")
    missing = missing_bytes(path)
    if missing:
        raise DataError(
            f"its last {missing} bytes are missing: the file was not copied completely; copy it "
            "again"
        )
    packets, claimed = _scan(path)
    times = packets.times
    measured = measure_rate(times)
    if fps is not None:
        rate, known, even = fps, True, True
    elif measured is not None:
        # The header's rate is exact where the times, in whole milliseconds, confirm it to the end.
        confirmed = measured.even and claimed is not None and _fits(times, claimed)
        rate, known, even = (claimed if confirmed else measured.fps), True, measured.even  # type: ignore[assignment]
        check_rate(rate)
    elif claimed is not None and len(times) > 1:
        rate, known, even = claimed, True, True
        check_rate(rate)
    else:
        known = claimed is not None and is_plausible_rate(claimed)
        rate, even = claimed if known else default_fps, True  # type: ignore[assignment]
    own_times = fps is None and measured is not None
    if own_times and np.diff(times).max() > _LONGEST_GAP:
        raise DataError(
            f"states a gap of {np.diff(times).max():.0f} s between two frames, more than "
            f"{_LONGEST_GAP:g}: give the right frame rate with --fps"
        )
    frames = _decode(path, None if own_times else rate, packets, rate, even)
    return VideoFrames(_of_one_size(frames), rate, known, even, len(times))


def _fits(times: np.ndarray, fps: float) -> bool:
    """Whether frames at `fps` frames/s reach the last time, by less than half a frame."""
    return abs(float(times[-1] - times[0]) - (len(times) - 1) / fps) < 0.5 / fps


def _scan(path: Path) -> tuple[PacketTimes, float | None]:
    """Find the times of a video's frames without decoding it, and the frame rate that its header
    claims. Raises DataError."""
    with _open_container(path) as container:
        stream = _video_stream(container)
        packets = scan_packets(container, stream)
        return packets, float(stream.average_rate) if stream.average_rate else None


def _decode(
    path: Path, given: float | None, packets: PacketTimes, fps: float, even: bool
) -> Iterator[tuple[float, np.ndarray]]:
    """The frames of a video. given: frames per second that count in place of the times of the file
    (`packets`); None for these, which are at `fps` frames per second, evenly or not."""
    from av.error import FFmpegError

    with _open_container(path) as container:
        stream = _video_stream(container)
        # With threads, FFmpeg passes over some damage that it reports with one.
        stream.codec_context.thread_count = 1
        start = (container.start_time or 0) / 1_000_000
        clock = FrameClock(given, packets, fps, even, start)
        orientation = Orientation()
        pixel_shape = float(stream.sample_aspect_ratio or 1)
        may_begin_anywhere = container.format.name in BEGIN_ANYWHERE
        demuxed = container.demux(stream)
        while True:
            try:
                packet = next(demuxed, None)
                if packet is None:
                    break
                decoded = packet.decode()
                damaged = packet.is_corrupt or any(frame.is_corrupt for frame in decoded)
            except FFmpegError:
                decoded, damaged = [], True
            if damaged and not (may_begin_anywhere and clock.count == 0):
                raise DataError(
                    f"frame {clock.count} cannot be decoded completely: the file is damaged or was "
                    "not copied completely; copy it again, or convert what is left with "
                    "`ffmpeg -i FILE -c:v libx264 OUTPUT.mp4`"
                )
            for frame in [] if damaged else decoded:
                yield clock.time(frame), _picture(frame, pixel_shape, orientation)
        codec = stream.codec_context.name
    if clock.count == 0:
        raise DataError(
            f"has no frame that can be decoded (codec {codec}): the file is empty or damaged"
        )
    clock.check_end()


@contextlib.contextmanager
def _open_container(path: Path) -> Iterator["av.container.InputContainer"]:
    """Open a video file. Raises DataError for a file that is none."""
    import av
    from av.error import FFmpegError

    av.logging.restore_default_callback()  # PyAV's own can deadlock
    av.logging.set_libav_level(av.logging.PANIC)  # DataError reports what goes wrong
    try:
        # FFmpeg takes what is before a ':' in a bare name for a protocol
        container = av.open(os.path.abspath(path), metadata_errors="replace")
    except (FFmpegError, ValueError):
        raise DataError(
            "cannot be opened: not a video, damaged, or in a format that FFmpeg does not know; "
            "try to convert it with `ffmpeg -i FILE -c:v libx264 OUTPUT.mp4`"
        ) from None
    with container:
        yield container


def _video_stream(container: "av.container.InputContainer") -> "av.video.stream.VideoStream":
    """The first video stream that is no cover picture. Raises DataError."""
    from av.stream import Disposition

    for stream in container.streams.video:
        if Disposition.attached_pic not in stream.disposition:
            if stream.codec_context is None:
                raise DataError(
                    "has a codec that FFmpeg does not know; convert it with another program"
                )
            return stream
    raise DataError("has no picture in it, only sound: give the video of the signer")


def _picture(
    frame: "av.video.frame.VideoFrame", pixel_shape: float, orientation: Orientation
) -> np.ndarray:
    """The picture as players show it: upright, with square pixels.

    pixel_shape: width / height of a pixel.
    """
    width = round(frame.width * pixel_shape) if 0.2 < pixel_shape < 5 else frame.width
    picture = frame.to_ndarray(format="bgr24", width=width, height=frame.height)
    return np.ascontiguousarray(orientation.set_upright(picture, frame))


def _of_one_size(frames: Iterator[tuple[float, np.ndarray]]) -> Iterator[tuple[float, np.ndarray]]:
    size: tuple[int, ...] | None = None
    for number, (time, frame) in enumerate(frames):
        if size is not None and size != frame.shape:
            raise DataError(
                f"frame {number} has {frame.shape[1]}x{frame.shape[0]} pixels, "
                f"the frames before it have {size[1]}x{size[0]}: "
                "make all frames of a recording the same size"
            )
        size = frame.shape
        yield time, frame
