"""The frames of a recording: their times, the frame rate, and which videos are damaged."""

import errno
import io
import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from errors import DataError
from tests.data.sources.video_formats.encoding import EVEN, av, encode, opened, picture, times_of

# 25 frames/s for 0.8 s, then every third frame is missing, as a phone in the dark does it
UNEVEN = np.concatenate([np.arange(20) * 40, 800 + np.arange(10) * 120])


@pytest.mark.parametrize("format", ["mp4", "matroska", "mpegts", "avi"])
def test_a_constant_rate(tmp_path, format):
    scale = Fraction(1, 25) if format == "avi" else Fraction(1, 1000)
    video = opened(tmp_path / "a.mkv", encode(EVEN, format, "mpeg4", scale))
    assert (video.fps, video.fps_is_known, video.even, video.expected) == (25.0, True, True, 30)
    np.testing.assert_allclose(times_of(video), EVEN / 1000, atol=1e-6)


@pytest.mark.skipif(os.name == "nt", reason="no ':' in names on Windows")
def test_a_name_with_a_colon_is_no_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    video = opened(Path("2024-05-01T10:30:00.mkv"), encode(EVEN, "matroska"))
    assert len(times_of(video)) == 30


@pytest.mark.parametrize("format", ["mp4", "matroska"])
def test_uneven_times_are_those_of_the_frames(tmp_path, format):
    video = opened(tmp_path / "a.mkv", encode(UNEVEN, format))
    assert (video.fps, video.even) == (pytest.approx(25), False)
    np.testing.assert_allclose(times_of(video), UNEVEN / 1000, atol=1e-6)


def test_a_rate_that_the_header_claims_and_the_frames_contradict(tmp_path):
    """The header claims 25 frames/s; the frames come at 30 with the jitter of a clock."""
    jitter = np.round(1000 / 30 * np.arange(60) + 6 * np.sin(1.7 * np.arange(60)))
    video = opened(tmp_path / "a.webm", encode(jitter, "webm", "libvpx"))
    assert video.even and video.fps == pytest.approx(30, rel=2e-3)
    np.testing.assert_allclose(times_of(video), jitter / 1000, atol=1e-6)


@pytest.mark.parametrize(("step", "rate"), [(1, "1000"), (500, "2")])
def test_an_implausible_rate_is_refused_until_the_user_confirms_it(tmp_path, step, rate):
    content = encode(np.arange(20) * step, "matroska")
    with pytest.raises(DataError, match=f"states {rate} frames/s.*with --fps"):
        opened(tmp_path / "a.mkv", content)
    video = opened(tmp_path / "a.mkv", fps=30)
    assert (video.fps, video.fps_is_known, video.even) == (30, True, True)
    np.testing.assert_allclose(times_of(video), np.arange(20) / 30)


def test_a_long_time_without_a_picture_is_refused(tmp_path):
    times = np.concatenate([EVEN, EVEN + 4_000_000])
    with pytest.raises(DataError, match="states a gap of 3999 s between two frames"):
        opened(tmp_path / "a.mkv", encode(times, "matroska"))
    assert times_of(opened(tmp_path / "a.mkv", fps=25))[-1] == pytest.approx(59 / 25)


