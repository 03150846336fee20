"""When the frames of a video are shown.

Most formats store this time beside each frame. AVI does not: its frames are shown one after the
other, and FFmpeg makes up times for frames that were encoded in another order.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from data.resampling import SAME_RATE
from data.sources.video_formats.hidden_pictures import shows_picture
from errors import DataError

if TYPE_CHECKING:
    import av.container
    import av.video.frame
    import av.video.stream

# Streams without an index may begin anywhere: what comes before the first whole picture is no loss.
BEGIN_ANYWHERE = {"mpegts", "mpeg"}
_CONVERT = "convert the video with `ffmpeg -i FILE -c:v libx264 OUTPUT.mp4`"
_FEW_FRAMES = 2  # so many may have no picture at both ends of a video that was cut out of another


@dataclass(frozen=True)
class PacketTimes:
    """The times that a file gives to its frames, found without decoding it.

    times: float64 (T,), in seconds, rising; NaN if the file does not give all of them.
    in_order: the frames come in this order and have no times of their own.
    """

    times: np.ndarray
    in_order: bool


def scan_packets(
    container: "av.container.InputContainer", stream: "av.video.stream.VideoStream"
) -> PacketTimes:
    """Find the times of a stream's frames."""
    scale = float(stream.time_base or 0)
    codec = stream.codec_context
    reads_content = codec.name in ("vp8", "vp9")
    shown, decoded = [], []  # times
    for packet in container.demux(stream):
        has_picture = packet.size and not packet.is_discard
        if has_picture and (not reads_content or shows_picture(codec.name, bytes(packet))):
            shown.append(packet.pts)
            decoded.append(packet.dts)
    in_order = container.format.name == "avi" or (None in shown and None not in decoded)
    first, second = (decoded, shown) if in_order else (shown, decoded)
    stamps = [one if one is not None else other for one, other in zip(first, second, strict=True)]
    known = np.array([stamp for stamp in stamps if stamp is not None], dtype=np.float64)
    if len(known) < len(stamps):
        return PacketTimes(np.full(len(stamps), np.nan), False)
    # Frames that are encoded in another order have times in another order, unless these are made
    # up. Streams that may begin anywhere have times of their own, and lose frames at their start.
    made_up = (
        container.format.name not in BEGIN_ANYWHERE
        and bool(codec.has_b_frames)
        and len(known) > 1
        and bool((np.diff(known) > 0).all())
    )
    return PacketTimes(np.sort(known) * scale, in_order or made_up)


@dataclass
class FrameClock:
    """Gives each decoded frame its time in seconds of the recording.

    rate: frames per second that count in place of the file's times; None for these.
    packets: the times of the file. even: they are those of the constant rate `fps`.
    start: of the recording, in the file's seconds.
    """

    rate: float | None
    packets: PacketTimes
    fps: float
    even: bool
    start: float
    count: int = field(default=0, init=False)
    _last: float = field(default=-np.inf, init=False)

    def time(self, frame: "av.video.frame.VideoFrame") -> float:
        """The time of the next frame. Raises DataError when the file gives none."""
        number, self.count = self.count, self.count + 1
        if self.rate is not None:
            return number / self.rate
        if self.packets.in_order:
            time = self._time_in_order(number)
        else:
            time = (frame.time or 0.0) - self.start
        if time <= self._last:
            raise DataError(
                f"frame {number} is shown before the frame in front of it by the file's own "
                f"account, so its times cannot be right: {_CONVERT}, or give the right frame rate "
                "with --fps"
            )
        self._last = time
        return time

    def _time_in_order(self, number: int) -> float:
        """The time of a frame that has none of its own."""
        times = self.packets.times
        self._check_count(len(times) > (0 if self.even else number))
        begin = max(0.0, float(times[0]) - self.start)
        return begin + (number / self.fps if self.even else float(times[number] - times[0]))

    def check_end(self) -> None:
        """Raise DataError when so many frames have no picture that the others have wrong times."""
        if self.rate is None and self.packets.in_order and self.count:
            expected = len(self.packets.times)
            allowed = max(_FEW_FRAMES, SAME_RATE * expected) if self.even else 0
            self._check_count(abs(expected - self.count) <= allowed)

    def _check_count(self, fits: bool) -> None:
        if not fits:
            raise DataError(
                f"{self.count} frames can be decoded, but the file has times for "
                f"{len(self.packets.times)}, so it is not known when each is shown: {_CONVERT}, or "
                "give the right frame rate with --fps"
            )
