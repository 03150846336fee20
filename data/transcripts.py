"""Transcripts: which glosses are signed in which sentence, by whom, and over how many frames; one reader per format.

Formats are those of the corpora's own annotation files: UTF-8, one sentence a line, columns separated by '|' and
found by the names in the header line; an annotation is cut at white space (the real files hold double spaces).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from data.randomness import key
from errors import DataError, UsageError

SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class TranscribedSentence:
    """One sentence of a transcript; `frames` is its length in video frames where that is known."""

    id: str
    signer: str
    glosses: tuple[str, ...]
    frames: int | None = None


def required_steps(glosses: Sequence[str]) -> int:
    """Fewest time steps in which CTC can align a sentence: one per gloss, and a blank between two equal neighbours."""
    return len(glosses) + sum(left == right for left, right in pairwise(glosses))


def read_phoenix2014(path: Path) -> list[TranscribedSentence]:
    """Sentences of an RWTH-PHOENIX-Weather 2014 `<split>.corpus.csv` (`id|folder|signer|annotation`), in file order.

    An empty annotation is kept as a sentence of no glosses: it is for the caller to say what that means.
    Raises DataError naming file and line: not UTF-8 text, a column missing, a row too short or long, an id twice.
    """
    sentences = []
    for where, row in _rows(path, ("id", "signer", "annotation"), "id|folder|signer|annotation"):
        if not row["id"] or not row["signer"]:
            raise DataError(f"{where}: the {'signer' if row['id'] else 'id'} is empty; every sentence needs one")
        sentences.append(TranscribedSentence(row["id"], row["signer"], tuple(row["annotation"].split())))
    return sentences


def read_frames(path: Path) -> dict[str, int]:
    """Frames of each sentence, by id, from a `<split>.frames.csv` (`id|frames`).

    Raises DataError naming file and line: as `read_phoenix2014`, and for a count that is not a whole number above 0.
    """
    frames = {}
    for where, row in _rows(path, ("id", "frames"), "id|frames"):
        if not re.fullmatch("[1-9][0-9]{0,8}", row["frames"]):
            raise DataError(f"{where}: expected a number of frames above 0, found {row['frames']!r}")
        frames[row["id"]] = int(row["frames"])
    return frames


def with_frames(sentences: list[TranscribedSentence], path: Path) -> list[TranscribedSentence]:
    """The sentences with their lengths from the frames csv `path`; rows of other sentences there are ignored.

    Raises DataError when a sentence has no row in it.
    """
    frames = read_frames(path)
    missing = [sentence.id for sentence in sentences if sentence.id not in frames]
    if missing:
        raise DataError(f"{path} has no frames for {len(missing)} of {len(sentences)} sentences, first {missing[0]!r}")
    return [replace(sentence, frames=frames[sentence.id]) for sentence in sentences]


def read_phoenix2014_splits(transcripts: Path, frames: Path | None = None) -> dict[str, list[TranscribedSentence]]:
    """All splits of a corpus, by name.

    transcripts: `train.corpus.csv`, of which `dev.corpus.csv` and `test.corpus.csv` beside it become the other splits;
    or the folder they are in; or a csv of another name, which is train alone. frames: `train.frames.csv` with the other
    splits' beside it, or its folder, or one csv of another name for all splits.
    Raises DataError naming file and line; also when an annotation is empty.
    """
    tables = _split_files(transcripts, "corpus")
    splits = {}
    for split, table in tables.items():
        splits[split] = read_phoenix2014(table)
        for sentence in splits[split]:
            if not sentence.glosses:
                raise DataError(f"{table}: the annotation of {sentence.id!r} is empty; remove its line")
    if frames is not None:
        lengths = _split_files(frames, "frames")
        shared = lengths["train"] if lengths["train"].name != "train.frames.csv" else None
        for split, sentences in splits.items():
            table = shared or lengths["train"].with_name(f"{split}.frames.csv")
            splits[split] = with_frames(sentences, table)
    return splits


def keep_fraction(sentences: list[TranscribedSentence], fraction: float, seed: int) -> list[TranscribedSentence]:
    """A random `fraction` of the sentences (at least one), keyed by seed and id: a smaller one is part of a larger one."""
    count = max(1, round(fraction * len(sentences)))
    kept = {sentence.id for sentence in sorted(sentences, key=lambda s: key(seed, s.id, "fraction"))[:count]}
    return [sentence for sentence in sentences if sentence.id in kept]


def _split_files(path: Path, kind: str) -> dict[str, Path]:
    """Which file is which split, where `path` is `train.<kind>.csv`, its folder, or a csv of another name."""
    if path.is_dir():
        path = path / f"train.{kind}.csv"
    if path.name != f"train.{kind}.csv":
        if path.name in {f"{split}.{kind}.csv" for split in SPLITS}:
            raise UsageError(f"{path}: give train.{kind}.csv, the other splits beside it are found by themselves")
        return {"train": path}
    others = {split: path.with_name(f"{split}.{kind}.csv") for split in SPLITS[1:]}
    return {"train": path} | {split: other for split, other in others.items() if other.is_file()}


def _rows(path: Path, columns: tuple[str, ...], example: str) -> list[tuple[str, dict[str, str]]]:
    """Rows under a header that must name `columns`, each with 'FILE line N' for messages; ids must be unique."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError:
        raise DataError(f"{path} is missing") from None
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise DataError(f"{path} line {line}: not UTF-8 text; convert it, for example with iconv -t UTF-8") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    header = [name.strip() for name in lines[0].split("|")]
    absent = [column for column in columns if column not in header]
    if absent:
        raise DataError(
            f"{path} line 1: expected a header like '{example}', found {lines[0]!r} (no {absent[0]!r} in it)"
        )
    rows, first_line = [], {}
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue  # the end of the file, or a blank line
        where, fields = f"{path} line {number}", [field.strip() for field in line.split("|")]
        if len(fields) != len(header):
            raise DataError(
                f"{where}: expected {len(header)} fields '{'|'.join(header)}', found {len(fields)}: {line!r}"
            )
        row = dict(zip(header, fields, strict=True))
        if row["id"] in first_line:
            raise DataError(f"{where}: id {row['id']!r} is already on line {first_line[row['id']]}; ids must be unique")
        first_line[row["id"]] = number
        rows.append((where, row))
    if not rows:
        raise DataError(f"{path} has a header but no sentences under it")
    return rows
