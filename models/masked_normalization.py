"""Masked batch normalisation in training, as one function with a written-out gradient.

The result is that of autograd over `frame_statistics`, scale and shift. But autograd launches 1.7
times as many kernels, and with small batches a GPU waits for these launches
(benchmarks/launches.py). `MaskedBatchNorm` is the only user.
"""

from typing import Any

import torch
from torch import Tensor


def normalize_frames(
    x: Tensor, mask: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Normalise x (B, C, T) by the statistics of its frames inside mask (B, 1, T).

    weight, bias (C,); eps is added to the variance. Returns the output (B, C, T) in x's type, and
    mean (C,), variance (C,) and count () of the frames, without gradients. All of it is computed in
    float32, whatever the types of x and mask are.
    """
    return _NormalizeFrames.apply(x, mask, weight, bias, eps)


class _NormalizeFrames(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, mask: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x32, mask = x.float(), mask.float()
        count = mask.sum()
        mean = (x32 * mask).sum((0, 2)) / count
        centred = (x32 - mean[:, None]) * mask
        variance = (centred * centred).sum((0, 2)) / count
        inverse_std = torch.rsqrt(variance + eps)
        out = torch.addcmul(bias[:, None], centred, (weight * inverse_std)[:, None]) * mask
        ctx.save_for_backward(centred, mask, weight, inverse_std, count)
        ctx.input_type = x.dtype
        ctx.mark_non_differentiable(mean, variance, count)
        return out.to(x.dtype), mean, variance, count

    @staticmethod
    def backward(
        ctx: Any, gradient: Tensor, *_: Tensor
    ) -> tuple[Tensor, None, Tensor, Tensor, None]:
        centred, mask, weight, inverse_std, count = ctx.saved_tensors
        gradient = gradient * mask
        bias_gradient = gradient.sum((0, 2))
        weight_gradient = (gradient * centred).sum((0, 2)) * inverse_std
        # The output does not change when x moves along with its mean or its variance. So two parts
        # of the gradient are subtracted: its mean, and its share along the normalised values.
        rest = torch.addcmul(gradient, mask, (bias_gradient / count)[:, None], value=-1)
        rest = torch.addcmul(
            rest, centred, (weight_gradient * inverse_std / count)[:, None], value=-1
        )
        x_gradient = (rest * (weight * inverse_std)[:, None]).to(ctx.input_type)
        return x_gradient, None, weight_gradient, bias_gradient, None