def test_a_video_that_begins_after_its_sound(tmp_path):
    """Times are those of a player, which shows the first frame 0.5 s after the sound's start."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        sound = output.add_stream("pcm_s16le", rate=8000, layout="mono")
        stream = output.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 16_000), np.int16), "s16", "mono")
        silence.sample_rate, silence.pts = 8000, 0
        output.mux(sound.encode(silence))
        output.mux(sound.encode())
        for number in range(10):
            frame = av.VideoFrame.from_ndarray(picture(number), "rgb24")
            frame.pts, frame.time_base = 500 + 40 * number, Fraction(1, 1000)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    video = opened(tmp_path / "a.mkv", file.getvalue())
    # The sound is longer than the picture, so the container's length says nothing of the frames
    assert (video.fps, video.even, video.expected) == (25, True, 10)
    np.testing.assert_allclose(times_of(video), 0.5 + np.arange(10) / 25, atol=1e-6)


def test_a_video_cut_without_encoding_it_again(tmp_path):
    """The file keeps the frames before the cut, since others depend on them. They are not shown."""
    content = encode(EVEN, "mp4", g="250", bf="0")
    source, cut = io.BytesIO(content), io.BytesIO()
    with av.open(source) as given, av.open(cut, "w", format="mp4") as output:
        stream = output.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(video=0):
            if packet.size:
                packet.pts -= round(Fraction(10, 25) / packet.time_base)
                packet.dts -= round(Fraction(10, 25) / packet.time_base)
                packet.stream = stream
                output.mux(packet)
    video = opened(tmp_path / "a.mp4", cut.getvalue())
    frames = list(video.frames)
    assert (video.fps, len(frames), video.expected) == (25, 20, 20)
    np.testing.assert_allclose([time for time, _ in frames], np.arange(20) / 25, atol=1e-6)
    assert frames[0][1].mean() == pytest.approx(picture(10).mean(), abs=4)


FORMATS = [
    ("mov", "mpeg4"),
    ("matroska", "libx264"),
    ("webm", "libvpx"),
    ("avi", "mpeg4"),
    ("mpegts", "libx264"),
]


def encode_even(format: str, codec: str) -> bytes:
    return encode(EVEN, format, codec, Fraction(1, 25))


@pytest.mark.parametrize(("format", "codec"), FORMATS[:-1])  # a stream may end anywhere
def test_a_file_that_was_not_copied_completely(tmp_path, format, codec):
    content = encode_even(format, codec)
    assert len(times_of(opened(tmp_path / "a.mkv", content))) == 30
    with pytest.raises(DataError, match=r"not copied completely|cannot be opened: not a video"):
        times_of(opened(tmp_path / "a.mkv", content[: len(content) * 6 // 10]))


@pytest.mark.parametrize(("format", "codec"), [one for one in FORMATS if one[1] != "libvpx"])
def test_a_picture_that_cannot_be_decoded_completely(tmp_path, format, codec):
    content = bytearray(encode_even(format, codec))
    with av.open(io.BytesIO(bytes(content))) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][12]
    start, stop = packet.pos + packet.size // 4, packet.pos + packet.size - 20
    content[start:stop] = bytes([255]) * (stop - start)
    with pytest.raises(DataError, match=r"frame \d+ cannot be decoded completely"):
        times_of(opened(tmp_path / "a.mkv", bytes(content)))


def test_pixels_that_are_not_square(tmp_path):
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        stream = output.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(3, 2)
        for number in range(3):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture(number), "rgb24")))
        output.mux(stream.encode())
    video = opened(tmp_path / "a.mkv", file.getvalue())
    assert [frame.shape for _, frame in video.frames] == [(48, 96, 3)] * 3


def test_a_file_without_a_picture(tmp_path):
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        sound = output.add_stream("pcm_s16le", rate=8000, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        silence.sample_rate, silence.pts = 8000, 0
        output.mux(sound.encode(silence))
    with pytest.raises(DataError, match="has no picture in it, only sound"):
        opened(tmp_path / "a.mkv", file.getvalue())
    with pytest.raises(DataError, match="cannot be opened: not a video"):
        opened(tmp_path / "a.mp4", b"<html>404</html>" * 100)


def test_folders_of_frames(cv2, tmp_path):
    for number, shape in enumerate([(8, 6), (8, 6), (6, 8)]):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.zeros((*shape, 3), np.uint8))
    video = opened(tmp_path)
    assert (video.fps, video.fps_is_known, video.even, video.expected) == (25, False, True, 3)
    with pytest.raises(DataError, match="frame 2 has 8x6 pixels, the frames before it have 6x8"):
        list(video.frames)
    (tmp_path / "2.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"2\.png is not a readable image"):
        list(opened(tmp_path).frames)


@pytest.mark.parametrize("suffix", ["webp", "bmp", "tif", "jpeg"])
def test_pictures_of_other_formats(cv2, tmp_path, suffix):
    for number in range(3):
        level = np.full((48, 64, 3), 60 * number, np.uint8)
        assert cv2.imwrite(str(tmp_path / f"{number}.{suffix}"), level)
    frames = list(opened(tmp_path, fps=50).frames)
    assert [time for time, _ in frames] == [0, 0.02, 0.04]
    assert [round(frame.mean()) for _, frame in frames] == [0, 60, 120]


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_a_folder_whose_name_is_not_utf_8(cv2, tmp_path):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/fr\xe9"))
    folder.mkdir()
    ok, content = cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8))
    assert ok
    (folder / "0.jpg").write_bytes(content.tobytes())
    ((_, frame),) = opened(folder).frames
    assert round(frame.mean()) == 90


def test_a_jpeg_that_was_not_copied_completely(cv2, tmp_path):
    """OpenCV would fill the rest with grey."""
    content = cv2.imencode(".jpg", cv2.resize(picture(1), (640, 480)))[1].tobytes()
    (tmp_path / "0.jpg").write_bytes(content + b"\0" * 5000)  # padding does no harm
    assert len(list(opened(tmp_path).frames)) == 1
    (tmp_path / "1.jpg").write_bytes(content[: 2 * len(content) // 3])
    with pytest.raises(DataError, match=r"1\.jpg has no end: it was not copied completely"):
        list(opened(tmp_path).frames)
    (tmp_path / "1.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"1\.jpg is not a readable image"):
        list(opened(tmp_path).frames)


def test_a_rate_in_the_header_that_drifts_from_the_times(tmp_path):
    """The header says 25 frames/s. After 20 s of 24.8 frames/s, that is four frames off."""
    times = np.rint(np.arange(500) * 1000 / 24.8)
    assert opened(tmp_path / "a.mkv", encode(times, "matroska")).fps == pytest.approx(24.8, 1e-4)
    assert opened(tmp_path / "b.mkv", encode(np.arange(500) * 40, "matroska")).fps == 25


def test_a_picture_that_cannot_be_read_is_named(cv2, tmp_path, monkeypatch):
    (tmp_path / "0.png").write_bytes(b"x")

    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DataError, match=r"0\.png cannot be read: Permission denied"):
        list(opened(tmp_path).frames)
