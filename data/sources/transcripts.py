"""Transcripts: which glosses are signed in which sentence, by whom, and over how many frames.

Formats are those of the corpora's own annotation files: UTF-8, one sentence a line, columns
separated by '|' and found by the names in the header line; an annotation is cut at white space (the
real files hold double spaces).

    RWTH-PHOENIX-Weather 2014    train.corpus.csv, SI5: train.SI5.corpus.csv       id|folder|signer|annotation
    RWTH-PHOENIX-Weather 2014T   PHOENIX-2014-T.train.corpus.csv                   name|video|start|end|speaker|orth|translation
    CSL-Daily                    video_map.txt with split_1.txt (name|split)       index|name|length|gloss|char|word|postag
    Isharah, MSLR-2025           train.txt or train.csv                            id|gloss
    Google's isolated signs      train.csv, columns separated by ','                path,participant_id,sequence_id,sign
    your own                     train.csv                                         id|video|signer|annotation
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from data.keyed_random import key
from errors import DataError, UsageError

SPLITS = ("train", "dev", "test")
SPLIT_FILES = (
    "{}.corpus.csv",
    "{}.SI5.corpus.csv",
    "PHOENIX-2014-T.{}.corpus.csv",
    "{}.csv",
    "{}.txt",
)
CSL_TABLE, CSL_SPLITS = "video_map.txt", "split_1.txt"


@dataclass(frozen=True)
class TranscribedSentence:
    """One sentence of a transcript; `frames` is its length in video frames where that is known."""

    id: str
    signer: str
    glosses: tuple[str, ...]
    frames: int | None = None
    # Where the table says the video is: '<id>/1/*.png'; '' for the id
    footage: str = field(default="", compare=False)


@dataclass(frozen=True)
class TableFormat:
    """Which column of an annotation file holds what. Without a column for the signer the id tells
    it."""

    header: str
    id: str
    annotation: str
    signer: str | None = None
    footage: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """What the header must name."""
        return tuple(column for column in (self.id, self.signer, self.annotation) if column)


FORMATS = (
    TableFormat("id|folder|signer|annotation", "id", "annotation", "signer", ("folder", "video")),
    TableFormat(
        "name|video|start|end|speaker|orth|translation", "name", "orth", "speaker", ("video",)
    ),
    TableFormat("index|name|length|gloss|char|word|postag", "name", "gloss"),
    TableFormat("id|gloss", "id", "gloss"),
    TableFormat(
        "path,participant_id,sequence_id,sign", "sequence_id", "sign", "participant_id", ("path",)
    ),
)


def read_transcript(path: Path) -> list[TranscribedSentence]:
    """Sentences of an annotation file in any of the formats above, in file order.

    An empty annotation is kept as a sentence of no glosses: it is for the caller to say what that
    means. Raises DataError naming file and line: not UTF-8 text, a column missing, a row too short
    or long, an id twice.
    """
    lines = _lines(path)
    header = [name.strip() for name in lines[0].split(_separator(lines))]
    table = max(
        FORMATS,
        key=lambda table: sum(column in header for column in table.columns) / len(table.columns),
    )
    sentences = []
    for where, row in _rows(path, lines, table.columns, table.header):
        id, annotation = row[table.id], row[table.annotation]
        signer = row[table.signer] if table.signer else _signer_of(id)
        if not id or not signer:
            raise DataError(
                f"{where}: the {'signer' if id else 'id'} is empty; every sentence needs one"
            )
        footage = next((row[column] for column in table.footage if row.get(column)), "")
        sentences.append(
            TranscribedSentence(id, signer, tuple(annotation.split()), footage=footage)
        )
    return sentences


def _signer_of(id: str) -> str:
    """Who signs, where only the id tells it: CSL-Daily's S000007_P0003_T00 is P0003, Isharah's
    02_0001 is 02."""
    csl = re.fullmatch("S[0-9]+_(P[0-9]+)_T[0-9]+", id)
    return csl[1] if csl else id.split("_")[0] if "_" in id else "unknown"


def read_frames(path: Path) -> dict[str, int]:
    """Frames of each sentence, by id, from a `<split>.frames.csv` (`id|frames`).

    Raises DataError naming file and line: as `read_transcript`, and for a count that is not a whole
    number above 0.
    """
    frames = {}
    for where, row in _rows(path, _lines(path), ("id", "frames"), "id|frames"):
        if not re.fullmatch("[1-9][0-9]{0,8}", row["frames"]):
            raise DataError(
                f"{where}: expected a number of frames above 0, found {row['frames']!r}"
            )
        frames[row["id"]] = int(row["frames"])
    return frames


def with_frames(sentences: list[TranscribedSentence], path: Path) -> list[TranscribedSentence]:
    """The sentences with their lengths from the frames csv `path`; rows of other sentences there
    are ignored.

    Raises DataError when a sentence has no row in it.
    """
    frames = read_frames(path)
    missing = [sentence.id for sentence in sentences if sentence.id not in frames]
    if missing:
        raise DataError(
            f"{path} has no frames for {len(missing)} of {len(sentences)} sentences, first {missing[0]!r}"
        )
    return [replace(sentence, frames=frames[sentence.id]) for sentence in sentences]


def read_splits(
    transcripts: Path, frames: Path | None = None
) -> dict[str, list[TranscribedSentence]]:
    """All splits of a corpus, by name.

    transcripts: the train file of any format above, of which the dev and test files beside it
    become the other splits; or the folder they are in (also the corpus's own folder, with
    `annotations/manual` in it); or a csv of another name, which is train alone. CSL-Daily's splits
    come from split_1.txt; a video that is not in it is train, as others have it. frames:
    `train.frames.csv` with the other splits' beside it, or its folder, or one csv of another name
    for all splits. Raises DataError naming file and line; also when an annotation is empty.
    UsageError when it is not clear which file.
    """
    tables = _split_files(transcripts, SPLIT_FILES)
    if tables["train"].name == CSL_TABLE:
        splits = _csl_splits(tables["train"])
    else:
        splits = {split: read_transcript(table) for split, table in tables.items()}
    for split, sentences in splits.items():
        for sentence in sentences:
            if not sentence.glosses:
                table = tables.get(split, tables["train"])
                raise DataError(
                    f"{table}: the annotation of {sentence.id!r} is empty; remove its line"
                )
    if frames is not None:
        lengths = _split_files(frames, ("{}.frames.csv",))
        shared = lengths["train"] if lengths["train"].name != "train.frames.csv" else None
        for split, sentences in splits.items():
            table = shared or lengths["train"].with_name(f"{split}.frames.csv")
            splits[split] = with_frames(sentences, table)
    return splits


def normalize_phoenix2014(glosses: Sequence[str]) -> tuple[str, ...]:
    """The official clean-up of RWTH-PHOENIX-Weather 2014, for train transcripts and for hypotheses,
    never for references.

    Plain glosses that repeat are one, WIE AUSSEHEN and spelled letters (A B → A+B) are joined,
    variants of one sign take its name, prefixes and suffixes that say how it is signed are dropped,
    and so are __EMOTION__, __PU__ and __LEFTHAND__; these part what stands on both their sides:
    REGEN __PU__ REGEN stays two. No glosses give no glosses. Source: the rules of the corpus's
    evaluation script, in words; train cleaned so equals its official train.stm.
    """
    cleaned: list[str] = []
    for gloss in glosses:
        for prefix in ("loc-", "cl-", "qu-", "poss-", "lh-"):
            gloss = gloss.replace(prefix, "")
        gloss = gloss.replace("S0NNE", "SONNE").replace("HABEN2", "HABEN").replace("-PLUSPLUS", "")
        gloss = re.sub("(?<=[A-Z][A-Z])RAUM$", "", gloss)
        if gloss.endswith("ZEIGEN"):
            gloss += "-BILDSCHIRM"
        if cleaned and (cleaned[-1], gloss) == ("WIE", "AUSSEHEN"):
            cleaned[-1] = "WIE-AUSSEHEN"
        elif cleaned and _SPELLED.fullmatch(cleaned[-1]) and _SPELLED.fullmatch(gloss):
            cleaned[-1] += f"+{gloss}"
        elif gloss:
            cleaned.append(gloss)
    once = [
        gloss
        for gloss, before in zip(cleaned, [None, *cleaned], strict=False)
        if not _repeats(gloss, before)
    ]
    return tuple(gloss for gloss in once if gloss not in ("__EMOTION__", "__PU__", "__LEFTHAND__"))


def clean_train(splits: dict[str, list[TranscribedSentence]], annotations: Path) -> None:
    """Apply the clean-up to the train sentences of `splits` in place; dev and test are references
    and stay as they are.

    annotations: where they come from, for the message. Raises DataError when it leaves nothing of a
    sentence.
    """
    for index, sentence in enumerate(splits["train"]):
        glosses = normalize_phoenix2014(sentence.glosses)
        if not glosses:
            raise DataError(
                f"{annotations}: the clean-up leaves nothing of {sentence.id!r} in train; remove its line"
            )
        splits["train"][index] = replace(sentence, glosses=glosses)


def _repeats(gloss: str, before: str | None) -> bool:
    """Whether a cleaned gloss is the one before it again; compounds such as A+B and IN-KOMMEND may
    be signed twice."""
    return gloss == before and re.fullmatch("[A-Z]+", gloss) is not None


_SPELLED = re.compile(r"(?:[A-Z]|SCH|NN)(?:\+(?:[A-Z]|SCH|NN))*")  # letters of the finger alphabet


def keep_fraction(
    sentences: list[TranscribedSentence], fraction: float, seed: int
) -> list[TranscribedSentence]:
    """A random `fraction` of the sentences (at least one), keyed by seed and id: a smaller one is
    part of a larger one."""
    count = max(1, round(fraction * len(sentences)))
    kept = {
        sentence.id
        for sentence in sorted(sentences, key=lambda s: key(seed, s.id, "fraction"))[:count]
    }
    return [sentence for sentence in sentences if sentence.id in kept]


def _split_files(path: Path, patterns: Sequence[str]) -> dict[str, Path]:
    """Which file is which split, where `path` is a train file of one of the `patterns`, its folder,
    or of another name."""
    if path.is_dir():
        folder = path / "annotations" / "manual"
        folder = folder if folder.is_dir() else path
        names = [pattern.format("train") for pattern in patterns] + [CSL_TABLE]
        found = [name for name in names if (folder / name).is_file()]
        if not found:
            raise DataError(
                f"{folder} has no annotations in it: expected one of {', '.join(names)}"
            )
        if len(found) > 1:
            raise UsageError(f"{folder} has {' and '.join(found)}: give the one that is meant")
        path = folder / found[0]
    for pattern in patterns:
        if path.name == pattern.format("train"):
            others = {split: path.with_name(pattern.format(split)) for split in SPLITS[1:]}
            return {"train": path} | {
                split: other for split, other in others.items() if other.is_file()
            }
        if path.name in {pattern.format(split) for split in SPLITS}:
            train = pattern.format("train")
            raise UsageError(
                f"{path}: give {train}, the other splits beside it are found by themselves"
            )
    return {"train": path}


def _csl_splits(table: Path) -> dict[str, list[TranscribedSentence]]:
    """CSL-Daily's sentences by split."""
    assignment, splits = table.with_name(CSL_SPLITS), {}
    split_of = {}
    for where, row in _rows(assignment, _lines(assignment), ("name", "split"), "name|split"):
        if row["split"] not in SPLITS:
            raise DataError(
                f"{where}: expected one of {', '.join(SPLITS)} as the split, found {row['split']!r}"
            )
        split_of[row["name"]] = row["split"]
    for sentence in read_transcript(table):
        splits.setdefault(split_of.get(sentence.id, "train"), []).append(sentence)
    return {split: splits[split] for split in SPLITS if split in splits}


