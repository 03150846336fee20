"""Which sentences go into which batch, and batches of landmarks as tensors.

Batches are cut from pools of similar length, so that little is padded, in an order keyed by seed
and epoch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from data.corpus import Split
from data.keyed_random import generator
from data.landmarks import WHOLE, Layout
from errors import DataError

# All ones in a float16 that is not finite: ten times as fast to see as np.isfinite
_EXPONENT = np.uint16(0x7C00)
POOL_BATCHES = 50  # batches whose sentences are sorted by length together
# The same for batches of a frame budget, which hold more sentences: fewer of them keep the company
# that a sentence is in as random, at 2 to 4 % of padding (benchmarks/feeding.py).
FRAME_POOL_BATCHES = 25


def plan_epoch(lengths: np.ndarray, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Indices of each batch of one epoch: every sentence once, random order, similar lengths
    together.

    lengths: frames of each sentence (N,). Sentences are shuffled, cut into pools of 50 batches,
    sorted by length within the pool and cut into batches of `batch_size`; the batches are shuffled.
    The one short batch, if any, comes last.
    """
    random = generator(seed, epoch, "order")
    order = random.permutation(len(lengths))
    batches = []
    for start in range(0, len(order), POOL_BATCHES * batch_size):
        pool = order[start : start + POOL_BATCHES * batch_size]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        # A random run of sentences is left for the short batch, not always the longest
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
    """Indices of each batch of one epoch, as many sentences in each as fit into `frames` frames
    with their padding.

    lengths: frames of each sentence (N,). Every sentence once, random order: sentences are
    shuffled, cut into pools of about 25 batches, sorted by length within the pool and cut; the
    batches, which are about as large as each other within a pool, are shuffled. A sentence longer
    than `frames` has a batch of its own.
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
    """Where ascending lengths are cut so that each piece, padded to its longest, fits into
    `frames`."""
    cuts, start = [], 0
    for place, length in enumerate(ascending.tolist()):
        if place > start and (place + 1 - start) * length > frames:
            cuts.append(place)
            start = place
    return cuts


def _even_cuts(ascending: np.ndarray, frames: int) -> list[int]:
    """The same with the smallest budget that needs no more pieces: none of them is a small rest."""
    low, high, count = 0, frames, len(_cuts(ascending, frames))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if len(_cuts(ascending, middle)) == count else (middle, high)
    return _cuts(ascending, high)


def plan_evaluation(lengths: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Indices of each batch for evaluation: every sentence once, by length."""
    order = np.argsort(lengths, kind="stable")
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def padding_waste(plan: Sequence[np.ndarray], lengths: np.ndarray) -> float:
    """Share of padded frames among all frames that the plan's batches compute, 0 to 1."""
    computed = sum(len(batch) * int(lengths[batch].max()) for batch in plan)
    return 1 - sum(int(lengths[batch].sum()) for batch in plan) / computed


@dataclass
class LandmarkBatch:
    """landmarks float16 (B, T, K, 3) zero-padded, detected bool (B, T, 4), lengths int64 (B,),
    indices into the split."""

    landmarks: Tensor
    detected: Tensor
    lengths: Tensor
    indices: np.ndarray

    def pinned(self) -> "LandmarkBatch":
        """The batch in page-locked memory, from which a copy to a CUDA device does not block."""
        return LandmarkBatch(
            self.landmarks.pin_memory(),
            self.detected.pin_memory(),
            self.lengths.pin_memory(),
            self.indices,
        )

    def to(self, device: torch.device) -> "LandmarkBatch":
        if device.type == "cpu":
            return self
        return LandmarkBatch(
            self.landmarks.to(device, non_blocking=True),
            self.detected.to(device, non_blocking=True),
            self.lengths.to(device, non_blocking=True),
            self.indices,
        )


def load_batch(split: Split, indices: np.ndarray, layout: Layout = WHOLE) -> LandmarkBatch:
    """Read the layout's landmarks of sentences from the mapped files into one padded batch on the
    CPU. Raises DataError on NaN or infinity, and for a sentence without frames."""
    lengths = sentence_lengths(split, indices)
    frames = int(lengths.max())
    landmarks = np.zeros(
        (len(indices), frames, len(layout), split.landmarks.shape[2]), dtype=np.float16
    )
    detected = np.zeros((len(indices), frames, split.detected.shape[1]), dtype=bool)
    for row, index in enumerate(indices):
        read, detected[row, : lengths[row]] = split.read(index)
        # Single values are picked almost twice as fast as landmarks of three.
        landmarks[row, : lengths[row]] = read if layout is WHOLE else layout.pick(read)
    not_finite = (landmarks.view(np.uint16) & _EXPONENT == _EXPONENT).any((1, 2, 3))
    if not_finite.any():
        raise not_finite_error(split, indices[not_finite.argmax()])
    return LandmarkBatch(
        torch.from_numpy(landmarks), torch.from_numpy(detected), torch.from_numpy(lengths), indices
    )


def sentence_lengths(split: Split, indices: np.ndarray) -> np.ndarray:
    """Frames of each sentence, a copy. Raises DataError for one that has none."""
    lengths = split.lengths[indices]
    if not lengths.min():
        raise DataError(
            f"{split.name} sentence {split.sentences[indices[lengths.argmin()]].id} has no frames"
        )
    return lengths


def not_finite_error(split: Split, index: int) -> DataError:
    """What is raised for a sentence that holds NaN or infinity."""
    return DataError(
        f"{split.name} sentence {split.sentences[index].id}: landmarks hold NaN or infinite values; "
        "prepare_data.py check on the corpus says what else is wrong"
    )
