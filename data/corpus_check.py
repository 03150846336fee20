"""Is a corpus folder whole, and can a teacher learn from it? Reads all of it once, in pieces of
bounded memory.

Problems (the corpus is broken): a file whose SHA-256 is not that of corpus.json or that cannot be
read at all, values that are NaN, infinite or far outside the image, parts whose `detected`
contradicts their landmarks, an empty annotation, a sentence that CTC cannot align, a sentence in
two splits (its id, or its landmarks). Warnings: glosses that train never shows, the same landmarks
twice in one split, sentences in which nothing was detected.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data.corpus import Corpus, Split, sha256_of, split_files
from data.ctc_lengths import TIME_STRIDE, required_steps
from data.landmarks import PART_SLICES, PARTS
from errors import DataError

# X and y outside are no place that a part of a body in the image can have
COORDINATE_RANGE = (-3.0, 4.0)
# Of the histogram's steps
ROUND_WIDTHS = [base * 10**power for power in range(9) for base in (1, 2, 5)]
MAX_LINES_PER_KIND = 20  # lines of one kind of problem before the rest is only counted
TITLES = [
    "split",
    "sentences",
    "frames",
    "hours",
    "shortest",
    "mean",
    "longest",
    "signers",
    "glosses",
    "tokens",
    "OOV",
]
TITLES += [f"{part.replace('_', ' ')} seen" for part in PARTS]
_INFINITE = 0x7C00  # float16 bits of infinity; NaN is above, every number below
_LARGE = int(np.float16(3.0).view(np.uint16))


@dataclass
class SplitFacts:
    """What one split holds, for the table."""

    sentences: int
    frames: int
    lengths: tuple[int, float, int]  # shortest, mean and longest sentence, in frames
    signers: int
    glosses: int  # different ones
    tokens: int  # all of them
    unknown: Counter  # glosses that train does not have, with how often they come up
    notable: tuple[str, str, str] = (
        "",
        "",
        "",
    )  # the shortest, the longest and, for CTC, the tightest sentence, in words
    histogram: str = ""  # how many sentences have how many frames
    # Share of frames in which each part was detected
    detected: tuple[float, ...] = (0.0,) * len(PARTS)


@dataclass
class CorpusReport:
    """Outcome of `check_corpus`. `problems` and `warnings` map a kind to its lines."""

    description: str = ""
    fps: float = 1.0
    splits: dict[str, SplitFacts] = field(default_factory=dict)
    problems: dict[str, list[str]] = field(default_factory=dict)
    warnings: dict[str, list[str]] = field(default_factory=dict)

    @property
    def problem_count(self) -> int:
        return sum(map(len, self.problems.values()))

    def problem(self, kind: str, line: str) -> None:
        self.problems.setdefault(kind, []).append(line)

    def warning(self, kind: str, line: str) -> None:
        self.warnings.setdefault(kind, []).append(line)

    def lines(self) -> Iterator[str]:
        """The report as it is printed: table, warnings, problems, verdict."""
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
                yield from (f"{title}: {line}" for line in lines[:MAX_LINES_PER_KIND])
                if len(lines) > MAX_LINES_PER_KIND:
                    yield f"{title}: ... and {len(lines) - MAX_LINES_PER_KIND} more of this kind ({kind})"
        count = self.problem_count
        yield "ok" if count == 0 else f"broken: {count} problem{'s' if count > 1 else ''}"

    def table(self) -> list[list[str]]:
        """The cells of the table, titles first, one row a split."""
        rows = [TITLES]
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
        """Each split's shortest, longest and tightest sentence, and how its lengths spread."""
        for name, split in self.splits.items():
            if split.sentences:
                shortest, longest, tightest = split.notable
                yield f"{name}: shortest {shortest}, longest {longest}; CTC is tightest in {tightest}"
                yield f"{name} sentences by frames: {split.histogram}"


