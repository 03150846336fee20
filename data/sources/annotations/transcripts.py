"""Transcripts: which glosses each sentence has, who signs it, and how many frames it has.

The formats are those of the corpora's own annotation files: one sentence per row, columns named by
the header line, in any encoding, separator and quoting that tables.py beside this file reads.
Glosses are separated by white space (the real files have double spaces). Columns for start and end
make a sentence a segment of its recording (segments.py).

    RWTH-PHOENIX-Weather 2014    train.corpus.csv; SI5: train.SI5.corpus.csv
                                 id|folder|signer|annotation
    RWTH-PHOENIX-Weather 2014T   PHOENIX-2014-T.train.corpus.csv
                                 name|video|start|end|speaker|orth|translation
    CSL-Daily                    video_map.txt, with the splits in split_1.txt (name|split)
                                 index|name|length|gloss|char|word|postag
    Isharah, MSLR-2025           train.txt or train.csv
                                 id|gloss
    Google's isolated signs      train.csv, columns separated by ','
                                 path,participant_id,sequence_id,sign
    your own corpus              train.csv
                                 id|video|signer|annotation

Each split has a file of its own, or one file has a column `split`.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from data.checks.signer_names import signer_warning
from data.keyed_random import key
from data.sentences import UNKNOWN_SIGNER
from data.sources.annotations.gloss_warnings import gloss_warnings
from data.sources.annotations.phoenix_cleanup import normalize_phoenix2014
from data.sources.annotations.segments import (
    FRAMES,
    SECONDS,
    UNNAMED,
    Segment,
    find_segment_columns,
    read_segment,
    unit_without_name,
)
from data.sources.annotations.split_files import (
    CSL_SPLITS,
    CSL_TABLE,
    SPLIT_FILES,
    SPLIT_NAMES,
    SPLITS,
    annotation_files,
)
from data.sources.annotations.tables import Table
from errors import DataError, printable


@dataclass(frozen=True)
class TranscribedSentence:
    """One sentence of a transcript.

    frames: its length in video frames, None where unknown. recording: the place of its recording as
    the annotation file gives it, for example '<id>/1/*.png'; '' where the file does not give it.
    segment: its part of the recording, None for the whole recording.
    """

    id: str
    signer: str
    glosses: tuple[str, ...]
    frames: int | None = None
    recording: str = field(default="", compare=False)
    segment: Segment | None = None


@dataclass(frozen=True)
class TableFormat:
    """The columns of one kind of annotation file.

    header: an example of the header line. signer: None where the id names the signer. recording:
    columns that may give the place of the recording.
    """

    header: str
    id: str
    annotation: str
    signer: str | None = None
    recording: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns by which a table of this format is known."""
        return tuple(column for column in (self.id, self.signer, self.annotation) if column)

    @property
    def required(self) -> tuple[str, ...]:
        """The columns that the header must name."""
        return self.id, self.annotation


ANNOTATION_FORMATS = (
    TableFormat("id|video|signer|annotation", "id", "annotation", "signer", ("folder", "video")),
    TableFormat(
        "name|video|start|end|speaker|orth|translation", "name", "orth", "speaker", ("video",)
    ),
    TableFormat("index|name|length|gloss|char|word|postag", "name", "gloss"),
    TableFormat("id|gloss", "id", "gloss"),
    TableFormat(
        "path,participant_id,sequence_id,sign", "sequence_id", "sign", "participant_id", ("path",)
    ),
)

# Columns that mean the same in a table of any format
_SIGNERS, _RECORDINGS = ("signer", "speaker", "participant_id"), ("folder", "video", "path")
_KNOWN_COLUMNS = frozenset(
    name for table in ANNOTATION_FORMATS for name in (*table.columns, *table.recording)
) | {"frames", "split"}


