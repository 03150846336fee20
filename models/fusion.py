"""Fusion of the parts' encodings into one sequence."""

import torch
from torch import Tensor, nn

from models.masking import MaskedBatchNorm


class GatedFusion(nn.Module):
    """Join the encodings of all parts. Each part is scaled by a gate first, frame by frame.

    Each gate depends on all parts of the frame. So the model can rely on the body where a hand is
    lost. (B, sum of widths, T) -> (B, out_width, T).
    """

    def __init__(self, widths: list[int], out_width: int):
        super().__init__()
        self.widths = widths
        self.gate = nn.Conv1d(sum(widths), len(widths), 1)
        self.project = nn.Conv1d(sum(widths), out_width, 1, bias=False)
        self.norm = MaskedBatchNorm(out_width)
        assert self.gate.bias is not None
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)

    def forward(self, parts: list[Tensor], mask: Tensor) -> Tensor:
        """parts: (B, width, T) of each part, mask (B, 1, T) -> (B, out_width, T)."""
        x = torch.cat(parts, dim=1)
        gates = 2 * torch.sigmoid(self.gate(x))  # (B, parts, T); all 1 before training
        x = torch.cat([part * gates[:, i : i + 1] for i, part in enumerate(parts)], dim=1)
        return torch.relu(self.norm(self.project(x), mask))
