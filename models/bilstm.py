"""A bidirectional LSTM over padded batches: exact, without packed sequences."""

import torch
from torch import Tensor, nn

from data.features import frame_mask
from models.cpu_kernels import Dropout


def flip_index(lengths: Tensor, steps: int) -> Tensor:
    """int64 (B, steps): the index that reverses each row inside its length; padding stays in place.
    lengths: int (B,)."""
    time = torch.arange(steps, device=lengths.device)
    return torch.where(frame_mask(lengths, steps), lengths[:, None] - 1 - time, time)


class BiLSTM(nn.Module):
    """Layers of two LSTMs: one runs forward, one runs backward from the end of each sentence.

    The backward LSTM gets each sentence reversed, so its first input is the sentence's last step
    and never padding. Inside the lengths the output equals that of nn.LSTM(bidirectional=True) on a
    packed sequence, which takes about four times as long on a CPU (benchmarks/speed.py).
    (B, T, in_width) -> (B, T, 2 * hidden).
    """

    def __init__(self, in_width: int, hidden: int, layers: int, dropout: float):
        super().__init__()
        self.out_width = 2 * hidden
        widths = [in_width, *[2 * hidden] * (layers - 1)]
        self.forward_layers = nn.ModuleList(
            nn.LSTM(width, hidden, batch_first=True) for width in widths
        )
        self.backward_layers = nn.ModuleList(
            nn.LSTM(width, hidden, batch_first=True) for width in widths
        )
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """x (B, T, in_width), lengths int (B,) -> (B, T, 2 * hidden). The output has no meaning
        outside the lengths."""
        index = flip_index(lengths, x.shape[1])[:, :, None]
        for layer, (forward_lstm, backward_lstm) in enumerate(
            zip(self.forward_layers, self.backward_layers, strict=True)
        ):
            if layer > 0:
                x = self.dropout(x)
            reversed_x = x.gather(1, index.expand(x.shape))
            ahead, back = forward_lstm(x)[0], backward_lstm(reversed_x)[0]
            x = torch.cat([ahead, back.gather(1, index.expand(back.shape))], dim=2)
        return x
