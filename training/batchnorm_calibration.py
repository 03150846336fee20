"""Batch normalisation's statistics, taken anew before the model is judged.

While it trains, the running statistics are those of augmented sentences behind dropout, and dropout
ahead of a normalisation changes the variance that it sees (Li et al., CVPR 2019). A model that is
judged by them errs far more often than its weights would (benchmarks/RESULTS.md). So before every
reading of dev they are measured on train sentences as dev's are read.
"""

import numpy as np
import torch
from torch import nn

from data.batching import plan_evaluation
from data.corpus import Split
from data.pipeline import FeaturePipeline
from models.devices import Precision
from models.masking import MaskedBatchNorm

_BATCH = 16  # sentences


@torch.no_grad()
def calibrate(
    model: nn.Module,
    pipeline: FeaturePipeline,
    split: Split,
    precision: Precision,
    sentences: np.ndarray,
    max_frames: int = 10_000,
) -> None:
    """Set the running mean and variance of all batch normalisations to those of the split's
    sentences, without augmentation and dropout, each layer seeing what the layers before it make of
    its batch (Wu & Johnson 2021, "precise BatchNorm").

    sentences: indices of those that may be used; of many, evenly spread ones up to about
    `max_frames` frames. Nothing else of the model changes.
    """
    norms = [module for module in model.modules() if isinstance(module, MaskedBatchNorm)]
    share = max(1, round(split.lengths[sentences].sum() / max_frames))
    chosen = sentences[::share]
    plan = [chosen[rows] for rows in plan_evaluation(split.lengths[chosen], _BATCH)]
    totals = [
        torch.zeros(2, norm.num_features, dtype=torch.float64, device=pipeline.device)
        for norm in norms
    ]
    kept = [
        (norm.momentum, norm.over_processes, norm.num_batches_tracked.clone()) for norm in norms
    ]
    was_training, frames = model.training, 0
    model.eval()
    for norm in norms:
        norm.train()
        norm.momentum = 1.0  # the running statistics become the batch's own
        norm.over_processes = False  # each process measures all of it
    try:
        for batch in pipeline.batches(split, plan):
            with precision.autocast():
                model(batch.features, batch.lengths, batch.detected)
            for norm, total in zip(norms, totals, strict=True):
                mean = norm.running_mean.double()
                total += batch.frames * torch.stack([mean, norm.running_var.double() + mean**2])
            frames += batch.frames
    finally:
        for norm, (momentum, over_processes, batches) in zip(norms, kept, strict=True):
            norm.momentum, norm.over_processes = momentum, over_processes
            norm.num_batches_tracked.copy_(batches)
        model.train(was_training)
    for norm, total in zip(norms, totals, strict=True):
        mean, square = total / frames
        norm.running_mean.copy_(mean)
        norm.running_var.copy_((square - mean**2).clamp(min=0))
