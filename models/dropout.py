"""Dropout whose random numbers are cheap on a CPU."""

import torch
from torch import Tensor, nn

LEVELS = 2**16  # of a random number of 16 bits


class Dropout(nn.Dropout):
    """nn.Dropout; on a CPU, where torch draws one number of 64 bits a value on one thread, four values share one.

    There the probability is rounded to 1/65536, and what is kept is scaled by the rounded one's inverse, so that the
    expectation stays exact. The draws follow torch.manual_seed. (…) -> (…).
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.p or x.device.type != "cpu" or torch.compiler.is_compiling():
            return super().forward(x)
        dropped = min(round(self.p * LEVELS), LEVELS - 1)
        words = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        kept = words.view(torch.int16)[: x.numel()].view(x.shape) >= dropped - LEVELS // 2
        return x * (kept.to(x.dtype) * (LEVELS / (LEVELS - dropped)))
