"""Measure the statistics of batch normalisation again before the model is evaluated.

During training, the running statistics come from augmented sentences with dropout. Dropout before
a normalisation changes the variance (Li et al., CVPR 2019). With these statistics the model makes
far more errors than with calibrated ones (docs/experiments.md). Therefore the statistics are
measured again before each evaluation of dev, on train sentences without augmentation and dropout.
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
    """Set the running mean and variance of all batch normalisations to those of train sentences,
    without augmentation and dropout ("precise BatchNorm", Wu & Johnson 2021).

    Nothing else of the model changes.

    Args:
        model: the model, changed in place.
        pipeline: makes the features.
        split: the train split.
        precision: of the forward pass.
        sentences: indices of the sentences that may be used.
        max_frames: about so many frames are used, of sentences that are evenly spread.
    """
    norms = [module for module in model.modules() if isinstance(module, MaskedBatchNorm)]
    share = max(1, round(split.lengths[sentences].sum() / max_frames))
    chosen = sentences[::share]
    plan = [chosen[rows] for rows in plan_evaluation(split.lengths[chosen], _BATCH)]
    totals = [
        torch.zeros(2, norm.num_features, dtype=torch.float64, device=pipeline.device)
        for norm in norms
    ]
    kept = [(norm.momentum, norm.join, norm.num_batches_tracked.clone()) for norm in norms]
    was_training, frames = model.training, 0
    model.eval()
    for norm in norms:
        norm.train()
        norm.momentum = 1.0  # the running statistics become the batch's own
        norm.join = None  # each process measures all of it
    try:
        for batch in pipeline.batches(split, plan):
            with precision.autocast():
                model(batch.features, batch.lengths, batch.detected)
            for norm, total in zip(norms, totals, strict=True):
                mean = norm.running_mean.double()
                total += batch.frames * torch.stack([mean, norm.running_var.double() + mean**2])
            frames += batch.frames
    finally:
        for norm, (momentum, join, batches) in zip(norms, kept, strict=True):
            norm.momentum, norm.join = momentum, join
            norm.num_batches_tracked.copy_(batches)
        model.train(was_training)
    for norm, total in zip(norms, totals, strict=True):
        mean, square = total / frames
        norm.running_mean.copy_(mean)
        norm.running_var.copy_((square - mean**2).clamp(min=0))
