"""Files for sclite, the scorer of NIST's sctk: hypotheses with times as ctm, references as stm.

    sclite -s -r references.stm stm -h hypotheses.ctm ctm -o sum stdout

Without -s sclite treats 'Regen' and 'REGEN' as the same gloss. White space separates its columns,
so white space in ids and signers becomes '_'.
"""

from collections.abc import Sequence
from pathlib import Path

from errors import DataError

# sclite's null word: a sentence without a gloss needs a line too, and this one is no insertion
_EMPTY = "@"


def write_ctm(
    path: Path,
    ids: Sequence[str],
    hypotheses: Sequence[Sequence[str]],
    spans: Sequence[Sequence[tuple[float, float]]],
) -> None:
    """Write one line `id 1 begin duration gloss` for each gloss.

    spans[i][n]: begin and end, in seconds, of gloss n of sentence i. All begins have as many digits
    as the largest: the evaluation script of RWTH-PHOENIX-Weather 2014 sorts them as text. Raises
    DataError when the file cannot be written.
    """
    lines = []
    digits = max((len(f"{begin:.3f}") for times in spans for begin, _ in times), default=0)
    for id, hypothesis, times in zip(ids, hypotheses, spans, strict=True):
        for gloss, (begin, end) in zip(hypothesis, times, strict=True):
            lines.append(f"{_one_column(id)} 1 {begin:0{digits}.3f} {end - begin:.3f} {gloss}")
        if not hypothesis:
            lines.append(f"{_one_column(id)} 1 0.000 0.000 {_EMPTY}")
    _write(path, lines)


def write_stm(
    path: Path,
    ids: Sequence[str],
    signers: Sequence[str],
    seconds: Sequence[float],
    references: Sequence[Sequence[str]],
) -> None:
    """Write one line `id 1 signer 0.000 seconds glosses` for each sentence.

    seconds: duration of each sentence. Raises DataError when the file cannot be written.
    """
    rows = zip(ids, signers, seconds, references, strict=True)
    lines = [
        f"{_one_column(id)} 1 {_one_column(signer)} 0.000 {end:.3f} {' '.join(glosses)}".rstrip()
        for id, signer, end, glosses in rows
    ]
    _write(path, lines)


def _one_column(name: str) -> str:
    return "_".join(name.split())


def _write(path: Path, lines: list[str]) -> None:
    # sclite needs the same order of ids in both files
    lines.sort(key=lambda line: line.split()[0])
    try:
        path.write_text("\n".join([*lines, ""]), encoding="utf-8")
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}") from error
