"""The optimiser of a run."""

import torch
from torch import nn

from models.build import HEAD_WEIGHTS
from training.config import TrainingConfig


def make_optimizer(model: nn.Module, options: TrainingConfig) -> torch.optim.Optimizer:
    """AdamW (decoupled weight decay) or Adam (L2 decay), with fused kernels.

    Biases, normalisation parameters and the class vectors of the cosine heads are not decayed: the
    length of a class vector has no meaning.
    """
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        (free if parameter.ndim < 2 or name in HEAD_WEIGHTS else decayed).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": options.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    kinds: dict[str, type[torch.optim.AdamW] | type[torch.optim.Adam]]
    kinds = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}
    return kinds[options.optimizer](groups, lr=options.learning_rate, fused=True)
