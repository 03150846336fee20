"""Files for sclite, the scorer of NIST's sctk: hypotheses with times as ctm, references as stm.

    sclite -s -r references.stm stm -h hypotheses.ctm ctm -o sum stdout

Without -s sclite treats 'Regen' and 'REGEN' as the same gloss. White space separates its columns,
so white space in ids and signers becomes '_'. Where two would then be the same, such as 'a 1' and
'a_1', a number follows: a_1_2.
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
    lines, columns = [], _as_columns(ids)
    digits = max((len(f"{begin:.3f}") for times in spans for begin, _ in times), default=0)
    for id, hypothesis, times in zip(ids, hypotheses, spans, strict=True):
        for gloss, (begin, end) in zip(hypothesis, times, strict=True):
            lines.append(f"{columns[id]} 1 {begin:0{digits}.3f} {end - begin:.3f} {gloss}")
        if not hypothesis:
            lines.append(f"{columns[id]} 1 0.000 0.000 {_EMPTY}")
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
    columns, signer_columns = _as_columns(ids), _as_columns(signers)
    rows = zip(ids, signers, seconds, references, strict=True)
    lines = [
        f"{columns[id]} 1 {signer_columns[signer]} 0.000 {end:.3f} {' '.join(glosses)}".rstrip()
        for id, signer, end, glosses in rows
    ]
    _write(path, lines)


def _as_columns(names: Sequence[str]) -> dict[str, str]:
    """A name without white space for each of the names; different names stay different.

    Names that have no white space do not change, and the order of the names does not matter.
    """
    columns = {name: name for name in names if name and name.split() == [name]}
    taken = set(columns.values())
    for name in sorted(set(names) - taken):
        column = joined = "_".join(name.split())
        number = 1
        while not column or column in taken:
            number += 1
            column = f"{joined}_{number}"
        taken.add(column)
        columns[name] = column
    return columns


def _write(path: Path, lines: list[str]) -> None:
    # sclite needs the same order of ids in both files
    lines.sort(key=lambda line: line.split()[0])
    try:
        path.write_text("\n".join([*lines, ""]), encoding="utf-8")
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}") from error
