"""Small files of results: JSON and hypotheses."""

import contextlib
import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from data.sentences import Sentence


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