def _histogram(lengths: np.ndarray) -> str:
    """'0-49: 3, 50-99: 12': sentences by frames, in at most ten steps of one round width."""
    width = next(width for width in ROUND_WIDTHS if lengths.max() < 10 * width)
    counts = np.bincount(lengths // width)
    return ", ".join(
        f"{step * width}-{(step + 1) * width - 1}: {count:,}"
        for step, count in enumerate(counts)
        if count
    )


def check_corpus(path: Path, progress: bool = False) -> CorpusReport:
    """Check a corpus folder; raises nothing for what is wrong with it, the report says it."""
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
    with tqdm(
        total=frames,
        desc="check",
        unit="frame",
        unit_scale=True,
        disable=None if progress else True,
    ) as bar:
        first_seen: dict[bytes, tuple[str, str]] = {}
        for name, split in corpus.splits.items():
            if len(split):
                report.splits[name].detected = _check_recordings(
                    name, split, first_seen, report, bar
                )
    return report


def _check_hashes(corpus: Corpus, name: str, report: CorpusReport) -> None:
    expected = corpus.facts["splits"][name].get("sha256")
    for file in split_files(name):
        said = expected.get(file) if isinstance(expected, dict) else None
        if said is None:
            report.problem("hash", f"corpus.json has no SHA-256 of {file}")
        elif said != sha256_of(corpus.path / file):
            report.problem(
                "hash",
                f"{file} is not the file that was written: its SHA-256 differs from corpus.json's",
            )


def _check_annotations(corpus: Corpus, report: CorpusReport) -> None:
    """Everything that the csv files tell, and the facts of each split that come from them."""
    train = corpus.splits.get("train")
    known = (
        {gloss for sentence in train.sentences for gloss in sentence.glosses} if train else set()
    )
    split_of: dict[str, str] = {}
    for name, split in corpus.splits.items():
        tokens = Counter(gloss for sentence in split.sentences for gloss in sentence.glosses)
        unknown = Counter({gloss: count for gloss, count in tokens.items() if gloss not in known})
        report.splits[name] = SplitFacts(
            sentences=len(split),
            frames=int(split.offsets[-1]),
            lengths=(
                int(split.lengths.min()),
                float(split.lengths.mean()),
                int(split.lengths.max()),
            )
            if len(split)
            else (0, 0.0, 0),
            signers=len({sentence.signer for sentence in split.sentences}),
            glosses=len(tokens),
            tokens=tokens.total(),
            unknown=unknown,
        )
        if len(split):
            report.splits[name].notable = _notable(split)
            report.splits[name].histogram = _histogram(split.lengths)
        if unknown and train:
            report.warning(
                "OOV",
                f"split '{name}' has {len(unknown)} glosses ({unknown.total()} of {tokens.total()} tokens) that train never "
                f"shows, each an error in WER: {_some(sorted(unknown))}",
            )
        for sentence in split.sentences:
            where = f"{name} sentence {sentence.id!r}"
            steps, required = -(-sentence.frames // TIME_STRIDE), required_steps(sentence.glosses)
            if not sentence.frames:
                report.problem("no frames", f"{where} has no frames")
            elif not sentence.glosses:
                report.problem("empty annotation", f"{where} has an empty annotation")
            elif steps < required:
                report.problem(
                    "alignment",
                    f"{where} cannot be aligned: {sentence.frames} frames give {steps} steps, "
                    f"its {len(sentence.glosses)} glosses need {required}",
                )
            if split_of.setdefault(sentence.id, name) != name:
                report.problem("shared id", f"{where} is in split '{split_of[sentence.id]}' too")


def _notable(split: Split) -> tuple[str, str, str]:
    shortest, longest = (
        split.sentences[int(split.lengths.argmin())],
        split.sentences[int(split.lengths.argmax())],
    )
    steps = -(-split.lengths // TIME_STRIDE)
    needed = np.array([required_steps(sentence.glosses) for sentence in split.sentences])
    tight = int((steps - needed).argmin())
    return (
        f"{shortest.id!r} ({shortest.frames:,})",
        f"{longest.id!r} ({longest.frames:,})",
        f"{split.sentences[tight].id!r}: {steps[tight]} steps, {needed[tight]} needed",
    )


def _check_recordings(
    name: str,
    split: Split,
    first_seen: dict[bytes, tuple[str, str]],
    report: CorpusReport,
    bar: tqdm,
) -> tuple[float, ...]:
    """Values of every sentence; returns the share of frames in which each part was detected."""
    seen = np.zeros(len(PARTS), dtype=np.int64)
    for index, sentence in enumerate(split.sentences):
        where = f"{name} sentence {sentence.id!r}"
        landmarks, detected = split.read(index)
        if len(landmarks) == 0:
            continue
        # Float16 without its sign: ordered as the numbers are
        magnitude = landmarks.view(np.uint16) & 0x7FFF
        largest = int(magnitude.max())
        if largest >= _INFINITE:
            report.problem(
                "not finite",
                f"{where} has NaN or infinite landmarks in {_frames(magnitude >= _INFINITE)}",
            )
        elif largest > _LARGE:
            _check_range(where, landmarks, report)
        filled = np.stack(
            [magnitude[:, PART_SLICES[part]].any(axis=(1, 2)) for part in PARTS], axis=1
        )
        for column, part in enumerate(PARTS):
            if (filled[:, column] & ~detected[:, column]).any():
                where_filled = _frames(filled[:, column] & ~detected[:, column])
                report.problem(
                    "not detected",
                    f"{where}: {part} is not detected but not zero in {where_filled}",
                )
            if (detected[:, column] & ~filled[:, column]).any():
                where_zero = _frames(detected[:, column] & ~filled[:, column])
                report.problem(
                    "all zero", f"{where}: {part} is detected but all zero in {where_zero}"
                )
        seen += detected.sum(axis=0)
        if filled.any():
            digest = hashlib.sha1(landmarks, usedforsecurity=False).digest()
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
        else:
            report.warning(
                "nothing detected",
                f"{where}: nothing was detected in any of its {sentence.frames} frames",
            )
        bar.update(sentence.frames)
    return tuple(seen / max(1, int(split.offsets[-1])))


def _check_range(where: str, landmarks: np.ndarray, report: CorpusReport) -> None:
    low, high = COORDINATE_RANGE
    image = landmarks[..., :2]
    outside = (image < low) | (image > high)
    if outside.any():
        worst = image[outside][np.abs(image[outside].astype(np.float32)).argmax()]
        report.problem(
            "range",
            f"{where} has x or y far outside the image ({worst:.3g}, expected {low:g} to {high:g}) in {_frames(outside)}",
        )


def _frames(marked: np.ndarray) -> str:
    """'frame 3', or '12 frames from 3 on': where anything of a (T, ...) mask is set."""
    frames = np.flatnonzero(marked.reshape(len(marked), -1).any(axis=1))
    return f"frame {frames[0]}" if len(frames) == 1 else f"{len(frames)} frames from {frames[0]} on"


def _some(names: list[str], count: int = 10) -> str:
    return ", ".join(names[:count]) + (
        f", ... ({len(names) - count} more)" if len(names) > count else ""
    )
