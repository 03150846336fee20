"""Opening a file of torch.save without trusting it."""

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

# All that a checkpoint of this project refers to. torch's weights_only allows more, such as
# bytearray(10**12).
_GLOBALS = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_tensor_v2|torch [A-Z][A-Za-z0-9]*Storage"
)


_NOT_PLAIN = "it is no PyTorch file of tensors and plain values, and nothing else is loaded"


def _open_archive(path: Path, check_sums: bool = False, mapped: bool = False) -> Any:
    """The content of a file written by torch.save, without trusting it; `mapped`: a file of our
    own, without reading all.

    Raises DataError without the path, OSError.
    """
    size = os.path.getsize(path)
    try:
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
            if any(one.filename.endswith("/constants.pkl") for one in records):
                raise DataError(
                    "it is a TorchScript file, for other programs: expected best_model.pth of a run"
                )
            # torch stores its records as they are; one that would be unpacked to more than the file
            # has is a trap.
            if (
                any(one.compress_type != zipfile.ZIP_STORED for one in records)
                or sum(r.file_size for r in records) > size
            ):
                raise DataError(
                    "its records are compressed or larger than the file, as torch never writes them"
                )
            if check_sums and (damaged := archive.testzip()):
                raise DataError(f"its record {damaged} is damaged (CRC-32)")
            described = [one.filename for one in records if one.filename.endswith("/data.pkl")]
            if len(described) != 1:
                raise DataError(_NOT_PLAIN)
            for operation, argument, _ in pickletools.genops(archive.read(described[0])):
                unknown = operation.name == "GLOBAL" and not _GLOBALS.fullmatch(argument)
                if unknown or operation.name in ("STACK_GLOBAL", "INST"):
                    raise DataError(_NOT_PLAIN)
        # Unmapped, torch compares each record's size with what is said of it; mapped, it reads what
        # comes after.
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
        _check_plain(content)
        return content
    # Torch's own message would advise to load it all the same
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


def _check_plain(content: Any) -> None:
    """Raise DataError for what no checkpoint holds.

    A list that stands in two places is such: a few lists of two lists each can stand for endless
    ones.
    """
    seen: set[int] = set()
    pending = [content]
    while pending:
        value = pending.pop()
        if isinstance(value, Tensor):
            if value.numel() * value.element_size() > value.untyped_storage().nbytes():
                raise DataError("a tensor in it is larger than what is stored of it")
        elif isinstance(value, dict | list | tuple):
            inner = [*value.keys(), *value.values()] if isinstance(value, dict) else value
            small = (
                isinstance(value, tuple)
                and len(value) < 9
                and not any(isinstance(v, dict | list | tuple) for v in value)
            )
            if not small and id(value) in seen:
                raise DataError("a list or dictionary in it stands in two places")
            seen.add(id(value))
            pending += inner
        elif value is not None and not isinstance(value, bool | int | float | str):
            raise DataError(f"it holds a {type(value).__name__}")
