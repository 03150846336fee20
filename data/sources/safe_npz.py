"""Read .npz archives from untrusted sources: the size of an archive's content is checked before any
memory is allocated for it."""

import struct
import zipfile
import zlib
from collections.abc import Container
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from data.safe_npy import read_array_header
from errors import DataError

# Largest size of the content, relative to the archive. Landmarks compress best when only one hand
# was detected: 20 times.
MAX_EXPANSION = 50
# Bytes of content that are always allowed: a short recording without detections is all zeros.
FREE_BYTES = 16 << 20
_ARCHIVE_ERRORS = (zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, struct.error)


def read_npz(path: Path, only: Container[str] | None = None) -> dict[str, np.ndarray]:
    """Read the arrays of an archive, by name. only: the names to read; None: all.

    Raises DataError with the file's name when it is missing, is no archive of plain arrays, or
    would expand to more than MAX_EXPANSION times its size.
    """
    try:
        size = path.stat().st_size
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            expanded = sum(member.file_size for member in members)
            if expanded > max(FREE_BYTES, MAX_EXPANSION * size):
                raise DataError(
                    f"{path} has {size} bytes and would expand to {expanded}: "
                    "no recording compresses like that, so it is not opened"
                )
            arrays = {}
            for member in members:
                name = member.filename.removesuffix(".npy")
                if only is None or name in only:
                    arrays[name] = _read_member(archive, member, path)
            return arrays
    except FileNotFoundError:
        raise DataError(f"{path} is missing") from None
    except (
        OSError,
        ValueError,
        EOFError,
        RuntimeError,
        OverflowError,
        MemoryError,
        *_ARCHIVE_ERRORS,
    ) as error:
        raise DataError(
            f"{path} is not a readable .npz file of plain numbers: {' '.join(str(error).split())}"
        ) from None


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> np.ndarray:
    with archive.open(member) as file:
        shape, fortran, dtype, start = read_array_header(
            cast(BinaryIO, file), path / member.filename, member.file_size
        )
        values = file.read()
    if len(values) != member.file_size - start:
        raise DataError(
            f"{path / member.filename} has {len(values)} bytes of values, "
            f"expected {member.file_size - start}: the archive is damaged"
        )
    return np.frombuffer(values, dtype).reshape(shape, order="F" if fortran else "C")
