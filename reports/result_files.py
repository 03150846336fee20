"""Small files of results: JSON, hypotheses, and the folder that holds them."""

import contextlib
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from data.output_place import check_places
from data.sentences import Sentence
from data.sources.video_files import IMAGE_SUFFIXES
from errors import DataError, UsageError

LONGEST_NAME = 255  # bytes


def json_line(row: dict[str, Any]) -> str:
    """A line of metrics.jsonl. JSON has no NaN and no infinity: such values become null."""
    return json.dumps(_finite(row), allow_nan=False) + "\n"


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write readable JSON in UTF-8; of `content`, NaN and infinite values become null. Raises
    OSError."""
    text = json.dumps(_finite(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    # surrogateescape: a file name that is no valid text in this locale is written as its bytes
    path.write_text(text, encoding="utf-8", errors="surrogateescape")


def _finite(value: Any) -> Any:
    """The same value with None for each NaN and infinity in it."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def try_to_write(path: Path, write: Callable[[Path], None]) -> bool:
    """Write a file beside the results of a finished run, and return whether that succeeded.

    A failure prints one line of warning and raises nothing, because the results themselves are
    already written. It also removes an older file of that name, which belongs to another run.
    """
    try:
        write(path)
    # Any error: a picture must not end hours of training in a traceback
    except Exception as error:
        reason = " ".join(str(error).split()) or "no reason given"
        print(
            f"warning: {path} was not written ({type(error).__name__}: {reason}). "
            "The results beside it are complete.",
            file=sys.stderr,
        )
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        return False
    return True


def write_hypotheses(
    path: Path, sentences: Sequence[Sentence], hypotheses: Sequence[Sequence[str]]
) -> None:
    """Write lines `id|signer|reference|hypothesis` in UTF-8. Raises OSError."""
    rows = (
        f"{sentence.id}|{sentence.signer}|{' '.join(sentence.glosses)}|{' '.join(hypothesis)}\n"
        for sentence, hypothesis in zip(sentences, hypotheses, strict=True)
    )
    with path.open("w", encoding="utf-8") as file:
        file.write("id|signer|reference|hypothesis\n")
        file.writelines(rows)


def check_output_files(paths: Sequence[Path], overwrite: bool, otherwise: str = "") -> None:
    """Refuse files that exist already or cannot be written. Called before work starts.

    A link counts as a file, also if it leads nowhere. Devices and pipes, such as /dev/stdout, are
    no files in this sense.

    Args:
        paths: the files that will be written.
        overwrite: the user allows to replace them.
        otherwise: what else the user can do where a file exists, for the message.

    Raises UsageError that names the first such file and how many there are, or a folder in its
    place; DataError if a file cannot be made in its folder.
    """
    for path in paths:
        if len(os.fsencode(path.name)) > LONGEST_NAME:
            raise UsageError(
                f"{path}: the name has {len(os.fsencode(path.name))} bytes, a file can have "
                f"{LONGEST_NAME}: choose a shorter one"
            )
    files = [path for path in paths if not is_device(path)]
    existing = [] if overwrite else [path for path in files if is_occupied(path)]
    if existing:
        more = f" (and {len(existing) - 1} more)" if len(existing) > 1 else ""
        raise UsageError(
            f"{existing[0]} already exists{more}: choose another place, or give --overwrite to "
            f"replace it{otherwise}"
        )
    for path in files:
        if path.is_dir():
            raise UsageError(f"{path} is a folder: expected the name of a file to write")
    check_places(Path(os.path.realpath(path)) for path in files)


def refuse_replaced_inputs(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Raise UsageError if an output is an input, or a picture in a folder of frames."""
    used = {os.path.realpath(path): path for path in inputs}
    for path in outputs:
        real = os.path.realpath(path)
        found = used.get(real)
        if found is None and path.suffix.lower() in IMAGE_SUFFIXES:
            found = used.get(os.path.dirname(real))
        if found is not None:
            raise UsageError(f"{path} would replace the input {found}: choose another place")


def is_device(path: Path) -> bool:
    """Whether a path is a device or a pipe, which is written to and not replaced."""
    return path.exists() and not path.is_file() and not path.is_dir()


def is_occupied(path: Path) -> bool:
    """Whether a file, or a link that leads nowhere, has this name."""
    return path.is_file() or (path.is_symlink() and not path.exists())


def make_folder(folder: Path) -> None:
    """Make the folder of a run or an evaluation. Raises DataError when it cannot be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError as error:
        raise DataError(f"cannot make the output folder {folder}: {error.strerror}") from error
    if not writable:
        raise DataError(f"cannot write to the output folder {folder}: permission denied")
