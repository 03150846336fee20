"""Small files of results: JSON, hypotheses."""

import contextlib
import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from data.corpus import Sentence
from errors import DataError


def _json_line(row: dict) -> str:
    # JSON has no NaN: a dev loss that does not exist is null.
    clean = {
        k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()
    }
    return json.dumps(clean) + "\n"


def write_json(path: Path, content: dict) -> None:
    """Readable JSON, UTF-8. A path that this locale could not decode is written as the bytes that
    it is."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8", errors="surrogateescape")


def try_to_write(path: Path, write: Callable[[Path], None]) -> bool:
    """Write what stands beside a finished run's results; a failure is said in one line and does no
    harm to them. Returns whether it was written: if not, an older file of that name is gone, as it
    must not pass for this run's.
    """
    try:
        write(path)
    # Whatever it is: hours of training are not to end in a traceback over a picture
    except Exception as error:
        reason = " ".join(str(error).split()) or "no reason given"
        print(
            f"warning: {path} was not written ({type(error).__name__}: {reason}); the results beside it are complete",
            file=sys.stderr,
        )
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        return False
    return True


def write_hypotheses(
    path: Path, sentences: Sequence[Sentence], hypotheses: Sequence[Sequence[str]]
) -> None:
    """`id|signer|reference|hypothesis`, one sentence a line, UTF-8."""
    rows = [
        f"{sentence.id}|{sentence.signer}|{' '.join(sentence.glosses)}|{' '.join(hypothesis)}\n"
        for sentence, hypothesis in zip(sentences, hypotheses, strict=True)
    ]
    path.write_text("id|signer|reference|hypothesis\n" + "".join(rows), encoding="utf-8")


def make_folder(folder: Path) -> None:
    """Make a run's folder. Raises DataError when it cannot be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError as error:
        raise DataError(f"cannot make the output folder {folder}: {error.strerror}") from error
    if not writable:
        raise DataError(f"cannot write to the output folder {folder}: permission denied")
