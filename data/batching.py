"""Plan which sentences form each batch, and load a batch of landmarks as tensors.

A plan is a list of batches; each batch is an array of sentence indices. The plans of training put
sentences of similar length together, so that there is little padding, and are keyed by (seed,
epoch).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from data.corpus import Split
from data.keyed_random import generator
from data.landmarks import ALL_LANDMARKS, LandmarkSelection
from data.stored_landmarks import decode_batch, not_finite
from errors import DataError

POOL_BATCHES = 50  # `plan_epoch` sorts the sentences of this many batches by length together
# The same for `plan_by_frames`. Its batches hold more sentences, so a smaller pool mixes them as
# well; 2 to 4 % of the frames are then padding (benchmarks/feeding.py).
FRAME_POOL_BATCHES = 25
MAX_EVALUATION_FRAMES = 24_000  # of a batch, padding included: 16 sentences of a minute


def plan_epoch(lengths: np.ndarray, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Plan one epoch with a fixed number of sentences per batch.

    The sentences are shuffled and cut into pools of 50 batches. Each pool is sorted by length and
    cut into batches. The batches are shuffled; a batch with fewer sentences comes last. Every
    sentence comes once.

    Args:
        lengths: int (N,), frames of each sentence.
        batch_size: sentences per batch.
        seed, epoch: keys of the random order.

    Returns the indices of each batch, int (batch_size,).
    """
    random = generator(seed, epoch, "order")
    order = random.permutation(len(lengths))
    batches = []
    for start in range(0, len(order), POOL_BATCHES * batch_size):
        pool = order[start : start + POOL_BATCHES * batch_size]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        # The short batch takes its sentences from a random place of the pool: otherwise it would
        # always hold the longest ones.
        if len(pool) % batch_size:
            cut = int(random.integers(len(pool) // batch_size + 1)) * batch_size
            short = pool[cut : cut + len(pool) % batch_size]
            pool = np.concatenate([pool[:cut], pool[cut + len(short) :], short])
        batches += [pool[i : i + batch_size] for i in range(0, len(pool), batch_size)]
    full = [batch for batch in batches if len(batch) == batch_size]
    return [full[i] for i in random.permutation(len(full))] + [
        batch for batch in batches if len(batch) < batch_size
    ]


def plan_by_frames(lengths: np.ndarray, frames: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Plan one epoch with a frame budget: fill each batch with sentences up to `frames` frames.

    The padding counts, so all batches need similar memory. The sentences are shuffled and cut into
    pools of about 25 batches. Each pool is sorted by length and cut into batches of about equal
    size. The batches are shuffled. Every sentence comes once; a sentence longer than `frames` is
    alone in its batch.

    Args:
        lengths: int (N,), frames of each sentence.
        frames: the most frames of a batch, padding included.
        seed, epoch: keys of the random order.

    Returns the indices of each batch.
    """
    random = generator(seed, epoch, "order")
    order = random.permutation(len(lengths))
    ends = np.cumsum(lengths[order])
    pools = max(round(int(ends[-1]) / (FRAME_POOL_BATCHES * frames)), 1)
    pool_of = (ends - 1) * pools // int(ends[-1])
    batches = []
    for number in range(pools):
        pool = order[pool_of == number]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches += np.split(pool, _even_cuts(lengths[pool], frames)) if len(pool) else []
    return [batches[i] for i in random.permutation(len(batches))]


def _cuts(ascending: np.ndarray, frames: int) -> list[int]:
    """Where to cut ascending lengths into batches of at most `frames` padded frames each."""
    cuts, start = [], 0
    for place, length in enumerate(ascending.tolist()):
        if place > start and (place + 1 - start) * length > frames:
            cuts.append(place)
            start = place
    return cuts


def _even_cuts(ascending: np.ndarray, frames: int) -> list[int]:
    """Like `_cuts`, but with batches of about equal size instead of a small last one.

    Bisection finds the smallest budget that needs no more batches than `frames` does.
    """
    low, high, count = 0, frames, len(_cuts(ascending, frames))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if len(_cuts(ascending, middle)) == count else (middle, high)
    return _cuts(ascending, high)


def plan_evaluation(lengths: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Plan an evaluation: every sentence once, the shortest first.

    Very long sentences get smaller batches: at most `MAX_EVALUATION_FRAMES` with the padding, or
    one sentence.

    lengths: int (N,), frames of each sentence; batch_size: sentences per batch.
    """
    order, plan, start = np.argsort(lengths, kind="stable"), [], 0
    while start < len(order):
        size = len(order[start : start + batch_size])
        while size > 1 and size * lengths[order[start + size - 1]] > MAX_EVALUATION_FRAMES:
            size -= 1
        plan.append(order[start : start + size])
        start += size
    return plan


def padding_waste(plan: Sequence[np.ndarray], lengths: np.ndarray) -> float:
    """Share of padding among all frames of the plan's batches, 0 to 1.

    lengths: int (N,), frames of each sentence.
    """
    computed = sum(len(batch) * int(lengths[batch].max()) for batch in plan)
    return 1 - sum(int(lengths[batch].sum()) for batch in plan) / computed


@dataclass
class LandmarkBatch:
    """A batch of sentences on a device.

    landmarks: float (B, T, K, 3), fractions of the image, zeros in the padding.
    detected: bool (B, T, 4). lengths: int64 (B,), frames of each sentence.
    indices: int (B,), the sentences' indices in the split, on the CPU.
    """

    landmarks: Tensor
    detected: Tensor
    lengths: Tensor
    indices: np.ndarray


@dataclass
class StoredBatch:
    """A batch of sentences on the CPU, as they are stored.

    stored: int16 or float (B, T, K, 3), the K landmarks of `selection`, zeros in the padding.
    The other fields are those of `LandmarkBatch`.
    """

    stored: Tensor
    detected: Tensor
    lengths: Tensor
    indices: np.ndarray
    selection: LandmarkSelection

    def pinned(self) -> "StoredBatch":
        """The batch in page-locked memory. A copy from there to a GPU does not wait."""
        return replace(
            self,
            stored=self.stored.pin_memory(),
            detected=self.detected.pin_memory(),
            lengths=self.lengths.pin_memory(),
        )

    def to(self, device: torch.device) -> LandmarkBatch:
        """The batch on the device, where its landmarks are decoded."""
        stored, detected, lengths = (
            tensor.to(device, non_blocking=True)
            for tensor in (self.stored, self.detected, self.lengths)
        )
        landmarks = decode_batch(stored, detected, self.selection)
        return LandmarkBatch(landmarks, detected, lengths, self.indices)


def load_batch(
    split: Split, indices: np.ndarray, selection: LandmarkSelection = ALL_LANDMARKS
) -> StoredBatch:
    """Read sentences from the memory-mapped files into one padded batch on the CPU.

    Args:
        split: the split.
        indices: int (B,), the sentences.
        selection: the landmarks to load.

    Raises DataError for NaN or infinity, and for a sentence without frames.
    """
    lengths = sentence_lengths(split, indices)
    frames = int(lengths.max())
    landmarks = np.zeros(
        (len(indices), frames, len(selection), split.landmarks.shape[2]), split.landmarks.dtype
    )
    detected = np.zeros((len(indices), frames, split.detected.shape[1]), dtype=bool)
    for row, index in enumerate(indices):
        start = 0
        for _, stored, seen in split.stored_segments(index):
            frames_of_segment = slice(start, start + len(stored))
            detected[row, frames_of_segment] = seen
            landmarks[row, frames_of_segment] = (
                stored if selection is ALL_LANDMARKS else selection.pick(stored)
            )
            start += len(stored)
    damaged = not_finite(landmarks).any(1)
    if damaged.any():
        raise not_finite_error(split, indices[damaged.argmax()])
    return StoredBatch(
        torch.from_numpy(landmarks),
        torch.from_numpy(detected),
        torch.from_numpy(lengths),
        indices,
        selection,
    )


def sentence_lengths(split: Split, indices: np.ndarray) -> np.ndarray:
    """Frames of the sentences, int64 (B,), as a copy. Raises DataError for one without frames."""
    lengths = split.lengths[indices]
    if not lengths.min():
        raise DataError(
            f"{split.name} sentence {split.sentences[indices[lengths.argmin()]].id} has no frames"
        )
    return lengths


def not_finite_error(split: Split, index: int) -> DataError:
    """The error for a sentence with NaN or infinity, to be raised by the caller."""
    return DataError(
        f"{split.name} sentence {split.sentences[index].id}: landmarks hold NaN or infinite "
        "values; run `prepare_data.py check` on the corpus to find all problems"
    )
