"""Files for sclite, the scorer of NIST's sctk: hypotheses with times as ctm, references as stm.

    sclite -s -r references.stm stm -h hypotheses.ctm ctm -o sum stdout

Without -s sclite treats 'Regen' and 'REGEN' as the same gloss. White space separates its columns,
so white space in ids and signers becomes '_'. Where two would then be the same, such as 'a 1' and
'a_1', a number follows: a_1_2.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

from errors import DataError

# sclite's null word: a sentence without a gloss needs a line too, and this one is no insertion
_EMPTY = "@"
# What sclite does not take for words: alternatives, its null word, segments that are not scored
_COMMANDS = re.compile(r"[{}@]|<ALT\w*>|IGNORE_TIME_SEGMENT_IN_SCORING", re.IGNORECASE)


def sclite_warning(sentences: Iterable[Sequence[str]]) -> str | None:
    """A line about glosses that sclite takes for its own commands; None without such glosses.

    sentences: references and hypotheses.
    """
    found = sorted(
        {gloss for gloss in chain.from_iterable(sentences) if _COMMANDS.fullmatch(gloss)}
    )
    if not found:
        return None
    return (
        f"sclite takes the gloss{'' if len(found) == 1 else 'es'} {', '.join(found)} for its own "
        "commands: its WER for hypotheses.ctm and references.stm differs from this one; rename "
        "such glosses"
    )


def write_ctm(
    path: Path,
    ids: Sequence[str],
    hypotheses: Sequence[Sequence[str]],
    spans: Sequence[Sequence[tuple[float, float]]],
    unit: float = 1.0,
) -> None:
    """Write one line `id 1 begin duration gloss` for each gloss.

    All begins have as many digits as the largest: the evaluation script of RWTH-PHOENIX-Weather
    2014 sorts them as text. Raises DataError when the file cannot be written.

    Args:
        ids: of the sentences.
        hypotheses: the glosses of each sentence.
        spans: spans[i][n] are begin and end of gloss n of sentence i.
        unit: the unit of the spans, in seconds.
    """
    columns = _as_columns(ids)
    latest = max((begin for times in spans for begin, _ in times), default=0.0)
    digits = len(f"{latest * unit:.3f}")

    def lines() -> Iterator[str]:
        for index in _in_order(ids, columns):
            column = columns[ids[index]]
            for gloss, (begin, end) in zip(hypotheses[index], spans[index], strict=True):
                duration = end * unit - begin * unit
                yield f"{column} 1 {begin * unit:0{digits}.3f} {duration:.3f} {gloss}\n"
            if not hypotheses[index]:
                yield f"{column} 1 0.000 0.000 {_EMPTY}\n"

    _write(path, lines())


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

    def lines() -> Iterator[str]:
        for index in _in_order(ids, columns):
            start = f"{columns[ids[index]]} 1 {signer_columns[signers[index]]}"
            glosses = " ".join(references[index])
            yield f"{start} 0.000 {seconds[index]:.3f} {glosses}".rstrip() + "\n"

    _write(path, lines())


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


def _in_order(ids: Sequence[str], columns: dict[str, str]) -> list[int]:
    """Indices of the sentences in the order of their columns: sclite needs the same order of ids in
    both files."""
    return sorted(range(len(ids)), key=lambda index: columns[ids[index]])


def _write(path: Path, lines: Iterable[str]) -> None:
    try:
        with path.open("w", encoding="utf-8") as file:
            file.writelines(lines)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}") from error
