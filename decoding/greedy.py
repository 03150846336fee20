"""Greedy CTC decoding: the best class of each step, repeats merged, blanks removed."""

import torch
from torch import Tensor

from data.features import frame_mask
from data.vocabulary import BLANK


def best_path(log_probs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """The best class of each step, int64 (B, T), with blanks outside the lengths; and whether a
    gloss begins at the step, bool (B, T).

    log_probs (B, T, V), lengths int (B,).
    """
    inside = frame_mask(lengths, log_probs.shape[1])
    path = log_probs.argmax(-1).masked_fill(~inside, BLANK)
    previous = torch.nn.functional.pad(path[:, :-1], (1, 0), value=BLANK)
    return path, (path != BLANK) & (path != previous)


def greedy_decode(log_probs: Tensor, lengths: Tensor) -> list[list[int]]:
    """The glosses of each sentence's best path, as class indices.

    log_probs (B, T, V), lengths int (B,) >= 0.
    """
    path, begins = best_path(log_probs, lengths)
    path, begins = path.cpu(), begins.cpu()
    return [row[begin].tolist() for row, begin in zip(path, begins, strict=True)]
