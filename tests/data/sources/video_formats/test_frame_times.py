"""Each frame has the time at which it is shown, in formats with and without such times."""

import io
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

from data.resampling import Resampler, measure_rate
from data.sources.annotations.segments import SECONDS, Segment
from data.sources.segment_reader import SegmentReader
from data.sources.video_files import RecordingFile
from data.sources.video_formats.frame_times import FrameClock, PacketTimes
from errors import DataError
from tests.data.sources.video_formats.encoding import EVEN, av, encode, number_of, opened

REORDERED = {"bf": "2", "b_strategy": "0", "b": "2000000", "x264-params": "bframes=2:b-adapt=0"}


def avi(codec: str, rate: int = 50, **options: str) -> bytes:
    """30 frames whose encoded order is another one than their order."""
    return encode(np.arange(30) * 1000 / rate, "avi", codec, Fraction(1, rate), **options)


def encoded_order(content: bytes) -> list[float]:
    with av.open(io.BytesIO(content)) as container:
        return [frame.time for frame in container.decode(video=0)]


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "mjpeg"])
def test_avi_has_its_frames_one_after_the_other(tmp_path, codec):
    content = avi(codec, **({} if codec == "mjpeg" else REORDERED))
    if codec == "libx264":
        assert np.diff(encoded_order(content)).min() < 0, "FFmpeg's times are right now"
    video = opened(tmp_path / "a.avi", content)
    frames = list(video.frames)
    assert (video.fps, video.even) == (50, True)
    assert [number_of(picture) for _, picture in frames] == list(range(30))
    times = np.array([time for time, _ in frames])
    np.testing.assert_allclose(times, np.arange(30) / 50, atol=1e-6)
    assert measure_rate(times).fps == pytest.approx(50)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_a_segment_of_an_avi_file_has_all_of_its_frames(tmp_path, codec):
    (tmp_path / "a.avi").write_bytes(avi(codec, **REORDERED))
    recording = RecordingFile(tmp_path / "a.avi", ("a",))
    segment = SegmentReader(None).open(recording, Segment(0.1, 0.2, SECONDS))
    assert [number_of(picture) for _, picture in segment.frames] == [5, 6, 7, 8, 9]


def test_an_avi_file_is_resampled_as_it_is_read(tmp_path):
    """As transcribe.py does it: every second frame of 50 a second."""
    resampler, found = Resampler(25), []
    for time, picture in opened(tmp_path / "a.avi", avi("libx264", **REORDERED)).frames:
        landmarks = np.full((543, 3), number_of(picture))
        found += [one[0, 0] for one, _ in resampler.push(time, landmarks, np.ones(4, bool))]
    np.testing.assert_allclose(found, np.arange(0, 30, 2), atol=1e-3)


def with_gaps(drop: list[int]) -> bytes:
    """An AVI file at 25 frames/s that has an empty packet in place of some frames."""
    file = io.BytesIO(encode(EVEN, "avi", "mjpeg", Fraction(1, 25)))
    output = io.BytesIO()
    with av.open(file) as source, av.open(output, "w", format="avi") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.size and number not in drop:
                packet.stream, packet.pts, packet.dts = stream, number, number
                target.mux(packet)
    return output.getvalue()


def test_an_avi_file_that_left_frames_out(tmp_path):
    drop = [4, 5, 6, 20, 21, 22]
    video = opened(tmp_path / "a.avi", with_gaps(drop))
    frames = list(video.frames)
    left = [number for number in range(30) if number not in drop]
    assert [number_of(picture) for _, picture in frames] == left and not video.even
    np.testing.assert_allclose([time for time, _ in frames], np.array(left) / 25, atol=1e-6)


def clock(times: np.ndarray, fps: float, even: bool, in_order: bool) -> FrameClock:
    return FrameClock(None, PacketTimes(times, in_order), fps, even, 0.0)


@pytest.mark.parametrize("even", [True, False])
def test_packets_without_a_picture_are_refused_where_no_other_times_are_known(even):
    """Frames that repeat the one in front of them are packets without a picture."""
    frames, counted = SimpleNamespace(time=None), clock(EVEN / 1000, 25, even, True)
    assert [counted.time(frames) for _ in range(15)] == pytest.approx(EVEN[:15] / 1000)
    with pytest.raises(DataError, match="15 frames can be decoded, but the file has times for 30"):
        counted.check_end()
    for _ in range(13):
        counted.time(frames)
    if even:  # two are missing at an end, where it was cut
        counted.check_end()
    else:
        with pytest.raises(DataError, match="28 frames can be decoded"):
            counted.check_end()
        with pytest.raises(DataError, match="31 frames can be decoded"):
            [counted.time(frames) for _ in range(3)]


