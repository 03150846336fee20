"""Open a file of torch.save without trusting it.

A file may run code when it is unpickled, or expand to more memory than any machine has. Here its
archive, its pickle operations, and the types and sizes of its values are checked.
"""

import os
import pickle
import pickletools
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from errors import DataError

# All names that a checkpoint of this project refers to. weights_only of torch.load allows more, for
# example bytearray(10**12).
_GLOBALS = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_tensor_v2|torch [A-Z][A-Za-z0-9]*Storage"
)
_NOT_PLAIN = "it is not a PyTorch file of tensors and plain values; nothing else is loaded"


def open_archive(path: Path, check_sums: bool = False, mapped: bool = False) -> Any:
    """The content of a file that torch.save wrote: tensors (on the CPU) and plain Python values.

    Args:
        check_sums: verify the CRC-32 of each record.
        mapped: map the tensors into memory instead of reading them; only for a file that this
            process wrote itself.

    Raises DataError, whose message does not name the path, and OSError.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check_archive(archive, os.path.getsize(path), check_sums)
        # If a file is not mapped, torch compares the size of each record with the size in its
        # pickle; if it is mapped, torch would read beyond the record.
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
        _check_plain(content)
        return content
    # torch's own message would advise to load the file without checks
    except (pickle.UnpicklingError, zipfile.BadZipFile):
        raise DataError(_NOT_PLAIN) from None
    except (
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        ArithmeticError,
        EOFError,
        NotImplementedError,
    ) as error:
        raise DataError(
            str(error).splitlines()[0] if str(error) else type(error).__name__
        ) from None
    except (RecursionError, MemoryError, AssertionError):
        raise DataError(_NOT_PLAIN) from None


def _check_archive(archive: zipfile.ZipFile, size: int, check_sums: bool) -> None:
    """Raise DataError unless the archive, of a file of `size` bytes, has the form that torch.save
    writes, and its pickle refers only to tensors."""
    records = archive.infolist()
    if any(record.filename.endswith("/constants.pkl") for record in records):
        raise DataError(
            "it is a TorchScript file, for other programs: expected best_model.pth of a run"
        )
    # torch never compresses. A record that expands to more than the file is an attack.
    compressed = any(record.compress_type != zipfile.ZIP_STORED for record in records)
    if compressed or sum(record.file_size for record in records) > size:
        raise DataError(
            "its records are compressed or larger than the file; torch never writes such files"
        )
    if check_sums and (damaged := archive.testzip()):
        raise DataError(f"its record {damaged} is damaged (CRC-32)")
    pickles = [record.filename for record in records if record.filename.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise DataError(_NOT_PLAIN)
    for operation, argument, _ in pickletools.genops(archive.read(pickles[0])):
        unknown = operation.name == "GLOBAL" and not _GLOBALS.fullmatch(str(argument))
        if unknown or operation.name in ("STACK_GLOBAL", "INST"):
            raise DataError(_NOT_PLAIN)


def _check_plain(content: Any) -> None:
    """Raise DataError for a value that no checkpoint holds.

    One of them is a list or dictionary that occurs twice: sixty lists, each of them twice in the
    next one, would take endless time to look through.
    """
    seen: set[int] = set()
    pending = [content]
    while pending:
        value = pending.pop()
        if isinstance(value, Tensor):
            if value.numel() * value.element_size() > value.untyped_storage().nbytes():
                raise DataError("a tensor in it is larger than what is stored for it")
        elif isinstance(value, dict | list | tuple):
            inner = [*value.keys(), *value.values()] if isinstance(value, dict) else value
            # Python shares equal constant tuples, such as shapes
            small_tuple = (
                isinstance(value, tuple)
                and len(value) < 9
                and not any(isinstance(v, dict | list | tuple) for v in value)
            )
            if not small_tuple and id(value) in seen:
                raise DataError("a list or dictionary occurs in it twice")
            seen.add(id(value))
            pending += inner
        elif value is not None and not isinstance(value, bool | int | float | str):
            raise DataError(f"it holds a {type(value).__name__}, which is not a plain value")
