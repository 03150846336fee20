"""The learning rate as a pure function of the step, so that resuming needs no scheduler state."""

import math


def learning_rate(
    step: float, *, peak: float, minimum: float, warmup_steps: int, total_steps: int
) -> float:
    """Linear warm-up to `peak` over `warmup_steps`, then half a cosine down to `minimum` at the
    last step.

    step: 0 is the first update. The first warm-up step is peak / warmup_steps, never 0.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(total_steps - 1 - warmup_steps, 1)
    return minimum + (peak - minimum) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