@pytest.mark.parametrize("even", [True, False])
def test_a_video_in_which_no_packet_has_a_picture(even):
    """Frames that are decoded all the same have their own times, or are refused."""
    assert clock(np.empty(0), 25, even, False).time(SimpleNamespace(time=0.04)) == 0.04
    with pytest.raises(DataError, match="1 frames can be decoded, but the file has times for 0"):
        clock(np.empty(0), 25, even, True).time(SimpleNamespace(time=0.04))


@pytest.mark.parametrize("again", [0.08, 0.06])
def test_times_that_go_back_are_refused(again):
    own = clock(EVEN / 1000, 25, True, False)
    assert [own.time(SimpleNamespace(time=time)) for time in (0, 0.04, 0.08)] == [0, 0.04, 0.08]
    with pytest.raises(DataError, match=r"frame 3 is shown before the frame in front.*--fps"):
        own.time(SimpleNamespace(time=again))


@pytest.mark.parametrize("format", ["matroska", "mp4"])
def test_times_in_the_order_of_the_file(tmp_path, format):
    """As of a video that was moved out of an AVI file: the times are those of the packets."""
    output = io.BytesIO()
    source = io.BytesIO(avi("libx264", **REORDERED))
    with av.open(source) as avi_file, av.open(output, "w", format=format) as target:
        stream = target.add_stream_from_template(avi_file.streams.video[0])
        packets = [packet for packet in avi_file.demux(video=0) if packet.size]
        for number, packet in enumerate(packets):
            packet.stream, packet.pts, packet.dts = stream, number, number
            target.mux(packet)
    video = opened(tmp_path / "a.mkv", output.getvalue())
    frames = list(video.frames)
    assert [number_of(picture) for _, picture in frames] == list(range(30))
    np.testing.assert_allclose([time for time, _ in frames], np.arange(30) / 50, atol=2e-3)


def test_an_avi_file_whose_packets_have_no_picture(tmp_path):
    """A picture that repeats the one before it is stored as a packet without content (MPEG-4)."""
    source = io.BytesIO(avi("mpeg4", g="1"))
    repeats = (0b01_0_1_000000_1_0 << 4 | 0b0111).to_bytes(2)
    output = io.BytesIO()
    with av.open(source) as avi_file, av.open(output, "w", format="avi") as target:
        stream = target.add_stream_from_template(avi_file.streams.video[0])
        for number, packet in enumerate(one for one in avi_file.demux(video=0) if one.size):
            copy = av.Packet(bytes(packet) if number % 2 == 0 else b"\0\0\1\xb6" + repeats)
            copy.stream, copy.pts, copy.dts = stream, number, number
            copy.time_base, copy.is_keyframe = Fraction(1, 50), True
            target.mux(copy)
    with pytest.raises(DataError, match="16 frames can be decoded, but the file has times for 30"):
        list(opened(tmp_path / "a.avi", output.getvalue()).frames)


@pytest.mark.parametrize("start", [0.1, 0.3])
def test_a_transport_stream_that_begins_in_the_middle(tmp_path, start):
    """FFmpeg says of each MPEG-2 stream that its frames may be reordered: here they are not."""
    whole = encode(np.arange(120) * 40.0, "mpegts", "mpeg2video", Fraction(1, 25), bf="0", g="30")
    cut = whole[int(start * len(whole)) // 188 * 188 :]
    times = [time for time, _ in opened(tmp_path / "a.ts", cut).frames]
    expected = encoded_order(cut)
    assert len(times) == len(expected) > 60
    np.testing.assert_allclose(np.diff(times), np.diff(expected), atol=1e-6)
    assert expected[0] - times[0] == pytest.approx(first_packet(cut), abs=1e-6)


def first_packet(content: bytes) -> float:
    """The time of the first packet of a video, in the file's seconds."""
    with av.open(io.BytesIO(content)) as container:
        stream = container.streams.video[0]
        stamps = [packet.pts for packet in container.demux(stream) if packet.pts is not None]
        return float(min(stamps) * stream.time_base)