def read_transcript(path: Path) -> list[TranscribedSentence]:
    """Read the sentences of an annotation file in any of the formats above, in file order.

    An empty annotation gives a sentence without glosses; the caller decides what to do with it.
    Raises DataError with file and line when the file is not text, a column is missing, a row has
    too few or too many fields, an id repeats, or a segment is damaged.
    """
    return _read_transcripts({"": path})[""]


def _read_transcripts(paths: Mapping[str, Path]) -> dict[str, list[TranscribedSentence]]:
    """The sentences of the annotation files of one corpus, with the same keys.

    The files share the unit of their columns start and end: a short one may have whole seconds
    only.
    """
    rows = {name: _AnnotationRows(path, name == "test") for name, path in paths.items()}
    unit = unit_without_name(value for table in rows.values() for value in table.unnamed_numbers())
    if not any(table.has_splits for table in rows.values()) or "" in rows:
        return {name: [*table.sentences(unit)] for name, table in rows.items()}
    splits: dict[str, list[TranscribedSentence]] = {split: [] for split in SPLITS}
    for name, table in rows.items():
        for sentence, split in zip(table.sentences(unit), table.splits(name), strict=True):
            splits[split].append(sentence)
    if not splits["train"]:
        raise DataError(
            f"{paths['train']}: its column 'split' puts no sentence into train, but a corpus needs "
            "train sentences"
        )
    return {split: found for split, found in splits.items() if found}


class _AnnotationRows:
    """The rows of an annotation file, and what its columns mean. Raises DataError."""

    def __init__(self, path: Path, without_glosses: bool = False):
        """without_glosses: the file may be a list of ids alone."""
        table = Table(path, _KNOWN_COLUMNS)
        self.format = max(
            ANNOTATION_FORMATS,
            key=lambda known: (
                sum(column in table.header for column in known.columns) / len(known.columns)
            ),
        )
        columns = self.format.required
        if without_glosses and table.header == [self.format.id]:
            columns = (self.format.id,)
        self.has_splits = "split" in table.header
        self._signer_column = next(
            (name for name in (self.format.signer, *_SIGNERS) if name in table.header), None
        )
        self._recordings = [
            name
            for name in dict.fromkeys((*self.format.recording, *_RECORDINGS))
            if name in table.header
        ]
        rows = table.rows(columns, self.format.header)
        self.segments = find_segment_columns(table.header, table.where)
        self._tell_unused(table)
        self.rows: list[tuple[str, dict[str, str]]] = []
        for where, row in rows:
            for name, value in (("id", row[self.format.id]), ("signer", self._signer(row))):
                if not value:
                    raise DataError(f"{where}: the {name} is empty; every sentence needs one")
            self.rows.append((where, row))

    def _tell_unused(self, table: Table) -> None:
        """Print which columns are not used, except those that a table of this format has anyway."""
        used = {self.format.id, self.format.annotation, "frames", "split", self._signer_column}
        used |= {*self._recordings, *re.split("[|,]", self.format.header)}
        if self.segments is not None:
            used |= {self.segments.start, self.segments.end}
        unused = [name for name in table.header if name not in used]
        if unused:
            hint = "" if self.has_splits else " (one that names the splits must be called 'split')"
            names = ", ".join(unused)
            print(printable(f"{table.path}: columns that are not used: {names}{hint}"))

    def unnamed_numbers(self) -> Iterator[tuple[str, str]]:
        """(place, text) of the fields of start and end, where the columns give no unit."""
        columns = self.segments
        if columns is not None and columns.unit == UNNAMED:
            for where, row in self.rows:
                yield where, row[columns.start]
                yield where, row[columns.end]

    def splits(self, name: str) -> Iterator[str]:
        """The split of each row. name: that of the file; a column may divide the file of train."""
        for where, row in self.rows:
            named = row["split"].casefold() if self.has_splits else name
            split = next((one for one, names in SPLIT_NAMES.items() if named in names), None)
            if split is None or (name != "train" and split != name):
                expected = "train, dev or test" if name == "train" else name
                raise DataError(
                    f"{where}: expected {expected} as the split, found {row['split']!r}; correct "
                    "it, or remove the column 'split'"
                )
            yield split

    def sentences(self, unnamed_unit: str) -> Iterator[TranscribedSentence]:
        """The sentences. unnamed_unit: unit of start and end where the columns give none."""
        columns = self.segments
        for where, row in self.rows:
            segment = None
            if columns is not None:
                unit = unnamed_unit if columns.unit == UNNAMED else columns.unit
                segment = read_segment(row[columns.start], row[columns.end], unit, where)
            yield TranscribedSentence(
                row[self.format.id],
                self._signer(row),
                tuple(row.get(self.format.annotation, "").split()),
                frames=None if segment is None else segment.frames,
                recording=next((row[name] for name in self._recordings if row[name]), ""),
                segment=segment,
            )

    def _signer(self, row: dict[str, str]) -> str:
        column = self._signer_column
        return row[column] if column else _signer_of(row[self.format.id])


