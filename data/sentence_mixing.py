"""Sentences followed by another of the same signer, as augmentation: new neighbours and new
transitions for every gloss."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from data.corpus import Split
from data.keyed_random import generator
from data.transitions import bridge

_BRIDGE_FRAMES = (2, 6)  # between the two sentences, both ends included


class MixedSplit(Split):
    """A split in which some sentences go on with another: same ids and indices, more frames and
    glosses.

    partners: int (N,), the sentence that follows each, -1 for none; gaps: int (N,), frames that
    lead over to it.
    """

    def __init__(self, split: Split, partners: np.ndarray, gaps: np.ndarray):
        self.whole, self.partners, self.gaps = split, partners, gaps
        sentences = list(split.sentences)
        for index in np.flatnonzero(partners >= 0):
            first, second = split.sentences[index], split.sentences[partners[index]]
            sentences[index] = replace(
                first,
                frames=first.frames + int(gaps[index]) + second.frames,
                glosses=first.glosses + second.glosses,
            )
        super().__init__(split.name, sentences, split.landmarks, split.detected)

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Landmarks float16 (T, 543, 3) and detected bool (T, 4) of one sentence with what follows
        it."""
        if self.partners[index] < 0:
            return self.whole.read(index)
        pieces = [
            (self.landmarks[piece], self.detected[piece]) if isinstance(piece, slice) else piece
            for piece in self.pieces(index)
        ]
        return tuple(np.concatenate(arrays) for arrays in zip(*pieces, strict=True))

    def pieces(self, index: int) -> list[slice | tuple[np.ndarray, np.ndarray]]:
        """The sentence and, where one follows it, the frames that lead over and the other sentence."""
        own = self.whole.pieces(index)
        if self.partners[index] < 0:
            return own
        first, second = self.whole.read(index), self.whole.read(self.partners[index])
        landmarks, detected = bridge(first, second, int(self.gaps[index]))
        return [
            *own,
            (landmarks.astype(np.float16), detected),
            *self.whole.pieces(self.partners[index]),
        ]


def mix_sentences(
    split: Split,
    usable: np.ndarray,
    probability: float,
    seed: int,
    epoch: int,
    min_frames: Callable[[Sequence[str]], int],
) -> Split:
    """The split of one epoch: each usable sentence is followed, with the probability, by another of
    the same signer.

    usable: indices of sentences that are trained on; min_frames: fewest frames in which glosses can
    be aligned. Drawn from (seed, epoch, id). No mixed sentence is longer than the longest usable
    one: the partner is drawn from those that are short enough, and a sentence that is too long for
    any stays alone, as does one that would be too short for its glosses together (two sentences
    that just suffice may together not). Fewer sentences are therefore joined than the probability
    says, the fewer the more alike their lengths are.
    """
    if not probability:
        return split
    of_signer = defaultdict(list)
    for index in sorted(usable, key=lambda one: split.lengths[one]):
        of_signer[split.sentences[index].signer].append(int(index))
    lengths = {signer: split.lengths[indices] for signer, indices in of_signer.items()}
    limit = int(split.lengths[usable].max())
    partners, gaps = np.full(len(split), -1), np.zeros(len(split), dtype=np.int64)
    for index in usable:
        sentence = split.sentences[index]
        random = generator(seed, epoch, sentence.id, "mix")
        wanted, gap = (
            random.random() < probability,
            int(random.integers(_BRIDGE_FRAMES[0], _BRIDGE_FRAMES[1] + 1)),
        )
        short_enough = int(
            np.searchsorted(lengths[sentence.signer], limit - gap - sentence.frames, side="right")
        )
        if not wanted or not short_enough:
            continue
        other = of_signer[sentence.signer][int(random.integers(short_enough))]
        frames = sentence.frames + gap + split.sentences[other].frames
        if other != index and frames >= min_frames(
            sentence.glosses + split.sentences[other].glosses
        ):
            partners[index], gaps[index] = other, gap
    return MixedSplit(split, partners, gaps)
