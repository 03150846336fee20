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

from data.augmentation.transitions import transition
from data.corpus import Split
from data.features import MIN_SHOULDER_WIDTH
from data.keyed_random import first_block, keys, uniform, whole_number
from data.landmarks import LEFT_SHOULDER, PART_SLICES, PARTS, RIGHT_SHOULDER
from data.stored_landmarks import LARGEST_VALUE, decode

_TRANSITION_FRAMES = (2, 6)  # range of the transition between the sentences, both ends included
_LIKE_SCALE = 0.02  # shoulder widths that differ by less are alike; the second sentence stays as is


class MixedSplit(Split):
    """A split in which some sentences are followed by a second sentence, their partner.

    Ids and indices are those of the original split. A joined sentence has the frames of the
    original sentence, then the frames of a transition, then the frames of the partner, and the
    glosses of both sentences. The partner has the shoulder width of the original sentence.

    original: the split of single sentences.
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
        self.original, self.partners = original, partners
        self.transition_lengths, self.aspect_ratio = transition_lengths, aspect_ratio
        sentences = list(original.sentences)
        for index in self.joined:
            first, second = original.sentences[index], original.sentences[partners[index]]
            sentences[index] = replace(
                first,
                frames=first.frames + int(transition_lengths[index]) + second.frames,
                glosses=first.glosses + second.glosses,
            )
        super().__init__(original.name, sentences, original.landmarks, original.detected)

    @property
    def single(self) -> Split:
        """The split without joined sentences."""
        return self.original

    @property
    def joined(self) -> list[int]:
        """The indices of the sentences that are followed by another one."""
        return np.flatnonzero(self.partners >= 0).tolist()

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
        first, second = self.original.read(index), self.original.read(partner)
        following = self.original.segments(partner)
        scaled = scaled_like(first, second, self.aspect_ratio)
        if scaled is not None:
            second = scaled
            following = [second]
        landmarks, detected = transition(first, second, int(self.transition_lengths[index]))
        return [*sentence, (landmarks, detected), *following]


def shoulder_width(landmarks: np.ndarray, detected: np.ndarray, aspect_ratio: float) -> float:
    """The median distance of the shoulders, in image heights: the unit of `body_coordinates`.

    landmarks: float (T, 543, 3); detected: bool (T, 4). Returns NaN if no pose was detected, or
    if a shoulder is NaN.
    """
    seen = detected[:, PARTS.index("pose")]
    shoulders = landmarks[seen][:, (LEFT_SHOULDER, RIGHT_SHOULDER), :2].astype(np.float32)
    widths = np.linalg.norm((shoulders[:, 0] - shoulders[:, 1]) * (aspect_ratio, 1.0), axis=1)
    if not len(widths):
        return float("nan")
    return max(float(np.sort(widths)[(len(widths) - 1) // 2]), MIN_SHOULDER_WIDTH)


def scaled_like(
    first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray], aspect_ratio: float
) -> tuple[np.ndarray, np.ndarray] | None:
    """The second recording with the shoulder width of the first one.

    It is scaled about the middle of the image. Parts that were not detected stay zeros.

    first, second: landmarks float (T, 543, 3) and detected bool (T, 4).

    Returns landmarks float32 and detected, or None if the second recording is to stay as it is: the
    widths are alike, one of them is not known, or a value cannot be stored.
    """
    landmarks, detected = second
    factor = shoulder_width(*first, aspect_ratio) / shoulder_width(*second, aspect_ratio)
    if not abs(factor - 1) > _LIKE_SCALE:  # NaN too
        return None
    middle = np.array([0.5, 0.5, 0.0], dtype=np.float32)
    scaled = (landmarks.astype(np.float32) - middle) * np.float32(factor) + middle
    for part, points in PART_SLICES.items():
        scaled[~detected[:, PARTS.index(part)], points] = 0
    return (scaled, detected) if np.abs(scaled).max() <= LARGEST_VALUE else None  # not NaN either


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
    shortest, longest = _TRANSITION_FRAMES
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