def _lines(path: Path) -> list[str]:
    """Lines of a UTF-8 text file."""
    if path.suffix in (".pkl", ".pickle"):
        raise DataError(
            f"{path} is a pickle, which can run any program when it is opened, so it is not; "
            f"write what it holds as a table {FORMATS[0].header}"
        )
    try:
        return path.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError:
        raise DataError(f"{path} is missing") from None
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise DataError(
            f"{path} line {line}: not UTF-8 text; convert it, for example with iconv -t UTF-8"
        ) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None


def _separator(lines: list[str]) -> str:
    return "," if "," in lines[0] and "|" not in lines[0] else "|"


def _rows(
    path: Path, lines: list[str], columns: Sequence[str], example: str
) -> list[tuple[str, dict[str, str]]]:
    """Rows under a header that must name `columns`, each with 'FILE line N' for messages; the first
    column is unique."""
    separator = _separator(lines)
    header = [name.strip() for name in lines[0].split(separator)]
    absent = [column for column in columns if column not in header]
    if absent:
        raise DataError(
            f"{path} line 1: expected a header like '{example}', found {lines[0]!r} (no {absent[0]!r} in it)"
        )
    rows, first_line = [], {}
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue  # the end of the file, or a blank line
        where, fields = f"{path} line {number}", [field.strip() for field in line.split(separator)]
        if len(fields) != len(header):
            raise DataError(
                f"{where}: expected {len(header)} fields '{separator.join(header)}', found {len(fields)}: {line!r}"
            )
        row = dict(zip(header, fields, strict=True))
        id = row[columns[0]]
        if id in first_line:
            raise DataError(
                f"{where}: id {id!r} is already on line {first_line[id]}; ids must be unique"
            )
        first_line[id] = number
        rows.append((where, row))
    if not rows:
        raise DataError(f"{path} has a header but no sentences under it")
    return rows
