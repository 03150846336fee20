"""Packets of VP8 and VP9 without a picture do not count as frames."""

import io
from fractions import Fraction

import numpy as np
import pytest

from data.sources.video_formats.hidden_pictures import shows_picture
from tests.data.sources.video_formats.encoding import av, opened, picture


def with_hidden_pictures(times: np.ndarray, every: int) -> bytes:
    """A webm video of VP8. times: of its frames, in milliseconds. After each frame whose number is
    a multiple of `every` comes a packet without a picture, 1 ms later, as encoders make it."""
    moments = [
        (time + hidden, hidden)
        for number, time in enumerate(times)
        for hidden in ([0, 1] if number % every == 3 else [0])
    ]
    file = io.BytesIO()
    with av.open(file, "w", format="webm") as output, av.open(io.BytesIO(), "w", "webm") as other:
        options = {"auto-alt-ref": "0", "lag-in-frames": "0"}
        encoder = other.add_stream("libvpx", rate=25, options=options)
        stream = output.add_stream("libvpx", rate=25)
        for one in (encoder, stream):
            one.width, one.height, one.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, (moment, hidden) in enumerate(moments):
            frame = av.VideoFrame.from_ndarray(picture(number % 40), "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            for packet in encoder.encode(frame):
                content = bytearray(bytes(packet))
                if hidden:
                    content[0] &= ~0x10
                copy = av.Packet(bytes(content))
                copy.pts = copy.dts = int(moment)
                copy.time_base, copy.stream = Fraction(1, 1000), stream
                copy.is_keyframe = packet.is_keyframe
                output.mux(copy)
    return file.getvalue()


@pytest.mark.parametrize("rate", [25, 30, 50])
def test_packets_without_a_picture_are_no_frames(tmp_path, rate):
    times = np.rint(np.arange(60) * 1000 / rate)
    video = opened(tmp_path / "a.webm", with_hidden_pictures(times, 11))
    assert (video.expected, video.even) == (60, True)
    assert video.fps == pytest.approx(rate, rel=1e-3)
    np.testing.assert_allclose([time for time, _ in video.frames], times / 1000, atol=1e-6)


def bits(text: str) -> bytes:
    return bytes([int(text.replace(" ", ""), 2)])


SHOWN, HIDDEN = bits("10 00 0 1 1 0"), bits("10 00 0 1 0 0")


def superframe(*frames: bytes) -> bytes:
    mark = bits(f"110 00 {len(frames) - 1:03b}")
    return b"".join(frames) + mark + bytes(map(len, frames)) + mark


@pytest.mark.parametrize(
    ("codec", "packet", "shown"),
    [
        ("vp8", b"\x10\x02\x00", True),
        ("vp8", b"\x01\x02\x00", False),
        ("vp8", b"", True),
        ("vp9", SHOWN + b"abc", True),
        ("vp9", HIDDEN + b"abc", False),
        ("vp9", bits("10 00 1 000"), True),  # shows an earlier picture
        ("vp9", bits("10 11 0 0 1 0"), False),  # profile 3 has one more bit
        ("vp9", bits("10 11 0 0 0 1"), True),
        ("vp9", superframe(HIDDEN + b"abc", SHOWN + b"ab"), True),
        ("vp9", superframe(HIDDEN + b"abc", HIDDEN), False),
        ("vp9", b"", False),
        ("h264", b"", True),
    ],
)
def test_which_packets_show_a_picture(codec, packet, shown):
    assert shows_picture(codec, packet) == shown
