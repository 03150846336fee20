"""Layers that see only the frames of a sentence, so that padding never changes its output."""

import torch
from torch import Tensor, nn


def frame_mask(lengths: Tensor, frames: int) -> Tensor:
    """float (B, 1, frames), 1 where the frame belongs to the sentence. lengths: int (B,)."""
    return (torch.arange(frames, device=lengths.device) < lengths[:, None]).float()[:, None]


class MaskedBatchNorm(nn.BatchNorm1d):
    """Batch normalisation of (B, C, T) over the frames inside the sentences; frames outside come out as zeros.

    In evaluation it is nn.BatchNorm1d followed by the mask; in training the statistics are those that nn.BatchNorm1d
    would see had the sentences' frames been joined without padding.
    """

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:  # type: ignore[override]
        """x (B, C, T), mask float (B, 1, T) -> (B, C, T) of x's type; statistics in float32."""
        if self.training:
            x32, count = x.float(), mask.sum(dtype=torch.float32)
            mean = (x32 * mask).sum((0, 2)) / count
            variance = (((x32 - mean[:, None]) * mask) ** 2).sum((0, 2)) / count
            with torch.no_grad():
                unbiased = variance * (count / (count - 1).clamp(min=1))
                # An overflow that the trainer skips must not stay in the running statistics for ever.
                finite = mean.isfinite() & unbiased.isfinite()
                self.running_mean.lerp_(torch.where(finite, mean, self.running_mean), self.momentum)
                self.running_var.lerp_(torch.where(finite, unbiased, self.running_var), self.momentum)
                self.num_batches_tracked.add_(1)
        else:
            mean, variance = self.running_mean, self.running_var
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        return ((x * scale[:, None] + shift[:, None]) * mask).to(x.dtype)
