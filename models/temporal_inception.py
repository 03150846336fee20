"""Temporal inception: parallel convolutions over time, with max pooling by 2 after each stage."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from data.features import frame_mask
from models.cpu_kernels import Dropout
from models.masking import MaskedBatchNorm


class TemporalInception(nn.Module):
    """Parallel convolutions with kernels of several sizes and a pooled branch, joined and
    normalised: an inception block (Szegedy et al. 2015; Carreira & Zisserman 2017) over time.

    Most of the width goes to kernel 5. Kernels 3 and 9 see faster and slower movement, and the
    pooled branch keeps what does not move. (B, in_width, T) -> (B, out_width, T).
    """

    def __init__(self, in_width: int, out_width: int):
        super().__init__()
        eighth = out_width // 8
        widths = {3: eighth, 5: out_width - 3 * eighth, 9: eighth}
        self.branches = nn.ModuleList(
            nn.Conv1d(in_width, width, kernel, padding=kernel // 2, bias=False)
            for kernel, width in widths.items()
        )
        self.pooled = nn.Conv1d(in_width, eighth, 1, bias=False)
        self.norm = MaskedBatchNorm(out_width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, in_width, T) >= 0 with zeros outside the sentences, mask (B, 1, T) ->
        (B, out_width, T)."""
        # x is not negative, so the zeros of the padding never win the maximum.
        pooled = self.pooled(functional.max_pool1d(x, 3, stride=1, padding=1))
        x = torch.cat([*(branch(x) for branch in self.branches), pooled], dim=1)
        return torch.relu(self.norm(x, mask))


class InceptionStack(nn.Module):
    """Two inception stages, each followed by max pooling by 2: time stride exactly 4.

    A sentence of T frames becomes ceil(T / 4) steps, however much padding it has.
    """

    def __init__(self, in_width: int, widths: tuple[int, int], dropout: float):
        super().__init__()
        self.stages = nn.ModuleList(
            [TemporalInception(in_width, widths[0]), TemporalInception(*widths)]
        )
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, C, T), lengths (B,) -> x (B, widths[1], ceil(T / 4)), lengths (B,)."""
        for stage in self.stages:
            inside = frame_mask(lengths, x.shape[2])
            mask = inside.to(x.dtype)[:, None]  # in x's type, so in 16 bit under autocast
            x = functional.max_pool1d(self.dropout(stage(x, mask)), 2, ceil_mode=True)
            lengths = (lengths + 1) // 2
        return x, lengths
