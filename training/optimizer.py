"""The optimiser, its steps, and the schedule of the learning rate."""

import math
from typing import Any

import torch
from torch import Tensor, nn

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


def apply_gradients(
    model: nn.Module,
    optimizer: Any,
    scaler: torch.amp.GradScaler,
    max_grad_norm: float,
    losses: Tensor,
) -> Tensor:
    """Step, or skip the update when a loss or gradient is not finite; the device decides.

    Args:
        model: has the gradients, times the scale.
        optimizer: from `make_optimizer`.
        scaler: of the precision.
        max_grad_norm: the gradient is clipped to this norm.
        losses: of all sentences of the update, over all ranks.

    Returns the norm of the gradient before clipping, ().
    """
    scaler.unscale_(optimizer)
    norm = nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
    # As in `scaler.step`: where found_inf is 1, the fused optimiser changes nothing. A loss can
    # overflow where its gradient does not; `record_update` counts that as skipped, too.
    finite = losses.isfinite().all() & norm.isfinite()
    optimizer.grad_scale, optimizer.found_inf = None, (~finite).float()
    optimizer.step()
    del optimizer.grad_scale, optimizer.found_inf
    scaler.update()  # lowers the scale after an overflow
    return norm


def learning_rate(
    step: float, *, peak: float, minimum: float, warmup_steps: int, total_steps: int
) -> float:
    """Linear warm-up to `peak` over `warmup_steps`, then half a cosine down to `minimum` at the
    last step.

    step: 0 is the first update; it can be a fraction (`EpochPlan.step`). The first warm-up step is
    peak / warmup_steps, never 0.
    """
    if step < warmup_steps:
        return peak * min((step + 1) / warmup_steps, 1.0)
    progress = (step - warmup_steps) / max(total_steps - 1 - warmup_steps, 1)
    return minimum + (peak - minimum) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


# Updates of the flat start, at most. After some hundred updates CTC has found the glosses, and an
# even spread does harm: docs/experiments.md, "The flat start".
MAX_FLAT_START = 600


def flat_start_weight(step: float, updates: float) -> float:
    """The weight of the flat start: it falls in even steps, to 0 at the last of its updates.

    step: as for the learning rate; 0 is the first update. updates: asked for; there are no more
    than MAX_FLAT_START.
    """
    return max(0.0, 1 - (step + 1) / min(updates, MAX_FLAT_START)) if updates else 0.0
