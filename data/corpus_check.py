"""Check that a corpus folder is undamaged and that a teacher can learn from it.

The check reads the corpus once, sentence by sentence.

Problems, each of which makes the corpus broken:
- a file that cannot be read, or whose SHA-256 differs from corpus.json;
- landmarks that are NaN, infinite or very far outside the image;
- landmarks that are not those of a signer in an image (data/checks/plausibility.py);
- a part whose `detected` contradicts its landmarks;
- a sentence without frames or with an empty annotation;
- a sentence that CTC cannot align;
- a recording in two splits: the same landmarks;
- a split without sentences, or no split `train`.

Warnings:
- glosses of dev or test that are not in train;
- an id in two splits: in many corpora, each split counts its sentences from 1;
- signers whose names differ only in case or white space;
- the same landmarks twice in one split;
- a sentence in which nothing, no pose or no hand was detected;
- landmarks of a few sentences that are outside the image or not in their order;
- a sentence in which the landmarks jump to another person.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data.checks.file_hash import sha256_of
from data.checks.plausibility import Plausibility, find_extremes
from data.checks.signer_names import signer_warning
from data.checks.small_corpus import small_corpus_advice
from data.checks.tracking_jumps import jump_warning
from data.checks.unseen_sentences import unseen_kind, unseen_text
from data.corpus import Corpus, Split
from data.ctc_lengths import ctc_steps
from data.landmarks import PART_SLICES, PARTS
from errors import DataError, counted, shown_names
from progress_bar import ProgressBar

MAX_LINES = 20  # printed lines per kind of problem; the others are only counted
# fmt: off
COLUMNS = ["split", "sentences", "frames", "hours", "shortest", "mean", "longest", "signers",
           "glosses", "tokens", "OOV", *(f"{part.replace('_', ' ')} seen" for part in PARTS)]
# fmt: on
_ROUND_WIDTHS = [base * 10**power for power in range(9) for base in (1, 2, 5)]  # of histogram bins
_LARGE = 3.0  # up to here no value is outside the range


@dataclass
class SplitStatistics:
    """The numbers of one split, for the table of the report.

    lengths: frames of the shortest, the mean and the longest sentence.
    glosses: number of different glosses; tokens: number of all glosses.
    unknown: glosses that are not in train, and how often each occurs.
    extremes: texts that name the shortest sentence, the longest, and the one with the fewest spare
        steps for CTC.
    histogram: a text that says how many sentences have how many frames.
    detected: share of the frames in which each part was detected, 0 to 1.
    """

    sentences: int
    frames: int
    lengths: tuple[int, float, int]
    signers: int
    glosses: int
    tokens: int
    unknown: Counter[str]
    extremes: tuple[str, str, str] = ("", "", "")
    histogram: str = ""
    detected: tuple[float, ...] = (0.0,) * len(PARTS)


@dataclass
class CorpusReport:
    """The result of `check_corpus`.

    description: name and origin of the corpus. fps: frames per second.
    splits: statistics of each split.
    problems, warnings: lines of text by kind of problem.
    """

    description: str = ""
    fps: float = 1.0
    splits: dict[str, SplitStatistics] = field(default_factory=dict)
    problems: dict[str, list[str]] = field(default_factory=dict)
    warnings: dict[str, list[str]] = field(default_factory=dict)

    @property
    def problem_count(self) -> int:
        """Number of problems of all kinds; 0 if the corpus is ok."""
        return sum(map(len, self.problems.values()))

    def problem(self, kind: str, line: str) -> None:
        """Add a problem."""
        self.problems.setdefault(kind, []).append(line)

    def warning(self, kind: str, line: str) -> None:
        """Add a warning."""
        self.warnings.setdefault(kind, []).append(line)

    def lines(self) -> Iterator[str]:
        """The lines to print: the table, notes, warnings, problems, and "ok" or "broken"."""
        if self.splits:
            yield f"{self.description}, {self.fps:g} frames/s"
            rows = self.table()
            widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
            for row in rows:
                yield "  ".join(
                    cell.ljust(width) if column == 0 else cell.rjust(width)
                    for column, (cell, width) in enumerate(zip(row, widths, strict=True))
                )
            yield from self.notes()
        for title, found in (("warning", self.warnings), ("problem", self.problems)):
            for kind, lines in found.items():
                yield from (f"{title}: {line}" for line in lines[:MAX_LINES])
                if len(lines) > MAX_LINES:
                    yield f"{title}: ... and {len(lines) - MAX_LINES} more of this kind ({kind})"
        count = self.problem_count
        yield "ok" if count == 0 else f"broken: {count} problem{'s' if count > 1 else ''}"

    def table(self) -> list[list[str]]:
        """The cells of the table: a row of titles, then one row per split."""
        rows = [COLUMNS]
        for name, split in self.splits.items():
            shortest, mean, longest = split.lengths
            rows.append(
                [
                    name,
                    f"{split.sentences:,}",
                    f"{split.frames:,}",
                    f"{split.frames / self.fps / 3600:.2f}",
                ]
                + [
                    f"{shortest:,}",
                    f"{mean:.1f}",
                    f"{longest:,}",
                    f"{split.signers:,}",
                    f"{split.glosses:,}",
                ]
                + [f"{split.tokens:,}", "-" if name == "train" else f"{split.unknown.total():,}"]
                + [f"{100 * share:.1f} %" for share in split.detected]
            )
        return rows

    def notes(self) -> Iterator[str]:
        """Two lines per split: its shortest, longest and tightest sentence, and its lengths. Advice
        for a small train split."""
        for name, split in self.splits.items():
            if split.sentences:
                shortest, longest, tightest = split.extremes
                yield (
                    f"{name}: shortest {shortest}, longest {longest}; "
                    f"fewest spare CTC steps in {tightest}"
                )
                yield f"{name} sentences by frames: {split.histogram}"
        train = self.splits.get("train")
        if train is not None and (advice := small_corpus_advice(train.sentences)):
            yield advice


def _histogram(lengths: np.ndarray) -> str:
    """Sentences by frames, in at most ten bins of one round width: '0-49: 3, 50-99: 12'."""
    width = next(width for width in _ROUND_WIDTHS if lengths.max() < 10 * width)
    counts = np.bincount(lengths // width)
    return ", ".join(
        f"{index * width}-{(index + 1) * width - 1}: {count:,}"
        for index, count in enumerate(counts)
        if count
    )


def check_corpus(path: Path, progress: bool = False) -> CorpusReport:
    """Check a corpus folder. All problems are in the report; none is raised as an error.

    path: the folder. progress: show a progress bar.
    """
    report = CorpusReport()
    try:
        corpus = Corpus(path)
    except DataError as error:
        report.problem("unreadable", str(error))
        return report
    report.description, report.fps = corpus.describe(), corpus.fps
    for name, split in corpus.splits.items():
        _check_hashes(corpus, name, report)
        if len(split) == 0:
            report.problem("empty", f"split '{name}' has no sentences")
    if "train" not in corpus.splits:
        report.problem("no train", "there is no split 'train': a vocabulary cannot be made")
    _check_annotations(corpus, report)
    frames = sum(int(split.offsets[-1]) for split in corpus.splits.values())
    with (
        np.errstate(invalid="ignore"),  # damaged landmarks are in the report
        ProgressBar("check", frames, "frame", progress) as bar,
    ):
        first_seen: dict[bytes, tuple[str, str]] = {}
        for name, split in corpus.splits.items():
            if len(split):
                report.splits[name].detected = _check_recordings(
                    name, split, corpus.aspect_ratio, first_seen, report, bar
                )
    return report


def _check_hashes(corpus: Corpus, name: str, report: CorpusReport) -> None:
    """Compare the SHA-256 of each file of a split with corpus.json."""
    expected = corpus.facts["splits"][name].get("sha256")
    for file in corpus.files(name):
        recorded = expected.get(file) if isinstance(expected, dict) else None
        if recorded is None:
            report.problem("hash", f"corpus.json has no SHA-256 of {file}")
        elif recorded != sha256_of(corpus.path / file):
            report.problem("hash", f"{file} was changed: its SHA-256 differs from corpus.json")


def _check_annotations(corpus: Corpus, report: CorpusReport) -> None:
    """Check the csv files, and make the statistics of each split."""
    train = corpus.splits.get("train")
    known = (
        {gloss for sentence in train.sentences for gloss in sentence.glosses} if train else set()
    )
    split_of: dict[str, str] = {}
    shared: list[str] = []
    for name, split in corpus.splits.items():
        tokens = Counter(gloss for sentence in split.sentences for gloss in sentence.glosses)
        unknown = Counter({gloss: count for gloss, count in tokens.items() if gloss not in known})
        lengths = split.lengths if len(split) else np.zeros(1, dtype=np.int64)
        report.splits[name] = SplitStatistics(
            sentences=len(split),
            frames=int(split.offsets[-1]),
            lengths=(int(lengths.min()), float(lengths.mean()), int(lengths.max())),
            signers=len({sentence.signer for sentence in split.sentences}),
            glosses=len(tokens),
            tokens=tokens.total(),
            unknown=unknown,
        )
        if len(split):
            report.splits[name].extremes = _extremes(split)
            report.splits[name].histogram = _histogram(split.lengths)
        if unknown and train:
            report.warning(
                "OOV",
                f"split '{name}' has {len(unknown)} glosses ({unknown.total()} of "
                f"{tokens.total()} tokens) that are not in train; each token is an error in WER: "
                f"{shown_names(sorted(unknown))}",
            )
        to_predict = name == "test" and not tokens
        if to_predict and len(split):
            report.warning("no glosses", "split 'test' has no glosses: it can be predicted only")
        steps_of, required_of = ctc_steps(split.lengths), split.required_steps
        for sentence, steps, required in zip(split.sentences, steps_of, required_of, strict=True):
            where = f"{name} sentence {sentence.id!r}"
            if not sentence.frames:
                report.problem("no frames", f"{where} has no frames")
            elif not sentence.glosses and not to_predict:
                report.problem("empty annotation", f"{where} has an empty annotation")
            elif steps < required:
                report.problem(
                    "alignment",
                    f"{where} cannot be aligned: it has {counted(steps, 'step')} "
                    f"({counted(sentence.frames, 'frame')}), its "
                    f"{counted(len(sentence.glosses), 'gloss')} need {required}",
                )
            if split_of.setdefault(sentence.id, name) != name:
                shared.append(f"{where} is in split '{split_of[sentence.id]}' too")
    sentences = (one for split in corpus.splits.values() for one in split.sentences)
    if alike := signer_warning(one.signer for one in sentences):
        report.warning("signer names", alike)
    if shared:
        more = f" (and {len(shared) - 1} more)" if len(shared) > 1 else ""
        report.warning("shared id", f"{shared[0]}{more}: other recordings should have other ids")


def _extremes(split: Split) -> tuple[str, str, str]:
    """The texts of `SplitStatistics.extremes`."""
    shortest, longest = (
        split.sentences[int(split.lengths.argmin())],
        split.sentences[int(split.lengths.argmax())],
    )
    steps = ctc_steps(split.lengths)
    needed = split.required_steps
    tightest = int((steps - needed).argmin())
    return (
        f"{shortest.id!r} ({shortest.frames:,})",
        f"{longest.id!r} ({longest.frames:,})",
        f"{split.sentences[tightest].id!r}: {steps[tightest]} steps, {needed[tightest]} needed",
    )


def _check_recordings(
    name: str,
    split: Split,
    aspect_ratio: float,
    first_seen: dict[bytes, tuple[str, str]],
    report: CorpusReport,
    bar: ProgressBar,
) -> tuple[float, ...]:
    """Check the landmarks of every sentence of a split.

    Args:
        name, split: the split.
        aspect_ratio: image width / height.
        first_seen: split and id of the first sentence with each SHA-1 of landmarks; extended here.
        report: gets the problems.
        bar: progress in frames.

    Returns the share of frames in which each part was detected.
    """
    detected_frames = np.zeros(len(PARTS), dtype=np.int64)
    plausibility = Plausibility()
    for index, sentence in enumerate(split.sentences):
        where = f"{name} sentence {sentence.id!r}"
        landmarks, detected = split.read(index)
        if len(landmarks) == 0:
            continue
        landmarks = landmarks.astype(np.float32, copy=False)
        largest = max(float(landmarks.max()), -float(landmarks.min()))  # NaN if one is NaN
        if not math.isfinite(largest):
            report.problem(
                "not finite",
                f"{where} has NaN or infinite landmarks in {_frames(~np.isfinite(landmarks))}",
            )
        else:
            if largest > _LARGE:
                _check_range(where, landmarks, report)
            jump = jump_warning(landmarks, detected, aspect_ratio)
            if jump is not None:
                report.warning("jump", f"{where}: {jump}")
            plausibility.add(sentence.id, landmarks, detected)
        filled = np.stack(
            [landmarks[:, PART_SLICES[part]].any(axis=(1, 2)) for part in PARTS], axis=1
        )
        for column, part in enumerate(PARTS):
            undetected = filled[:, column] & ~detected[:, column]
            if undetected.any():
                report.problem(
                    "not detected",
                    f"{where}: {part} is not detected but not zero in {_frames(undetected)}",
                )
            empty = detected[:, column] & ~filled[:, column]
            if empty.any():
                report.problem(
                    "all zero", f"{where}: {part} is detected but all zero in {_frames(empty)}"
                )
        detected_frames += detected.sum(axis=0)
        if filled.any():
            digest = hashlib.sha1(split.stored(index)[0].data, usedforsecurity=False).digest()
            other_split, other = first_seen.setdefault(digest, (name, sentence.id))
            if other_split != name:
                report.problem(
                    "shared recording",
                    f"{where} has the landmarks of {other_split} sentence {other!r}",
                )
            elif other != sentence.id:
                report.warning(
                    "repeated recording",
                    f"{where} has the landmarks of {other!r} in the same split",
                )
        unseen = unseen_kind(np.any(detected, axis=0, keepdims=True)[0])
        if unseen is not None:
            report.warning(unseen, f"{where}: {unseen_text(unseen, sentence.frames)}")
        bar.update(sentence.frames)
    for finding in plausibility.findings():
        add = report.problem if finding.is_error else report.warning
        add("implausible", f"split '{name}' {finding.text}")
    return tuple(detected_frames / max(1, int(split.offsets[-1])))


def _check_range(where: str, landmarks: np.ndarray, report: CorpusReport) -> None:
    """Report x and y far outside the image. landmarks: (T, 543, 3)."""
    extreme = find_extremes(landmarks)
    if extreme is not None:
        add = report.problem if extreme.is_error else report.warning
        add("range", f"{where} {extreme.text}")


def _frames(marked: np.ndarray) -> str:
    """The frames in which a mask (T, ...) is set: 'frame 3', or '12 frames from 3 on'."""
    frames = np.flatnonzero(marked.reshape(len(marked), -1).any(axis=1))
    return f"frame {frames[0]}" if len(frames) == 1 else f"{len(frames)} frames from {frames[0]} on"
