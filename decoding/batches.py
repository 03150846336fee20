"""Decoding of a whole split: sentences of similar length together."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

Decoder = Callable[
    [Tensor, Tensor], list[list[int]]
]  # log_probs (B, T, V), lengths (B,) -> class indices of each sentence

_BATCH = 64


def batches_by_length(posteriors: Sequence[Tensor]) -> Iterator[tuple[list[int], Tensor, Tensor]]:
    """Sentences of similar length together: their indices, log-probs (B, T, V) zero-padded, lengths
    int64 (B,).

    posteriors: float (T, V) each.
    """
    order = sorted(range(len(posteriors)), key=lambda index: len(posteriors[index]))
    for start in range(0, len(order), _BATCH):
        indices = order[start : start + _BATCH]
        rows = [posteriors[index] for index in indices]
        yield (
            indices,
            torch.nn.utils.rnn.pad_sequence(rows, batch_first=True),
            torch.tensor([len(row) for row in rows]),
        )


def decode_split(posteriors: Sequence[Tensor], decoder: Decoder) -> list[list[int]]:
    """Class indices of each sentence, in the order of `posteriors`."""
    readings: list[list[int]] = [[] for _ in posteriors]
    for indices, log_probs, lengths in batches_by_length(posteriors):
        for index, reading in zip(indices, decoder(log_probs, lengths), strict=True):
            readings[index] = reading
    return readings
