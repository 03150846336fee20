"""Pictures are turned and mirrored as the file asks for it."""

import struct
from fractions import Fraction

import numpy as np
import pytest

from tests.data.sources.video_formats.encoding import av, opened


def in_four_levels(tmp_path) -> bytes:
    """A video of one picture, 64x48. The quarters are darker and brighter: 0 and 70 above, 140 and
    210 below."""
    rows, columns = np.mgrid[:48, :64]
    level = 140 * (rows >= 24) + 70 * (columns >= 32)
    with av.open(str(tmp_path / "plain.mp4"), "w") as output:
        stream = output.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.repeat(level[..., None], 3, 2).astype("u1"), "rgb24")
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return (tmp_path / "plain.mp4").read_bytes()


# (a, b, c, d): a point (x, y) of the stored picture is shown at (a x + c y, b x + d y).
# The quarters that are shown then: top left, top right, bottom left, bottom right.
MATRICES = {
    (1, 0, 0, 1): [0, 1, 2, 3],
    (0, 1, -1, 0): [2, 0, 3, 1],
    (-1, 0, 0, -1): [3, 2, 1, 0],
    (0, -1, 1, 0): [1, 3, 0, 2],
    (-1, 0, 0, 1): [1, 0, 3, 2],
    (1, 0, 0, -1): [2, 3, 0, 1],
    (0, 1, 1, 0): [0, 2, 1, 3],
    (0, -1, -1, 0): [3, 1, 2, 0],
}


@pytest.mark.parametrize(("matrix", "quarters"), MATRICES.items())
def test_the_picture_stands_upright(tmp_path, matrix, quarters):
    """A phone stores the picture as its sensor lies, and what sets it upright beside it."""
    content = bytearray(in_four_levels(tmp_path))
    a, b, c, d = (65536 * value for value in matrix)
    track = content.index(b"tkhd")
    content[track + 44 : track + 80] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    ((_, shown),) = opened(tmp_path / "a.mp4", bytes(content)).frames
    assert shown.shape == ((64, 48, 3) if matrix[0] == 0 else (48, 64, 3))
    top, bottom = (np.array_split(half, 2, axis=1) for half in np.array_split(shown, 2))
    levels = [quarter[4:-4, 4:-4].mean() for quarter in (*top, *bottom)]
    np.testing.assert_allclose(levels, 70 * np.array(quarters), atol=8)


def test_a_small_tilt_stays(tmp_path):
    content = bytearray(in_four_levels(tmp_path))
    track = content.index(b"tkhd")
    turned = struct.pack(">9i", 65000, 8000, 0, -8000, 65000, 0, 0, 0, 1 << 30)
    content[track + 44 : track + 80] = turned
    ((_, tilted),) = opened(tmp_path / "a.mp4", bytes(content)).frames
    ((_, plain),) = opened(tmp_path / "plain.mp4").frames
    np.testing.assert_array_equal(tilted, plain)
