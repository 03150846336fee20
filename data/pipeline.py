"""From sentences on disk to features on the device, with augmentation or without."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from data.augmentation import Augmenter, Draw, draw, hide
from data.augmentation_config import AugmentationConfig
from data.batching import LandmarkBatch, load_batch, plan_evaluation
from data.corpus import Split
from data.ctc_lengths import min_frames
from data.ctc_targets import PreparedSplit
from data.device_cache import SHARE_OF_FREE, CachedBatch, CachedSplit, cached_bytes
from data.features import feature_blocks, sentence_body
from data.landmarks import NUM_FEATURES, PARTS, WHOLE, Layout


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """What is done in it on the CPU is done by one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


READ_AHEAD = 2  # batches; 0 reads each one when it is asked for
_STATISTICS_FRAMES = 200_000
T = TypeVar("T")


@dataclass
class FeatureBatch:
    """features float32 (B, T, 6516), or (B, T, 12 K) of the pipeline's layout; detected bool
    (B, T, 4); lengths int64 (B,), on the device; indices into the split; frames: number of frames
    inside the sentences, known on the host; whole: the indices of the batch over all processes of
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


def empty_share(device: torch.device, layout: Layout) -> FeatureBatch:
    """The share of a process that no sentence of a batch falls to: one row of a frame that belongs
    to no sentence, with which it can take part in what the processes compute together."""
    features = torch.zeros(1, 1, len(layout.whole_columns), device=device)
    detected = torch.zeros(1, 1, len(PARTS), dtype=torch.bool, device=device)
    return FeatureBatch(
        features,
        detected,
        torch.zeros(1, dtype=torch.int64, device=device),
        np.empty(0, dtype=np.int64),
        0,
    )


class FeaturePipeline:
    """Makes the batches of one corpus on one device. causal: features of a stream, see
    `body_coordinates`; layout: features of some landmarks alone, which a model then has to
    `set_input_layout`."""

    def __init__(
        self,
        aspect_ratio: float,
        device: torch.device,
        causal: bool = False,
        layout: Layout = WHOLE,
    ):
        self.aspect_ratio, self.device, self.causal, self.layout = (
            aspect_ratio,
            device,
            causal,
            layout,
        )
        self._augmenter: Augmenter | None = None
        self.resident: list[CachedSplit] = []

    def keep_resident(self, splits: Sequence[Split]) -> str:
        """Bring the splits' landmarks onto a CUDA device, if they take at most half of its free
        memory; says where they are."""
        size = cached_bytes(splits, self.layout) / 1e9
        if self.device.type != "cuda":  # the page cache is the memory that is computed in
            return f"landmarks mapped, {size:.2f} GB of them read"
        free = torch.cuda.mem_get_info(self.device)[0] / 1e9
        if size > SHARE_OF_FREE * free:
            return f"landmarks mapped ({size:.2f} GB are more than half of the {free:.1f} GB free on {self.device})"
        try:
            self.resident = [CachedSplit(split, self.device, self.layout) for split in splits]
        except torch.OutOfMemoryError:  # another process has taken it meanwhile
            return f"landmarks mapped ({size:.2f} GB of the {free:.1f} GB free on {self.device} could not be had)"
        return f"landmarks resident on {self.device}, {size:.2f} of {free:.1f} GB free"

    def batches(self, split: Split, plan: Sequence[np.ndarray]) -> Iterator[FeatureBatch]:
        """The plan's batches without augmentation."""
        for reading in self._ahead(partial(self._read, split), plan):
            batch = reading.to(self.device)
            body, detected = self._body(batch, batch.detected)
            yield FeatureBatch(
                feature_blocks(body, batch.lengths, self.layout),
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
    ) -> Iterator[FeatureBatch]:
        """The plan's batches, each sentence augmented as (seed, epoch, its id) says."""
        if not config.enabled:
            yield from self.batches(prepared.split, plan)
            return
        if self._augmenter is None or self._augmenter.config != config:
            self._augmenter = Augmenter(config, self.device, self.layout)

        def read_and_draw(indices: np.ndarray) -> tuple[LandmarkBatch | CachedBatch, list[Draw]]:
            sentences = [prepared.split.sentences[index] for index in indices]
            draws = [
                draw(config, seed, epoch, s.id, s.frames, min_frames(s.glosses)) for s in sentences
            ]
            return self._read(prepared.split, indices), draws

        for reading, draws in self._ahead(read_and_draw, plan):
            batch = reading.to(self.device)
            body, seen = self._body(batch, hide(batch.detected, draws))
            body, detected, lengths = self._augmenter(body, seen, draws)
            frames = sum(len(one.times) for one in draws)
            yield FeatureBatch(
                feature_blocks(body, lengths, self.layout), detected, lengths, batch.indices, frames
            )

    def _body(self, batch: LandmarkBatch, detected: Tensor) -> tuple[Tensor, Tensor]:
        return sentence_body(
            batch.landmarks, detected, batch.lengths, self.aspect_ratio, self.causal, self.layout
        )

    def _read(self, split: Split, indices: np.ndarray) -> LandmarkBatch | CachedBatch:
        """A batch that `.to(device)` brings onto the device."""
        for resident in self.resident:
            if resident.holds(split):
                return resident.batch(split, indices)
        batch = load_batch(split, indices, self.layout)
        return batch.pinned() if self.device.type == "cuda" else batch

    def _ahead(self, make: Callable[[np.ndarray], T], plan: Sequence[np.ndarray]) -> Iterator[T]:
        """make(indices) of each batch of the plan, done a little ahead by a thread."""
        if READ_AHEAD == 0:
            yield from map(make, plan)
            return
        with ThreadPoolExecutor(1) as reader:
            pending = [reader.submit(make, indices) for indices in plan[:READ_AHEAD]]
            try:
                for following in [*plan[READ_AHEAD:], *[None] * min(READ_AHEAD, len(plan))]:
                    made = pending.pop(0).result()
                    if following is not None:
                        pending.append(reader.submit(make, following))
                    yield made
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
    """Mean and standard deviation (6516,) float32 of the split's features, without augmentation,
    over its frames.

    sentences: indices of those that may be used (default: all). Of many, sentences spread evenly
    over them are used, up to about `max_frames` frames. Features of landmarks that the pipeline
    leaves out have mean 0 and deviation 1.
    """
    usable = np.arange(len(split)) if sentences is None else sentences
    share = max(1, round(split.lengths[usable].sum() / max_frames))
    with (
        one_thread()
        # Sums come out the same whatever the number of threads, and small kernels gain nothing from
        # more
    ):
        return _mean_and_std(pipeline, split, usable[::share], batch_size)


def _mean_and_std(
    pipeline: FeaturePipeline, split: Split, chosen: np.ndarray, batch_size: int
) -> tuple[Tensor, Tensor]:
    columns = torch.from_numpy(pipeline.layout.whole_columns)
    total = torch.zeros(len(columns), dtype=torch.float64, device=pipeline.device)
    squares = torch.zeros_like(total)
    frames = 0
    plan = [chosen[rows] for rows in plan_evaluation(split.lengths[chosen], batch_size)]
    for batch in pipeline.batches(split, plan):
        flat = batch.features.flatten(0, 1)  # frames behind the end are zeros and add nothing
        total += flat.sum(0, dtype=torch.float64)
        squares += (flat * flat).sum(0, dtype=torch.float64)
        frames += batch.frames
    mean = total / frames
    variance = (squares / frames - mean**2).clamp(min=0)
    whole_mean, whole_std = torch.zeros(NUM_FEATURES), torch.ones(NUM_FEATURES)
    whole_mean[columns], whole_std[columns] = mean.float().cpu(), variance.sqrt().float().cpu()
    return whole_mean, whole_std
