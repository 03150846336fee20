"""Files that are shorter than they say."""

import io
from fractions import Fraction

import pytest

from data.sources.video_formats.completeness import missing_bytes
from errors import DataError
from tests.data.sources.video_formats.encoding import EVEN, av, encode, opened, times_of


def between_two_frames(content: bytes) -> int:
    """Where frame 20 of a video begins."""
    with av.open(io.BytesIO(content)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    return packets[19].pos + packets[19].size + packets[19].size % 2


def video(format: str) -> bytes:
    codec, scale = {"avi": ("mjpeg", Fraction(1, 25)), "asf": ("wmv2", Fraction(1, 1000))}[format]
    return encode(EVEN, format, codec, scale)


@pytest.mark.parametrize("format", ["avi", "asf"])
def test_a_file_that_is_cut_between_two_frames(tmp_path, format):
    content = video(format)
    assert len(times_of(opened(tmp_path / "a.avi", content))) == 30
    left = content[: between_two_frames(content)]
    with pytest.raises(DataError, match=rf"its last {len(content) - len(left)} bytes are missing"):
        opened(tmp_path / "a.avi", left)


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
def test_an_avi_file_that_does_not_know_its_size(tmp_path, size):
    content = video("avi")
    content = content[:4] + size.to_bytes(4, "little") + content[8:]
    assert len(times_of(opened(tmp_path / "a.avi", content))) == 30
    left = content[: between_two_frames(content)]
    assert len(times_of(opened(tmp_path / "a.avi", left))) == 20


def test_an_avi_file_whose_size_counts_the_name_and_the_size_itself(tmp_path):
    content = video("avi")
    (tmp_path / "a.avi").write_bytes(content[:4] + len(content).to_bytes(4, "little") + content[8:])
    assert missing_bytes(tmp_path / "a.avi") == 0


def test_an_avi_file_above_one_gigabyte_has_several_parts(tmp_path):
    first = b"RIFF" + (100).to_bytes(4, "little") + b"AVI " + bytes(96)
    second = b"RIFF" + (51).to_bytes(4, "little") + b"AVIX" + bytes(47) + bytes(1)
    path = tmp_path / "a.avi"
    for content, missing in (
        (first + second, 0),
        (first + second[:20], 40),
        (first[:60], 48),
        (first + b"notes of a program" * 3, 0),
    ):
        path.write_bytes(content)
        assert missing_bytes(path) == missing


def test_an_asf_file_that_does_not_know_its_size(tmp_path):
    content, path = bytearray(video("asf")), tmp_path / "a.wmv"
    properties = content.index(bytes.fromhex("a1dcab8c47a9cf11"))
    stated = int.from_bytes(content[properties + 40 : properties + 48], "little")
    assert stated == len(content)
    left = content[: between_two_frames(bytes(content))]
    path.write_bytes(left)
    assert missing_bytes(path) == len(content) - len(left)
    broadcast = bytearray(left)
    broadcast[properties + 88] |= 1
    path.write_bytes(broadcast)
    assert missing_bytes(path) == 0
    left[properties + 40 : properties + 48] = bytes(8)
    path.write_bytes(left)
    assert missing_bytes(path) == 0


@pytest.mark.parametrize("content", [b"", b"RIFF", b"RIFF\x10\0\0\0WAVE", b"\x30\x26\xb2\x75"])
def test_other_files_lack_nothing(tmp_path, content):
    (tmp_path / "a.avi").write_bytes(content)
    assert missing_bytes(tmp_path / "a.avi") == 0


def test_a_damaged_header_ends_the_search(tmp_path):
    """Objects of size 0, and a header that is larger than the file."""
    start = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + b"\xff" * 8 + bytes(6)
    (tmp_path / "a.wmv").write_bytes(start + bytes(100_000))
    assert missing_bytes(tmp_path / "a.wmv") == 0
