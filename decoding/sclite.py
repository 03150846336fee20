"""The files that sclite (NIST's sctk) scores: hypotheses with times as ctm, references as stm.

sclite -s -r references.stm stm -h hypotheses.ctm ctm -o sum stdout

Without -s it takes 'Regen' and 'REGEN' for the same gloss. Its columns are cut at white space: that
of ids and signers is '_'.
"""

from collections.abc import Sequence
from pathlib import Path

from errors import DataError

# Sclite's null word: a sentence without a gloss still needs a line, this one is no insertion
_EMPTY = "@"


def write_ctm(
    path: Path,
    ids: Sequence[str],
    hypotheses: Sequence[Sequence[str]],
    spans: Sequence[Sequence[tuple[float, float]]],
) -> None:
    """`id 1 begin duration gloss` a gloss; spans[i][n]: begin and end in seconds of sentence i's
    gloss n. Raises DataError."""
    lines = []
    for id, hypothesis, times in zip(ids, hypotheses, spans, strict=True):
        for gloss, (begin, end) in zip(hypothesis, times, strict=True):
            lines.append(f"{_joined(id)} 1 {begin:.3f} {end - begin:.3f} {gloss}")
        if not hypothesis:
            lines.append(f"{_joined(id)} 1 0.000 0.000 {_EMPTY}")
    _write(path, lines)


def write_stm(
    path: Path,
    ids: Sequence[str],
    signers: Sequence[str],
    seconds: Sequence[float],
    references: Sequence[Sequence[str]],
) -> None:
    """`id 1 signer 0.000 seconds glosses` a sentence. Raises DataError."""
    rows = zip(ids, signers, seconds, references, strict=True)
    lines = [
        f"{_joined(id)} 1 {_joined(who)} 0.000 {end:.3f} {' '.join(said)}".rstrip()
        for id, who, end, said in rows
    ]
    _write(path, lines)


def _joined(name: str) -> str:
    return "_".join(name.split())


def _write(path: Path, lines: list[str]) -> None:
    # sclite wants both files in the same order of ids; a sort by id gives it one.
    lines.sort(key=lambda line: line.split()[0])
    try:
        path.write_text("\n".join([*lines, ""]), encoding="utf-8")
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}") from error
