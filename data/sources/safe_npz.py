"""Arrays of an .npz archive, without trusting it: what an archive would take is known and refused
before it is taken."""

import struct
import zipfile
import zlib
from collections.abc import Container
from pathlib import Path

import numpy as np

from data.safe_npy import read_array_header
from errors import DataError

# Times the archive's size: landmarks of a signer of whom nothing but a hand is seen give 20
MAX_EXPANSION = 50
_ARCHIVE_ERRORS = (zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, struct.error)
FREE_BYTES = 16 << 20  # a short recording in which nothing was detected is all zeros, and small


def read_npz(path: Path, only: Container[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays of an archive by name, all or those that are asked for.

    Raises DataError naming the file when it is missing, no archive of plain arrays, or would expand
    to many times its size.
    """
    try:
        size = path.stat().st_size
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            expanded = sum(member.file_size for member in members)
            if expanded > max(FREE_BYTES, MAX_EXPANSION * size):
                raise DataError(
                    f"{path} has {size} bytes and would expand to {expanded}: no recording compresses like that, so it is "
                    "not opened"
                )
            names = [member.filename.removesuffix(".npy") for member in members]
            chosen = [only is None or name in only for name in names]
            rows = zip(names, members, chosen, strict=True)
            return {name: _read(archive, member, path) for name, member, wanted in rows if wanted}
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


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> np.ndarray:
    with archive.open(member) as file:
        shape, fortran, dtype, start = read_array_header(
            file, path / member.filename, member.file_size
        )
        values = file.read()
    if len(values) != member.file_size - start:
        raise DataError(f"{path / member.filename} ends before its values do")
    return np.frombuffer(values, dtype).reshape(shape, order="F" if fortran else "C")
