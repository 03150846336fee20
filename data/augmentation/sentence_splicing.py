"""Augmentation that makes a sentence of runs of glosses from several sentences of one signer.

A corpus has few of the possible sentences. A model can learn those by heart, and fail on others. A
spliced sentence has a new order of glosses: a run of its own glosses, and runs of other sentences
of the same signer, with short transitions between them. Rare glosses are drawn more often than
their share.

The corpus must know when its glosses begin and end (data/gloss_times.py).
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from data.augmentation.joined_split import JoinedSplit, LandmarkPair, scaled, shoulder_width
from data.augmentation.transitions import TRANSITION_FRAMES, transition
from data.corpus import Split
from data.gloss_times import UNKNOWN
from data.keyed_random import first_numbers, keys, uniform, whole_number
from data.stored_landmarks import decode

MAX_RUN = 3  # glosses of a run
_NUMBERS_PER_RUN = 2  # which gloss; the length of its run, with the transition that leads to it


class GlossRun(NamedTuple):
    """Consecutive glosses of a sentence, and the transition that leads to them.

    sentence: the index of the sentence in the split. first, end: the glosses `first` to `end` - 1.
    start, stop: the frames `start` to `stop` - 1 of the sentence. gap: frames of the transition, 0
    for the first run.
    """

    sentence: int
    first: int
    end: int
    start: int
    stop: int
    gap: int


class SplicedSplit(JoinedSplit):
    """A split in which some sentences are made of runs. The first run is of the sentence itself.

    Every run has the shoulder width of the sentence whose place it takes.

    runs: the runs of each spliced sentence, by its index.
    """

    def __init__(
        self,
        original: Split,
        runs: Mapping[int, Sequence[GlossRun]],
        aspect_ratio: float,
        widths: dict[int, float] | None = None,
    ):
        """
        Args:
            original: a split without joined sentences.
            runs: see above.
            aspect_ratio: image width / height of the corpus.
            widths: shoulder widths of sentences that are known already, by index; the others are
                added when they are needed.
        """
        self.runs, self.aspect_ratio = runs, aspect_ratio
        self._widths = {} if widths is None else widths
        joined = {
            index: replace(
                original.sentences[index],
                frames=_frames(chosen),
                glosses=_glosses(original, chosen),
            )
            for index, chosen in runs.items()
        }
        super().__init__(original, joined)

    def _segments(self, index: int) -> list[slice | LandmarkPair]:
        segments: list[slice | LandmarkPair] = []
        before: LandmarkPair | None = None
        for run in self.runs[index]:
            offset = int(self.original.offsets[run.sentence])
            rows = slice(offset + run.start, offset + run.stop)
            detected = self.detected[rows]
            recording = decode(self.landmarks[rows], detected), detected
            larger = None
            if run.sentence != index:
                larger = scaled(recording, self._width(index) / self._width(run.sentence))
            if before is not None:
                segments.append(transition(before, larger or recording, run.gap))
            segments.append(larger or rows)
            before = larger or recording
        return segments

    def _width(self, sentence: int) -> float:
        if sentence not in self._widths:
            recording = self.original.read(sentence)
            self._widths[sentence] = shoulder_width(*recording, self.aspect_ratio)
        return self._widths[sentence]


def _frames(runs: Sequence[GlossRun]) -> int:
    return sum(run.gap + run.stop - run.start for run in runs)


def _glosses(split: Split, runs: Sequence[GlossRun]) -> tuple[str, ...]:
    return tuple(
        gloss
        for run in runs
        for gloss in split.sentences[run.sentence].glosses[run.first : run.end]
    )


class Splicer:
    """Draws the spliced sentences of each epoch of one split."""

    def __init__(self, split: Split, usable: np.ndarray, aspect_ratio: float):
        """
        Args:
            split: the train split, with gloss times.
            usable: int (M,), the indices of the sentences that are trained on.
            aspect_ratio: image width / height of the corpus.
        """
        self._split, self._aspect_ratio = split, aspect_ratio
        self._widths: dict[int, float] = {}
        self._longest = int(split.lengths[usable].max()) if len(usable) else 0
        places = [
            (index, place)
            for index in usable.tolist()
            if split.sentences[index].signer_is_known
            for place in np.flatnonzero(_known(split, index)).tolist()
        ]
        self.sentences = list(dict.fromkeys(index for index, _ in places))
        names = [split.sentences[index].glosses[place] for index, place in places]
        counts = Counter(names)
        self._places: dict[str, list[tuple[int, int]]] = defaultdict(list)  # of each signer
        weights: dict[str, list[float]] = defaultdict(list)
        for (index, place), name in zip(places, names, strict=True):
            signer = split.sentences[index].signer
            self._places[signer].append((index, place))
            weights[signer].append(counts[name] ** -0.5)
        self._shares = {
            signer: np.cumsum(values) / np.sum(values) for signer, values in weights.items()
        }

    def splice(
        self,
        probability: float,
        seed: int,
        epoch: int,
        min_frames: Callable[[Sequence[str]], int],
    ) -> Split:
        """The split of an epoch, in which some sentences are spliced.

        Every draw is keyed by (seed, epoch, sentence id). A spliced sentence has as many glosses as
        the sentence had, or fewer where it would be longer than the longest sentence. A sentence
        stays as it is in three cases: its signer is not known, its gloss times are not known, or
        CTC needs more frames than the spliced sentence has.

        Args:
            probability: of a sentence to be spliced; 0 returns the split itself.
            seed, epoch: keys of the draws.
            min_frames: gives the fewest frames in which CTC can align glosses.
        """
        if not probability:
            return self._split
        sentences = [self._split.sentences[index] for index in self.sentences]
        ids = keys((seed, epoch), [sentence.id for sentence in sentences], ("splice",))
        counts = [1 + _NUMBERS_PER_RUN * len(sentence.glosses) for sentence in sentences]
        numbers = np.split(first_numbers(ids, counts), np.cumsum(counts)[:-1])
        spliced = {}
        for index, drawn in zip(self.sentences, numbers, strict=True):
            if uniform(drawn[:1])[0] < probability:
                runs = self._draw_runs(index, drawn[1:].reshape(-1, _NUMBERS_PER_RUN))
                if _frames(runs) >= min_frames(_glosses(self._split, runs)):
                    spliced[index] = runs
        return SplicedSplit(self._split, spliced, self._aspect_ratio, self._widths)

    def _draw_runs(self, index: int, numbers: np.ndarray) -> list[GlossRun]:
        """The runs of a spliced sentence. numbers: uint64 (glosses of the sentence, 2)."""
        sentence = self._split.sentences[index]
        own = np.flatnonzero(_known(self._split, index))
        places, shares = self._places[sentence.signer], self._shares[sentence.signer]
        which = uniform(numbers[:, 0])
        longest = 1 + whole_number(numbers[:, 1], MAX_RUN)
        low, high = TRANSITION_FRAMES
        gaps = low + whole_number(numbers[:, 1], high - low + 1, second=True)
        runs: list[GlossRun] = []
        missing = len(sentence.glosses)
        for share, length, gap in zip(which, longest.tolist(), gaps.tolist(), strict=True):
            if not runs:
                source, first, gap = index, int(own[int(share * len(own))]), 0
            else:
                chosen = min(int(np.searchsorted(shares, share, side="right")), len(places) - 1)
                source, first = places[chosen]
            run = self._run(source, first, min(length, missing), gap)
            if runs and _frames([*runs, run]) > self._longest:
                break
            runs.append(run)
            missing -= run.end - run.first
            if not missing:
                break
        return runs

    def _run(self, source: int, first: int, length: int, gap: int) -> GlossRun:
        """The run of up to `length` glosses of the sentence `source` from the gloss `first` on."""
        times = self._split.times_of(source)
        assert times is not None, "the split has gloss times"
        known = _known(self._split, source)[first : first + length]
        end = first + (len(known) if known.all() else int(known.argmin()))
        start, stop = int(times[first, 0]), int(times[first:end, 1].max())
        return GlossRun(source, first, end, start, stop, gap)


def _known(split: Split, index: int) -> np.ndarray:
    """Which glosses of a sentence have known times, bool (glosses,)."""
    times = split.times_of(index)
    if times is None:
        return np.zeros(len(split.sentences[index].glosses), dtype=bool)
    known: np.ndarray = times[:, 0] != UNKNOWN
    return known
