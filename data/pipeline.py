"""From sentences on disk to batches of features on the device, with or without augmentation.

A background thread reads the next batches while the device works on the current one. With
`keep_resident` the landmarks stay on the device, and each sentence is read once.
"""

import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from data.augmentation.augmenter import Augmenter, hide_parts
from data.augmentation.config import AugmentationConfig
from data.augmentation.draws import AugmentationDraw, draw_augmentations, ids_and_lengths
from data.batching import LandmarkBatch, StoredBatch, load_batch, plan_evaluation
from data.corpus import Split
from data.ctc_targets import PreparedSplit
from data.device_cache import MAX_SHARE_OF_FREE_MEMORY, CachedBatch, CachedSplit, cached_bytes
from data.device_transfer import on_device
from data.features import feature_blocks, normalize_landmarks
from data.handedness.leading_hand import ALWAYS
from data.handedness.leading_hand_rules import BY_SIGNER
from data.handedness.signer_votes import signer_votes
from data.landmarks import ALL_LANDMARKS, NUM_FEATURES, PARTS, LandmarkSelection

READ_AHEAD = 2  # batches that the thread prepares in advance; 0 prepares each one when it is needed
_STATISTICS_FRAMES = 200_000
T = TypeVar("T")


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Run the CPU work of the `with` block in one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass
class FeatureBatch:
    """A batch of features on the device.

    features: float32 (B, T, 6516), or (B, T, 12 K) for the K landmarks of a selection.
    detected: bool (B, T, 4).
    lengths: int64 (B,), frames of each sentence.
    indices: int (B,), the sentences' indices in the split, on the CPU.
    frames: sum of the lengths, known on the CPU without waiting for the device.
    global_indices: the indices of the batch over all ranks, if this is the share of one rank;
        otherwise the same as `indices`.
    """

    features: Tensor
    detected: Tensor
    lengths: Tensor
    indices: np.ndarray
    frames: int
    global_indices: np.ndarray = field(default=None, kw_only=True)  # type: ignore[arg-type]

    def __post_init__(self) -> None:
        if self.global_indices is None:
            self.global_indices = self.indices


def placeholder_batch(device: torch.device, selection: LandmarkSelection) -> FeatureBatch:
    """A batch for a rank that gets no sentence of a small batch.

    It has one row with one frame that belongs to no sentence. With it the rank can take part in the
    computations that all ranks do together.
    """
    features = torch.zeros(1, 1, len(selection.full_columns), device=device)
    detected = torch.zeros(1, 1, len(PARTS), dtype=torch.bool, device=device)
    return FeatureBatch(
        features,
        detected,
        torch.zeros(1, dtype=torch.int64, device=device),
        np.empty(0, dtype=np.int64),
        0,
    )


