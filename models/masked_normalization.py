"""Masked batch normalisation in training, as one function with a written-out gradient.

The result is that of autograd over `frame_statistics`, scale and shift. But autograd launches 1.7
times as many kernels, and with small batches a GPU waits for these launches
(benchmarks/launches.py). `MaskedBatchNorm` is the only user.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

# A row (D,) of this model -> the rows (N, D) of the N models that share a batch, in their order.
# All of them call it at the same place.
JoinRows = Callable[[Tensor], Tensor]


def frame_statistics(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (C,), variance (C,) and count () of the frames of x (B, C, T) inside mask (B, 1, T).

    All float32. The mask must have at least one frame.
    """
    x, count = x.float(), mask.sum(dtype=torch.float32)
    mean = (x * mask).sum((0, 2)) / count
    return mean, (((x - mean[:, None]) * mask) ** 2).sum((0, 2)) / count, count


def normalize_frames(
    x: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    join: JoinRows | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Normalise x (B, C, T) by the statistics of its frames inside mask (B, 1, T).

    Args:
        x: (B, C, T).
        mask: (B, 1, T).
        weight, bias: (C,).
        eps: is added to the variance.
        join: if several models share a batch, the statistics are those of all its frames. Each
            model then gets the gradient of all outputs for its own x, and that of its own outputs
            for weight and bias. The mask of a model may be empty.

    Returns the output (B, C, T) in x's type, and mean (C,), variance (C,) and count () of the
    frames, without gradients. All of it is computed in float32, whatever the types of x and mask
    are.
    """
    return _NormalizeFrames.apply(x, mask, weight, bias, eps, join)


class _NormalizeFrames(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        mask: Tensor,
        weight: Tensor,
        bias: Tensor,
        eps: float,
        join: JoinRows | None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x32, mask = x.float(), mask.float()
        count = mask.sum()
        mean = (x32 * mask).sum((0, 2)) / (count if join is None else count.clamp(min=1))
        centred = (x32 - mean[:, None]) * mask
        squares = (centred * centred).sum((0, 2))
        if join is not None:
            own = mean
            count, mean, squares = _joined(join, count, mean, squares)
            centred = centred + (own - mean)[:, None] * mask
        variance = squares / count
        inverse_std = torch.rsqrt(variance + eps)
        out = torch.addcmul(bias[:, None], centred, (weight * inverse_std)[:, None]) * mask
        ctx.save_for_backward(centred, mask, weight, inverse_std, count)
        ctx.input_type, ctx.join = x.dtype, join
        ctx.mark_non_differentiable(mean, variance, count)
        return out.to(x.dtype), mean, variance, count

    @staticmethod
    def backward(
        ctx: Any, gradient: Tensor, *_: Tensor
    ) -> tuple[Tensor, None, Tensor, Tensor, None, None]:
        centred, mask, weight, inverse_std, count = ctx.saved_tensors
        gradient = gradient * mask
        bias_gradient = gradient.sum((0, 2))
        weight_gradient = (gradient * centred).sum((0, 2)) * inverse_std
        along_mean, along_spread = bias_gradient, weight_gradient
        if ctx.join is not None:
            rows = ctx.join(torch.cat([bias_gradient, weight_gradient]))
            along_mean, along_spread = rows.sum(0).chunk(2)
        # The output does not change when x moves along with its mean or its variance. So two parts
        # of the gradient are subtracted: its mean, and its share along the normalised values.
        rest = torch.addcmul(gradient, mask, (along_mean / count)[:, None], value=-1)
        rest = torch.addcmul(rest, centred, (along_spread * inverse_std / count)[:, None], value=-1)
        x_gradient = (rest * (weight * inverse_std)[:, None]).to(ctx.input_type)
        return x_gradient, None, weight_gradient, bias_gradient, None, None


def _joined(
    join: JoinRows, count: Tensor, mean: Tensor, squares: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Count (), mean (C,) and sum of squares about the mean (C,) of the frames of all models.

    Each model sums the squares about its own mean, and the sums are joined afterwards (Chan, Golub
    & LeVeque 1979). This needs one exchange and does not cancel, as sums of plain squares do.
    """
    table = join(torch.cat([count[None], mean, squares]))  # (N, 1 + 2 C)
    counts = table[:, :1]
    means, squares = table[:, 1:].chunk(2, dim=1)
    count = counts.sum()
    mean = (counts * means).sum(0) / count
    return count, mean, (squares + counts * (means - mean) ** 2).sum(0)
