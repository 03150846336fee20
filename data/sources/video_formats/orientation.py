"""The turn and the mirror image that a video file asks for.

A phone stores the picture as its sensor lies, and beside it a matrix that sets it upright.
"""

import struct
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import av.video.frame


class Orientation:
    """Sets the pictures of one video upright."""

    def __init__(self) -> None:
        self._rotation: int | None = None
        self._matrix = 1, 0, 0, 1

    def set_upright(self, picture: np.ndarray, frame: "av.video.frame.VideoFrame") -> np.ndarray:
        """A frame's picture (H, W, 3) as players show it: turned by the nearest right angle, and
        mirrored, as the file asks for it."""
        if frame.rotation != self._rotation:  # else a frame with a matrix stays in memory for long
            self._rotation, self._matrix = frame.rotation, _matrix_of(frame)
        a, b, c, d = self._matrix
        if abs(a) + abs(d) < abs(b) + abs(c):
            picture, to_right, to_bottom = picture.swapaxes(0, 1), c, b
        else:
            to_right, to_bottom = a, d
        picture = picture[:, ::-1] if to_right < 0 else picture
        return picture[::-1] if to_bottom < 0 else picture


def _matrix_of(frame: "av.video.frame.VideoFrame") -> tuple[int, int, int, int]:
    """(a, b, c, d): a point (x, y), with y downwards, is shown at (a x + c y, b x + d y)."""
    from av.sidedata.sidedata import Type

    beside: Iterable[Any] = frame.side_data  # PyAV iterates over the values, not over the keys
    matrices = [one for one in beside if one.type == Type.DISPLAYMATRIX]
    if not matrices:
        return 1, 0, 0, 1
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(matrices[0]))
    return a, b, c, d