class FeaturePipeline:
    """Makes the feature batches of a corpus on one device.

    resident: the splits whose landmarks stay on the device.
    left: whether the left hand leads in all sentences; None: `leading_hand` decides for each.
    """

    def __init__(
        self,
        aspect_ratio: float,
        device: torch.device,
        causal: bool = False,
        selection: LandmarkSelection = ALL_LANDMARKS,
        leading_hand: str = BY_SIGNER,
    ):
        """
        Args:
            aspect_ratio: image width / height of the corpus.
            device: where the features are computed.
            causal: compute them for streaming recognition, see `body_coordinates`.
            selection: compute the features of these landmarks only. The model must be set to
                the same selection.
            leading_hand: the rule that decides which hand leads, see data/handedness.
        """
        self.leading_hand = leading_hand
        self.left: bool | None = None
        self.aspect_ratio, self.device = aspect_ratio, device
        self.causal, self.selection = causal, selection
        self._augmenter: Augmenter | None = None
        self.resident: list[CachedSplit] = []
        self._votes: list[tuple[np.ndarray, np.ndarray]] = []  # landmarks of a split, and its votes

    def variant(self, causal: bool, leading_hand: str) -> "FeaturePipeline":
        """The same pipeline with other features. It shares the landmarks on the device."""
        other = FeaturePipeline(
            self.aspect_ratio, self.device, causal, self.selection, leading_hand
        )
        other.resident, other._votes = self.resident, self._votes
        return other

    def keep_resident(self, splits: Sequence[Split]) -> str:
        """Reserve memory of a GPU for the landmarks of the splits, if they need at most half of
        what is free. Each sentence is copied when a batch first uses it.

        Returns a line for the log that tells where the landmarks are.
        """
        size = cached_bytes(splits, self.selection) / 1e9
        if self.device.type != "cuda":  # mapped files are already in the memory of the CPU
            return f"landmarks memory-mapped, {size:.2f} GB of them used"
        free = torch.cuda.mem_get_info(self.device)[0] / 1e9
        if size > MAX_SHARE_OF_FREE_MEMORY * free:
            return (
                f"landmarks memory-mapped ({size:.2f} GB is more than half of the {free:.1f} GB "
                f"free on {self.device})"
            )
        try:
            self.resident = [CachedSplit(split, self.device, self.selection) for split in splits]
        except torch.OutOfMemoryError:  # another process took the memory in the meantime
            return (
                f"landmarks memory-mapped ({size:.2f} GB of the {free:.1f} GB free on "
                f"{self.device} could not be allocated)"
            )
        return f"landmarks resident on {self.device}, {size:.2f} of {free:.1f} GB free"

    def batches(
        self, split: Split, plan: Sequence[np.ndarray]
    ) -> Generator[FeatureBatch, None, None]:
        """The batches of a plan, without augmentation. plan: the indices of each batch."""

        def load(indices: np.ndarray) -> tuple[StoredBatch | CachedBatch, np.ndarray | None]:
            return self._load(split, indices), self._votes_of(split, indices)

        for loaded, votes in self._prepare_ahead(load, plan):
            batch = loaded.to(self.device)
            body, detected = self._normalize(batch, batch.detected, votes)
            yield FeatureBatch(
                feature_blocks(body, batch.lengths, self.selection),
                detected,
                batch.lengths,
                batch.indices,
                int(split.lengths[batch.indices].sum()),
            )

    def augmented_batches(
        self,
        prepared: PreparedSplit,
        plan: Sequence[np.ndarray],
        config: AugmentationConfig,
        seed: int,
        epoch: int,
    ) -> Generator[FeatureBatch, None, None]:
        """The batches of a plan, with augmentation.

        Args:
            prepared: the split and its targets.
            plan: the indices of each batch.
            config: ranges of the augmentation.
            seed, epoch: together with the id of a sentence the key of its augmentation.
        """
        if not config.enabled:
            yield from self.batches(prepared.split, plan)
            return
        if self._augmenter is None or self._augmenter.config != config:
            self._augmenter = Augmenter(config, self.device, self.selection)

        def load_and_draw(
            indices: np.ndarray,
        ) -> tuple[StoredBatch | CachedBatch, np.ndarray | None, list[AugmentationDraw]]:
            sentences = [prepared.split.sentences[index] for index in indices]
            draws = draw_augmentations(config, seed, epoch, *ids_and_lengths(sentences))
            votes = self._votes_of(prepared.split, indices)
            return self._load(prepared.split, indices), votes, draws

        for loaded, votes, draws in self._prepare_ahead(load_and_draw, plan):
            batch = loaded.to(self.device)
            hidden = hide_parts(batch.detected, draws)
            body, detected = self._normalize(batch, hidden, votes)
            body, detected, lengths = self._augmenter(body, detected, draws)
            frames = sum(len(draw.times) for draw in draws)
            yield FeatureBatch(
                feature_blocks(body, lengths, self.selection),
                detected,
                lengths,
                batch.indices,
                frames,
            )

    def _normalize(
        self, batch: LandmarkBatch, detected: Tensor, votes: np.ndarray | None
    ) -> tuple[Tensor, Tensor]:
        return normalize_landmarks(
            batch.landmarks,
            detected,
            batch.lengths,
            self.aspect_ratio,
            self.causal,
            self.selection,
            self.leading_hand,
            None if votes is None else on_device(votes, self.device),
            batch.detected,
        )

    def _votes_of(self, split: Split, indices: np.ndarray) -> np.ndarray | None:
        """The votes of the signers of some sentences, int64 (B,); None for none."""
        if self.causal or self.leading_hand != BY_SIGNER:
            return None
        if self.left is not None:
            return np.full(len(indices), ALWAYS if self.left else -ALWAYS)
        for landmarks, votes in self._votes:
            if landmarks is split.landmarks:
                return votes[indices]
        found = signer_votes(split.single, self.aspect_ratio)
        if found is None:  # quick to find out, so it need not be kept
            return None
        self._votes.append((split.landmarks, found))
        return found[indices]

    def _load(self, split: Split, indices: np.ndarray) -> StoredBatch | CachedBatch:
        """A batch as it is stored; its method `to` gives the landmarks on the device."""
        for resident in self.resident:
            if resident.holds(split):
                return resident.batch(split, indices)
        batch = load_batch(split, indices, self.selection)
        return batch.pinned() if self.device.type == "cuda" else batch

    def _prepare_ahead(
        self, prepare: Callable[[np.ndarray], T], plan: Sequence[np.ndarray]
    ) -> Iterator[T]:
        """prepare(indices) of each batch of the plan; a thread works READ_AHEAD batches ahead."""
        if READ_AHEAD == 0:
            yield from map(prepare, plan)
            return
        with ThreadPoolExecutor(1) as thread:
            pending = [thread.submit(prepare, indices) for indices in plan[:READ_AHEAD]]
            try:
                for following in [*plan[READ_AHEAD:], *[None] * min(READ_AHEAD, len(plan))]:
                    prepared = pending.pop(0).result()
                    if following is not None:
                        pending.append(thread.submit(prepare, following))
                    yield prepared
            finally:
                for future in pending:
                    future.cancel()


