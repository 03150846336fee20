"""Augmentation that joins two sentences of the same signer into one.

Every gloss gets new neighbours, and new transitions lead into it and out of it. Only sentences of a
known signer are joined: two bodies in one sentence, and two ways of signing, would be wrong
examples. If the camera was nearer in one of the two sentences, the second one is scaled, because
the features of a sentence have a single unit, its shoulder width.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from data.augmentation.joined_split import JoinedSplit, LandmarkPair, scaled, shoulder_width
from data.augmentation.transitions import TRANSITION_FRAMES, transition
from data.corpus import Split
from data.keyed_random import first_block, keys, uniform, whole_number


class MixedSplit(JoinedSplit):
    """A split in which some sentences are followed by a second sentence, their partner.

    A joined sentence has the frames of the original sentence, then the frames of a transition, then
    the frames of the partner, and the glosses of both sentences. The partner has the shoulder width
    of the original sentence.

    partners: int (N,), the index of the sentence that follows each sentence, -1 for none.
    transition_lengths: int (N,), the frames of the transition between the two.
    aspect_ratio: image width / height of the corpus.
    """

    def __init__(
        self,
        original: Split,
        partners: np.ndarray,
        transition_lengths: np.ndarray,
        aspect_ratio: float,
    ):
        self.partners = partners
        self.transition_lengths, self.aspect_ratio = transition_lengths, aspect_ratio
        joined = {}
        for index in np.flatnonzero(partners >= 0).tolist():
            first, second = original.sentences[index], original.sentences[partners[index]]
            joined[index] = replace(
                first,
                frames=first.frames + int(transition_lengths[index]) + second.frames,
                glosses=first.glosses + second.glosses,
            )
        super().__init__(original, joined)

    def _segments(self, index: int) -> list[slice | LandmarkPair]:
        """The sentence itself, the transition and the partner."""
        partner = self.partners[index]
        first, second = self.original.read(index), self.original.read(partner)
        following = self.original.segments(partner)
        like_first = scaled_like(first, second, self.aspect_ratio)
        if like_first is not None:
            second = like_first
            following = [second]
        between = transition(first, second, int(self.transition_lengths[index]))
        return [*self.original.segments(index), between, *following]


def scaled_like(
    first: LandmarkPair, second: LandmarkPair, aspect_ratio: float
) -> LandmarkPair | None:
    """The second recording with the shoulder width of the first one; None if it is to stay as it is
    (see `scaled`)."""
    width = shoulder_width(*first, aspect_ratio)
    return scaled(second, width / shoulder_width(*second, aspect_ratio))


def mix_sentences(
    split: Split,
    usable: np.ndarray,
    probability: float,
    seed: int,
    epoch: int,
    min_frames: Callable[[Sequence[str]], int],
    aspect_ratio: float,
) -> Split:
    """Draw which sentences of an epoch are followed by another sentence of the same signer.

    Every draw is keyed by (seed, epoch, sentence id).

    No joined sentence is longer than the longest usable sentence: the partner is drawn from the
    sentences that are short enough. A sentence stays single in four cases: its signer is not known,
    no partner is short enough, it draws itself, or the joined sentence has fewer frames than CTC
    needs for its glosses. (Two sentences can have just enough frames separately, and too few
    together.) Therefore the share of joined sentences is below `probability`. It is lowest when all
    lengths are similar.

    Args:
        split: the train split.
        usable: int (M,), the indices of the sentences that are trained on.
        probability: of a sentence to be followed by another; 0 returns `split` itself.
        seed, epoch: keys of the draws.
        min_frames: gives the fewest frames in which CTC can align glosses.
        aspect_ratio: image width / height of the corpus.
    """
    if not probability or not len(usable):
        return split
    usable = np.asarray(usable)
    sentences = [split.sentences[index] for index in usable]
    numbers = first_block(keys((seed, epoch), [sentence.id for sentence in sentences], ("mix",)))
    shortest, longest = TRANSITION_FRAMES
    between = shortest + whole_number(numbers[:, 1], longest - shortest + 1)
    lengths = split.lengths[usable]
    room = lengths.max() - between - lengths
    wanted = uniform(numbers[:, 0]) < probability
    wanted &= np.array([sentence.signer_is_known for sentence in sentences])
    partners = np.full(len(split), -1)
    transition_lengths = np.zeros(len(split), dtype=np.int64)
    _, signers = np.unique([sentence.signer for sentence in sentences], return_inverse=True)
    # The sentences of each signer, shortest first, one signer after the other
    order = np.lexsort((lengths, signers))
    starts = np.searchsorted(signers[order], np.arange(signers.max() + 2))
    for start, stop in pairwise(starts.tolist()):
        own = order[start:stop]
        rows = own[wanted[own]]
        candidates = np.searchsorted(lengths[own], room[rows], side="right")
        rows, candidates = rows[candidates > 0], candidates[candidates > 0]
        chosen = own[whole_number(numbers[rows, 1], candidates, second=True)]
        for row, other in zip(rows.tolist(), chosen.tolist(), strict=True):
            frames = lengths[row] + between[row] + lengths[other]
            glosses = sentences[row].glosses + sentences[other].glosses
            if other != row and frames >= min_frames(glosses):
                partners[usable[row]] = usable[other]
                transition_lengths[usable[row]] = between[row]
    return MixedSplit(split, partners, transition_lengths, aspect_ratio)