def _signer_of(id: str) -> str:
    """The signer that an id names: P0003 in CSL-Daily's S000007_P0003_T00, 02 in Isharah's
    02_0001, signer3 in signer3_0001. Other ids, such as clip_0001, name none."""
    csl = re.fullmatch("S[0-9]+_(P[0-9]+)_T[0-9]+", id)
    named = csl or re.match("((?:signer|person|p)?[0-9]+)_", id, re.IGNORECASE)
    return named[1] if named else UNKNOWN_SIGNER


def read_frames(path: Path) -> dict[str, int]:
    """Read the number of frames of each sentence, by id, from a `<split>.frames.csv` (`id|frames`).

    Raises DataError with file and line, as `read_transcript` does, and for a count that is not a
    whole number above 0.
    """
    frames = {}
    for where, row in Table(path, _KNOWN_COLUMNS).rows(("id", "frames"), "id|frames"):
        if not re.fullmatch("[1-9][0-9]{0,8}", row["frames"]):
            raise DataError(
                f"{where}: expected a whole number of frames above 0, found {row['frames']!r}"
            )
        frames[row["id"]] = int(row["frames"])
    return frames


def with_frames(sentences: list[TranscribedSentence], path: Path) -> list[TranscribedSentence]:
    """Return the sentences with their lengths from the frames file `path` (`id|frames`).

    Rows of other sentences are ignored. Raises DataError when the file has no row for a sentence.
    """
    frames = read_frames(path)
    missing = [sentence.id for sentence in sentences if sentence.id not in frames]
    if missing:
        raise DataError(
            f"{path} has no frames for {len(missing)} of {len(sentences)} sentences, "
            f"first {missing[0]!r}: add their rows id|frames"
        )
    return [replace(sentence, frames=frames[sentence.id]) for sentence in sentences]


def read_splits(
    transcripts: Path, frames: Path | None = None, option: str = "--annotations"
) -> dict[str, list[TranscribedSentence]]:
    """Read all splits of a corpus, by name.

    Args:
        transcripts: the train file of any format above; dev and test files in the same folder
            become the other splits, or its column `split` names them. Or the folder of these files,
            also the corpus's own folder with `annotations/manual` in it. Or a csv with another
            name, which becomes the train split.
            CSL-Daily's splits come from split_1.txt; a video that is not in it belongs to train, as
            in other work on this corpus. The test file of a challenge may have no glosses.
        frames: `train.frames.csv`, with the files of the other splits in the same folder; or their
            folder; or one csv with another name for all splits.
        option: what gave `transcripts` on the command line.

    Raises DataError with file and line for a damaged file or an empty annotation, UsageError when
    several files could be meant.
    """
    tables = annotation_files(transcripts, SPLIT_FILES, option)
    if tables["train"].name == CSL_TABLE:
        splits = _csl_splits(tables["train"])
    else:
        splits = _read_transcripts(tables)
    for split, sentences in splits.items():
        if split == "test" and not any(sentence.glosses for sentence in sentences):
            print(
                f"test: {len(sentences):,} sentences without glosses: "
                "they can be predicted, not scored"
            )
            continue
        for sentence in sentences:
            if not sentence.glosses:
                table = tables.get(split, tables["train"])
                raise DataError(
                    f"{table}: the annotation of {sentence.id!r} is empty; "
                    "add its glosses or remove its line"
                )
    _describe_segments(splits)
    named = [(f"{split} sentence {one.id!r}", one) for split in splits for one in splits[split]]
    signers = signer_warning(one.signer for _, one in named)
    for warning in [
        *gloss_warnings((name, one.glosses) for name, one in named),
        *([signers] if signers else []),
    ]:
        print(printable(f"warning: {transcripts}: {warning}"), file=sys.stderr)
    if frames is not None:
        lengths = annotation_files(frames, ("{}.frames.csv",), "--frames")
        shared = lengths["train"] if lengths["train"].name != "train.frames.csv" else None
        for split, sentences in splits.items():
            table = shared or lengths["train"].with_name(f"{split}.frames.csv")
            splits[split] = with_frames(sentences, table)
    return splits