def feature_statistics(
    pipeline: FeaturePipeline,
    split: Split,
    max_frames: int = _STATISTICS_FRAMES,
    batch_size: int = 16,
    sentences: np.ndarray | None = None,
) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the features of a split, without augmentation.

    Args:
        pipeline: computes the features.
        split: the split.
        max_frames: a larger split is sampled: every n-th sentence, about so many frames.
        batch_size: sentences per batch.
        sentences: int, the indices of the sentences that may be used; all by default.

    Returns mean and standard deviation, float32 (6516,), over the frames. For landmarks outside the
    pipeline's selection they are 0 and 1.
    """
    usable = np.arange(len(split)) if sentences is None else sentences
    step = max(1, round(split.lengths[usable].sum() / max_frames))
    # The sums are then the same on every machine, and such small kernels gain nothing from threads.
    with one_thread():
        return _mean_and_std(pipeline, split, usable[::step], batch_size)


def _mean_and_std(
    pipeline: FeaturePipeline, split: Split, chosen: np.ndarray, batch_size: int
) -> tuple[Tensor, Tensor]:
    columns = torch.from_numpy(pipeline.selection.full_columns)
    total = torch.zeros(len(columns), dtype=torch.float64, device=pipeline.device)
    squares = torch.zeros_like(total)
    frames = 0
    plan = [chosen[rows] for rows in plan_evaluation(split.lengths[chosen], batch_size)]
    for batch in pipeline.batches(split, plan):
        flat = batch.features.flatten(0, 1)  # the padding is zeros and adds nothing
        total += flat.sum(0, dtype=torch.float64)
        squares += (flat * flat).sum(0, dtype=torch.float64)
        frames += batch.frames
    mean = total / frames
    variance = (squares / frames - mean**2).clamp(min=0)
    all_means, all_deviations = torch.zeros(NUM_FEATURES), torch.ones(NUM_FEATURES)
    all_means[columns] = mean.float().cpu()
    all_deviations[columns] = variance.sqrt().float().cpu()
    return all_means, all_deviations
