"""Helpers that several tests of training share."""

import math

import numpy as np
import torch

from training.resume import plan_start
from training.setup import prepare_run


def prepare_trainer(settings: dict, **training):
    """A trainer of a new run that has made no update. `training` changes the settings."""
    settings["training"] |= training
    return prepare_run(plan_start(None, settings)).trainer


def plain_batches(trainer, plan) -> list:
    """The planned batches of the train split, without augmentation."""
    return list(
        trainer.pipeline.batches(trainer.train.split, [np.array(indices) for indices in plan])
    )


def run_update(trainer, batches) -> None:
    """Run one update and record its losses at once."""
    trainer.update(batches)
    trainer.finish_pending_update()


def copy_parameters(trainer) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.model.named_parameters()}


def make_losses_nan(trainer, bad_calls: set[int]) -> None:
    """Let the loss be NaN in the given calls, which are counted from 0."""
    compute, calls = trainer.loss, []

    def loss_or_nan(*arguments):
        losses = compute(*arguments)
        calls.append(1)
        if len(calls) - 1 in bad_calls:
            losses.total = losses.total * math.nan
        return losses

    loss_or_nan.flat_start = compute.flat_start
    trainer.loss = loss_or_nan