def _describe_segments(splits: dict[str, list[TranscribedSentence]]) -> None:
    """Print how the columns of start and end are understood, where there are any."""
    segments = [s.segment for rows in splits.values() for s in rows if s.segment is not None]
    for unit, meaning in (
        (FRAMES, "frame numbers that count from 0, the end not included"),
        (SECONDS, "seconds from the start of the recording"),
    ):
        count = sum(segment.unit == unit for segment in segments)
        if count:
            print(f"{count:,} sentences are segments of recordings: start and end are {meaning}")


def clean_train(splits: dict[str, list[TranscribedSentence]], annotations: Path) -> None:
    """Clean the train sentences of `splits` in place with `normalize_phoenix2014`.

    Dev and test are references and stay unchanged. annotations: the path for the error message.
    Raises DataError when no gloss of a sentence remains.
    """
    for index, sentence in enumerate(splits["train"]):
        glosses = normalize_phoenix2014(sentence.glosses)
        if not glosses:
            raise DataError(
                f"{annotations}: after the clean-up, {sentence.id!r} in train has no glosses; "
                "remove its line"
            )
        splits["train"][index] = replace(sentence, glosses=glosses)


def keep_fraction(
    sentences: list[TranscribedSentence], fraction: float, seed: int
) -> list[TranscribedSentence]:
    """A random `fraction` (0 to 1) of the sentences, at least one, in their order.

    The choice depends on seed and id only: a smaller fraction is a subset of a larger one.
    """
    count = max(1, round(fraction * len(sentences)))
    kept = {
        sentence.id
        for sentence in sorted(sentences, key=lambda s: key(seed, s.id, "fraction"))[:count]
    }
    return [sentence for sentence in sentences if sentence.id in kept]


def _csl_splits(table: Path) -> dict[str, list[TranscribedSentence]]:
    """CSL-Daily's sentences by split."""
    assignment = table.with_name(CSL_SPLITS)
    if not assignment.is_file():
        raise DataError(
            f"{assignment} is missing: expected the splits of CSL-Daily (name|split) beside "
            f"{table.name}; copy it from the corpus"
        )
    split_of: dict[str, str] = {}
    for where, row in Table(assignment, _KNOWN_COLUMNS).rows(("name", "split"), "name|split"):
        if row["split"] not in SPLITS:
            raise DataError(
                f"{where}: expected one of {', '.join(SPLITS)} as the split, found {row['split']!r}"
            )
        split_of[row["name"]] = row["split"]
    splits: dict[str, list[TranscribedSentence]] = {}
    for sentence in read_transcript(table):
        splits.setdefault(split_of.get(sentence.id, "train"), []).append(sentence)
    if "train" not in splits:
        raise DataError(
            f"{table}: {assignment.name} puts all of its sentences into dev or test, "
            "but a corpus needs train sentences: add their rows"
        )
    return {split: splits[split] for split in SPLITS if split in splits}
