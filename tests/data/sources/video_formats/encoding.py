"""Small videos of many formats, for the tests of recordings."""

import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from data.sources.video_files import RecordingFile
from data.sources.video_frames import VideoFrames, open_video_frames

av = pytest.importorskip("av")
EVEN = np.arange(30) * 40  # milliseconds


def picture(number: int) -> np.ndarray:
    """A frame with noise, which needs bytes in every frame, and the number as its brightness."""
    noise = np.random.default_rng(number).integers(0, 40, (48, 64, 3))
    return (noise + 5 * number % 200).astype(np.uint8)


def encode(
    times: np.ndarray,
    format: str,
    codec: str = "libx264",
    scale: Fraction = Fraction(1, 1000),
    **options: str,
) -> bytes:
    """A video file.

    times: of its frames, in whole milliseconds. scale: the unit of time that the file uses.
    options: of the codec.
    """
    with tempfile.NamedTemporaryFile() as file:
        with av.open(file.name, "w", format=format) as output:
            stream = output.add_stream(codec, rate=25, options=options)
            stream.width, stream.height = 64, 48
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            stream.codec_context.time_base = scale
            for number, time in enumerate(times):
                frame = av.VideoFrame.from_ndarray(picture(number), "rgb24")
                frame.pts, frame.time_base = round(int(time) / 1000 / scale), scale
                output.mux(stream.encode(frame))
            output.mux(stream.encode())
        return Path(file.name).read_bytes()


def number_of(picture: np.ndarray) -> int:
    """The number of a frame of `encode`, below 40, from its brightness."""
    return round((float(picture.mean()) - 19.5) / 5)


def opened(path: Path, content: bytes | None = None, fps: float | None = None) -> VideoFrames:
    if content is not None:
        path.write_bytes(content)
    return open_video_frames(RecordingFile(path, ("x",)), fps)


def times_of(video: VideoFrames) -> list[float]:
    return [time for time, _ in video.frames]
