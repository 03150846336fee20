"""A conformer with windowed attention.

The blocks follow Gulati et al. (Interspeech 2020, arXiv:2005.08100): half feed-forward, attention,
convolution, half feed-forward. Two things differ. A step attends only to a window around it, with a
learned bias for each distance. Layer norm replaces batch norm in the convolution.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.config import CONFORMER_HEADS as HEADS
from models.cpu_kernels import Dropout, Linear
from models.masking import sentence_mask

CONTEXT = 16  # steps on each side that a step attends to: 64 frames, about 2.5 s
KERNEL = 7  # steps of the depthwise convolution


class Conformer(nn.Module):
    """(B, T, in_width) -> (B, T, width). Steps outside the lengths never change steps inside."""

    def __init__(self, in_width: int, width: int, blocks: int, dropout: float):
        super().__init__()
        self.out_width = width
        self.enter = Linear(in_width, width)
        self.blocks = nn.ModuleList(ConformerBlock(width, dropout) for _ in range(blocks))

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """x (B, T, in_width), lengths int (B,) -> (B, T, width). The output has no meaning outside
        the lengths."""
        inside = sentence_mask(lengths, x.shape[1])  # (B, 1, T)
        window = _Window(inside)
        x = self.enter(x)
        for block in self.blocks:
            x = block(x, inside, window)
        return x


class _Window:
    """The steps that each step attends to; made from inside (B, 1, T), see `ConformerBlock`.

    distance: int64 (T, T), 0 to 2 * CONTEXT: which learned bias two steps have.
    forbidden: bool (B, 1, T, T), True where a step (row) must not attend to another (column).
    """

    def __init__(self, inside: Tensor):
        time = torch.arange(inside.shape[2], device=inside.device)
        distance = time - time[:, None]
        self.distance = distance.clamp(-CONTEXT, CONTEXT) + CONTEXT
        # Each step attends to itself, also in the padding, so that no row of the softmax is empty.
        allowed = ((distance.abs() <= CONTEXT) & (inside > 0)) | (distance == 0)
        self.forbidden = ~allowed[:, None]


class ConformerBlock(nn.Module):
    """One block, (B, T, width) -> (B, T, width)."""

    def __init__(self, width: int, dropout: float):
        super().__init__()
        self.feed = nn.ModuleList(_feed_forward(width, dropout) for _ in range(2))
        self.attention_norm = nn.LayerNorm(width)
        self.queries_keys_values = Linear(width, 3 * width)
        self.distance_bias = nn.Parameter(torch.zeros(HEADS, 2 * CONTEXT + 1))
        self.attention_out = Linear(width, width)
        self.convolution_norm = nn.LayerNorm(width)
        self.convolution_in = Linear(width, 2 * width)
        self.convolution = nn.Conv1d(width, width, KERNEL, padding=KERNEL // 2, groups=width)
        self.convolved_norm = nn.LayerNorm(width)
        self.convolution_out = Linear(width, width)
        self.dropout = Dropout(dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, inside: Tensor, window: _Window) -> Tensor:
        """x (B, T, width); inside float (B, 1, T) is 1 on the steps of the sentence."""
        x = x + 0.5 * self.feed[0](x)
        x = x + self.dropout(self._attend(self.attention_norm(x), window))
        x = x + self.dropout(self._convolve(self.convolution_norm(x), inside))
        x = x + 0.5 * self.feed[1](x)
        return self.norm(x)

    def _attend(self, x: Tensor, window: _Window) -> Tensor:
        batch, steps, width = x.shape
        queries, keys, values = (
            self.queries_keys_values(x).view(batch, steps, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        )
        bias = self.distance_bias[:, window.distance]  # (heads, T, T)
        bias = bias[None].masked_fill(window.forbidden, float("-inf"))
        attended = functional.scaled_dot_product_attention(
            queries, keys, values, attn_mask=bias.to(queries.dtype)
        )
        return self.attention_out(attended.transpose(1, 2).reshape(batch, steps, width))

    def _convolve(self, x: Tensor, inside: Tensor) -> Tensor:
        x = functional.glu(self.convolution_in(x), dim=-1).transpose(1, 2) * inside
        x = self.convolved_norm(self.convolution(x).transpose(1, 2))
        return self.convolution_out(functional.silu(x))


def _feed_forward(width: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(width),
        Linear(width, 4 * width),
        nn.SiLU(),
        Dropout(dropout),
        Linear(4 * width, width),
        Dropout(dropout),
    )
