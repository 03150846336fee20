"""Open .npy files without trusting them; the header of a file that grows row by row.

The header of a file is checked against the size of the file before memory is allocated. Python
objects (pickles) are never loaded. data/sources/safe_npz.py does the same for .npz archives.
"""

import io
import math
import os
import tokenize
from pathlib import Path
from typing import IO

import numpy as np

from errors import DataError

_MAGIC_BYTES = 8  # of an .npy file: the magic string and the version
_MAX_HEADER_BYTES = 1 << 16
# numpy pads the header of an .npy file to this size. A header with 0 rows is therefore as long as
# the final one, which replaces it when all rows are written.
HEADER_BYTES = 128


def npy_header(dtype: np.dtype, rows: int, row_shape: tuple[int, ...]) -> bytes:
    """The header of an .npy file of shape (rows, *row_shape), HEADER_BYTES long."""
    buffer = io.BytesIO()
    description = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": (rows, *row_shape),
    }
    np.lib.format.write_array_header_1_0(buffer, description)
    assert buffer.tell() == HEADER_BYTES, buffer.tell()
    return buffer.getvalue()


def open_array(path: Path, dtype: np.dtype, row_shape: tuple[int, ...]) -> np.ndarray:
    """Memory-map an .npy file that must hold `dtype` values of shape (rows, *row_shape).

    Raises DataError when `map_array` does, or when the dtype or the shape is another one.
    """
    array = map_array(path)
    if (
        array.dtype != dtype
        or array.ndim == 0
        or array.shape[1:] != row_shape
        or np.isfortran(array)
    ):
        shape = ", ".join(["rows", *map(str, row_shape)])
        raise DataError(f"{path} holds {array.dtype} {array.shape}, expected {dtype} ({shape})")
    return array


def map_array(path: Path) -> np.ndarray:
    """Memory-map an .npy file of numbers of any dtype and shape, read-only.

    Raises DataError when the file is missing, is not an .npy file, holds Python objects, or when
    its size does not match its header.
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            shape, fortran, dtype, start = read_array_header(file, path, size)
    except FileNotFoundError:
        raise DataError(f"{path} is missing") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    try:
        if size == start:
            return np.empty(shape, dtype)  # no values: nothing to map
        return np.memmap(
            path, dtype=dtype, mode="r", offset=start, shape=shape, order="F" if fortran else "C"
        )
    except (OSError, ValueError, OverflowError, MemoryError) as error:
        raise DataError(f"{path} of shape {shape} cannot be mapped: {error}") from None


def read_array_header(
    file: IO[bytes], path: Path, size: int
) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Read and check the header of an .npy file; the file then stands at its first value.

    Args:
        file: the open file, at its start.
        path: its name in error messages.
        size: its size in bytes.

    Returns the shape, whether the values are in Fortran order, the dtype, and the length of the
    header in bytes.

    Raises DataError when it is not an .npy file, when it holds Python objects, or when its size
    does not match its header. No memory is allocated for values that are not there.
    """
    try:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"unsupported .npy version {version}")
        width = 2 * version[0]  # bytes of the field that holds the length of the header
        length = file.read(width)
        start = _MAGIC_BYTES + width + int.from_bytes(length, "little")
        if start > min(size, _MAX_HEADER_BYTES):
            raise ValueError(f"its header claims {start} of {size} bytes")
        header = io.BytesIO(length + file.read(start - _MAGIC_BYTES - width))
        read_header = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = read_header(header)
    except (
        ValueError,
        TypeError,
        SyntaxError,
        tokenize.TokenError,
        RecursionError,
        MemoryError,
    ) as error:
        raise DataError(
            f"{path} is not a readable .npy file: {' '.join(str(error).split())}"
        ) from None
    if dtype.hasobject:
        raise DataError(
            f"{path} holds Python objects, which are never loaded; save plain numbers instead"
        )
    if min(shape, default=0) < 0:
        raise DataError(f"{path} is not a readable .npy file: its header has the shape {shape}")
    expected = start + math.prod(shape) * dtype.itemsize
    if size != expected:
        raise DataError(
            f"{path} has {size} bytes, but its header describes {expected}: the file is truncated "
            "or was changed"
        )
    return shape, fortran, dtype, start
