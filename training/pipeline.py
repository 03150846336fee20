"""From sentences on disk to features on the device, with augmentation or without."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from data.augmentation import Augmenter, draw, hide
from data.augmentation_config import AugmentationConfig
from data.batching import LandmarkBatch, load_batch, plan_evaluation
from data.corpus import Split
from data.features import feature_blocks, sentence_body
from data.landmarks import NUM_FEATURES, PARTS
from training.sentences import PreparedSplit, min_frames

READ_AHEAD = 2  # batches; 0 reads each one when it is asked for
_STATISTICS_FRAMES = 200_000


@dataclass
class FeatureBatch:
    """features float32 (B, T, 6516), detected bool (B, T, 4), lengths int64 (B,) on the device; indices into the split;
    frames: number of frames inside the sentences, known on the host; whole: the indices of the batch over all processes of
    the run, where these are one process's share of it."""

    features: Tensor
    detected: Tensor
    lengths: Tensor
    indices: np.ndarray
    frames: int
    whole: np.ndarray | None = field(default=None, kw_only=True)

    def __post_init__(self):
        if self.whole is None:
            self.whole = self.indices


def empty_share(device: torch.device) -> FeatureBatch:
    """The share of a process that no sentence of a batch falls to: one row of a frame that belongs to no sentence, with which
    it can take part in what the processes compute together."""
    features = torch.zeros(1, 1, NUM_FEATURES, device=device)
    detected = torch.zeros(1, 1, len(PARTS), dtype=torch.bool, device=device)
    return FeatureBatch(
        features, detected, torch.zeros(1, dtype=torch.int64, device=device), np.empty(0, dtype=np.int64), 0
    )


class FeaturePipeline:
    """Makes the batches of one corpus on one device. causal: features of a stream, see `body_coordinates`."""

    def __init__(self, aspect_ratio: float, device: torch.device, causal: bool = False):
        self.aspect_ratio, self.device, self.causal = aspect_ratio, device, causal
        self._augmenter: Augmenter | None = None

    def batches(self, split: Split, plan: Sequence[np.ndarray]) -> Iterator[FeatureBatch]:
        """The plan's batches without augmentation."""
        for batch in self._read(split, plan):
            body, detected = self._body(batch, batch.detected)
            yield FeatureBatch(
                feature_blocks(body, batch.lengths),
                detected,
                batch.lengths,
                batch.indices,
                int(split.lengths[batch.indices].sum()),
            )

    def augmented_batches(
        self, prepared: PreparedSplit, plan: Sequence[np.ndarray], config: AugmentationConfig, seed: int, epoch: int
    ) -> Iterator[FeatureBatch]:
        """The plan's batches, each sentence augmented as (seed, epoch, its id) says."""
        if not config.enabled:
            yield from self.batches(prepared.split, plan)
            return
        if self._augmenter is None or self._augmenter.config != config:
            self._augmenter = Augmenter(config, self.device)
        for batch in self._read(prepared.split, plan):
            sentences = [prepared.split.sentences[index] for index in batch.indices]
            draws = [draw(config, seed, epoch, s.id, s.frames, min_frames(s.glosses)) for s in sentences]
            body, seen = self._body(batch, hide(batch.detected, draws))
            body, detected, lengths = self._augmenter(body, seen, draws)
            frames = sum(len(one.times) for one in draws)
            yield FeatureBatch(feature_blocks(body, lengths), detected, lengths, batch.indices, frames)

    def _body(self, batch: LandmarkBatch, detected: Tensor) -> tuple[Tensor, Tensor]:
        return sentence_body(batch.landmarks, detected, batch.lengths, self.aspect_ratio, self.causal)

    def _read(self, split: Split, plan: Sequence[np.ndarray]) -> Iterator[LandmarkBatch]:
        """Batches on the device, read a little ahead by a thread."""

        def read(indices: np.ndarray) -> LandmarkBatch:
            batch = load_batch(split, indices)
            return batch.pinned() if self.device.type == "cuda" else batch

        if READ_AHEAD == 0:
            yield from (read(indices).to(self.device) for indices in plan)
            return
        with ThreadPoolExecutor(1) as reader:
            pending = [reader.submit(read, indices) for indices in plan[:READ_AHEAD]]
            try:
                for following in [*plan[READ_AHEAD:], *[None] * min(READ_AHEAD, len(plan))]:
                    batch = pending.pop(0).result()
                    if following is not None:
                        pending.append(reader.submit(read, following))
                    yield batch.to(self.device)
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
    """Mean and standard deviation (6516,) float32 of the split's features, without augmentation, over its frames.

    sentences: indices of those that may be used (default: all). Of many, sentences spread evenly over them are used, up to
    about `max_frames` frames.
    """
    usable = np.arange(len(split)) if sentences is None else sentences
    share = max(1, round(split.lengths[usable].sum() / max_frames))
    chosen = usable[::share]
    total = torch.zeros(NUM_FEATURES, dtype=torch.float64, device=pipeline.device)
    squares = torch.zeros_like(total)
    frames = 0
    plan = [chosen[rows] for rows in plan_evaluation(split.lengths[chosen], batch_size)]
    for batch in pipeline.batches(split, plan):
        flat = batch.features.reshape(-1, NUM_FEATURES)  # frames behind the end are zeros and add nothing
        total += flat.sum(0, dtype=torch.float64)
        squares += (flat * flat).sum(0, dtype=torch.float64)
        frames += batch.frames
    mean = total / frames
    variance = (squares / frames - mean**2).clamp(min=0)
    return mean.float(), variance.sqrt().float()
