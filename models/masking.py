"""Sentence masks, and batch normalisation that ignores padding: padding never changes the output of
a sentence."""

import torch
from torch import Tensor, nn

from models.masked_normalization import JoinRows, frame_statistics, normalize_frames


def sentence_mask(lengths: Tensor, frames: int) -> Tensor:
    """float (B, 1, frames): 1 inside each sentence, 0 in its padding. lengths: int (B,)."""
    return (torch.arange(frames, device=lengths.device) < lengths[:, None]).float()[:, None]


class MaskedBatchNorm(nn.BatchNorm1d):
    """Batch normalisation of (B, C, T) over the frames inside the sentences; padding becomes zero.

    In evaluation this is nn.BatchNorm1d followed by the mask. In training the statistics are those
    that nn.BatchNorm1d computes on the frames of all sentences, joined without padding. With `join`
    they are the statistics over the frames of all models that share a batch, as in
    nn.SyncBatchNorm, which has no mask and does not run on a CPU.
    """

    join: JoinRows | None = None
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:  # type: ignore[override]
        """x (B, C, T), mask float (B, 1, T) -> (B, C, T) in x's type; statistics are float32."""
        if not self.training:
            return self._scale_and_shift(x, mask, self.running_mean, self.running_var)
        # Compiled code does not need the written-out gradient: torch joins the kernels anyway, and
        # torch 2.11 loses such a gradient when it compiles a second length.
        if torch.compiler.is_compiling() and self.join is None:
            mean, variance, count = frame_statistics(x, mask)
            self._update_running_statistics(mean.detach(), variance.detach(), count.detach())
            return self._scale_and_shift(x, mask, mean, variance)
        normalize = normalize_frames
        if torch.compiler.is_compiling():  # an exchange cannot be compiled
            normalize = torch.compiler.disable(normalize_frames)
        out, mean, variance, count = normalize(x, mask, self.weight, self.bias, self.eps, self.join)
        self._update_running_statistics(mean, variance, count)
        return out

    def _scale_and_shift(self, x: Tensor, mask: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """x (B, C, T) normalised with mean and variance (C,), then weight and bias, then mask."""
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        return ((x * scale[:, None] + shift[:, None]) * mask).to(x.dtype)

    @torch.no_grad()
    def _update_running_statistics(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Update the running statistics with mean and variance (C,) of a batch; count () frames."""
        unbiased = variance * (count / (count - 1).clamp(min=1))
        # The trainer skips an update that overflows; the running statistics must not keep the
        # overflow either. If the mean is not finite, the variance is not finite.
        finite = unbiased < torch.inf
        self.running_mean.lerp_(torch.where(finite, mean, self.running_mean), self.momentum)
        self.running_var.lerp_(torch.where(finite, unbiased, self.running_var), self.momentum)
        self.num_batches_tracked.add_(1)
