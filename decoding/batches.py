"""Decode all sentences of a split, in batches of similar lengths."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

# (log_probs (B, T, V), lengths int (B,)) -> class indices of each sentence
Decoder = Callable[[Tensor, Tensor], list[list[int]]]

_BATCH_SIZE = 64  # sentences


def batches_by_length(posteriors: Sequence[Tensor]) -> Iterator[tuple[list[int], Tensor, Tensor]]:
    """Batches of sentences of similar lengths: their indices, log_probs (B, T, V) with zeros as
    padding, lengths int64 (B,).

    posteriors: log-probs float (T, V) of each sentence.
    """
    order = sorted(range(len(posteriors)), key=lambda index: len(posteriors[index]))
    for start in range(0, len(order), _BATCH_SIZE):
        indices = order[start : start + _BATCH_SIZE]
        rows = [posteriors[index] for index in indices]
        yield (
            indices,
            torch.nn.utils.rnn.pad_sequence(rows, batch_first=True),
            torch.tensor([len(row) for row in rows]),
        )


def decode_split(posteriors: Sequence[Tensor], decoder: Decoder) -> list[list[int]]:
    """The hypothesis of each sentence as class indices, in the order of `posteriors`.

    posteriors: log-probs float (T, V) of each sentence.
    """
    hypotheses: list[list[int]] = [[] for _ in posteriors]
    for indices, log_probs, lengths in batches_by_length(posteriors):
        for index, hypothesis in zip(indices, decoder(log_probs, lengths), strict=True):
            hypotheses[index] = hypothesis
    return hypotheses
