"""Augmentation that joins two sentences of the same signer into one.

Every gloss gets new neighbours, and new transitions lead into it and out of it.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from data.corpus import Split
from data.keyed_random import generator
from data.stored_landmarks import decode
from data.transitions import transition

_TRANSITION_FRAMES = (2, 6)  # range of the transition between the sentences, both ends included


class MixedSplit(Split):
    """A split in which some sentences are followed by a second sentence, their partner.

    Ids and indices are those of the original split. A joined sentence has the frames of the
    original sentence, then the frames of a transition, then the frames of the partner, and the
    glosses of both sentences.

    original: the split of single sentences.
    partners: int (N,), the index of the sentence that follows each sentence, -1 for none.
    transition_lengths: int (N,), the frames of the transition between the two.
    """

    def __init__(self, original: Split, partners: np.ndarray, transition_lengths: np.ndarray):
        self.original, self.partners = original, partners
        self.transition_lengths = transition_lengths
        sentences = list(original.sentences)
        for index in np.flatnonzero(partners >= 0):
            first, second = original.sentences[index], original.sentences[partners[index]]
            sentences[index] = replace(
                first,
                frames=first.frames + int(transition_lengths[index]) + second.frames,
                glosses=first.glosses + second.glosses,
            )
        super().__init__(original.name, sentences, original.landmarks, original.detected)

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Landmarks float (T, 543, 3) and detected bool (T, 4) of one sentence."""
        if self.partners[index] < 0:
            return self.original.read(index)
        _, stored, seen = zip(*self.stored_segments(index), strict=True)
        detected = np.concatenate(seen)
        return decode(np.concatenate(stored), detected), detected

    def segments(self, index: int) -> list[slice | tuple[np.ndarray, np.ndarray]]:
        """The segments of one sentence: itself and, if joined, the transition and the partner."""
        sentence = self.original.segments(index)
        partner = self.partners[index]
        if partner < 0:
            return sentence
        landmarks, detected = transition(
            self.original.read(index),
            self.original.read(partner),
            int(self.transition_lengths[index]),
        )
        return [*sentence, (landmarks, detected), *self.original.segments(partner)]


def mix_sentences(
    split: Split,
    usable: np.ndarray,
    probability: float,
    seed: int,
    epoch: int,
    min_frames: Callable[[Sequence[str]], int],
) -> Split:
    """Draw which sentences of an epoch are followed by another sentence of the same signer.

    Every draw is keyed by (seed, epoch, sentence id).

    No joined sentence is longer than the longest usable sentence: the partner is drawn from the
    sentences that are short enough. A sentence stays single in three cases: no partner is short
    enough, it draws itself, or the joined sentence has fewer frames than CTC needs for its glosses.
    (Two sentences can have just enough frames separately, and too few together.) Therefore the
    share of joined sentences is below `probability`. It is lowest when all lengths are similar.

    Args:
        split: the train split.
        usable: int (M,), the indices of the sentences that are trained on.
        probability: of a sentence to be followed by another; 0 returns `split` itself.
        seed, epoch: keys of the draws.
        min_frames: gives the fewest frames in which CTC can align glosses.
    """
    if not probability:
        return split
    by_signer = defaultdict(list)  # the usable sentences of each signer, shortest first
    for index in sorted(usable, key=lambda usable_index: split.lengths[usable_index]):
        by_signer[split.sentences[index].signer].append(int(index))
    lengths = {signer: split.lengths[indices] for signer, indices in by_signer.items()}
    longest = int(split.lengths[usable].max())
    partners = np.full(len(split), -1)
    transition_lengths = np.zeros(len(split), dtype=np.int64)
    for index in usable:
        sentence = split.sentences[index]
        random = generator(seed, epoch, sentence.id, "mix")
        wanted = random.random() < probability
        between = int(random.integers(_TRANSITION_FRAMES[0], _TRANSITION_FRAMES[1] + 1))
        room = longest - between - sentence.frames
        candidates = int(np.searchsorted(lengths[sentence.signer], room, side="right"))
        if not wanted or not candidates:
            continue
        partner = by_signer[sentence.signer][int(random.integers(candidates))]
        other = split.sentences[partner]
        frames = sentence.frames + between + other.frames
        if partner != index and frames >= min_frames(sentence.glosses + other.glosses):
            partners[index], transition_lengths[index] = partner, between
    return MixedSplit(split, partners, transition_lengths)
