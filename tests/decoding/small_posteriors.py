"""Log-probabilities that are written by hand, and short ways to decode them."""

import torch

from decoding.batches import decode_sentences
from decoding.greedy import greedy_decode
from decoding.length_normalization import adaptive_decode


def log_probs_of(rows: list[list[float]]) -> torch.Tensor:
    """(T, V) of the given probabilities."""
    return torch.tensor(rows, dtype=torch.float64).log().float()


def greedy(rows: list[list[float]]) -> list[int]:
    return greedy_decode(log_probs_of(rows)[None], torch.tensor([len(rows)]))[0]


def decoded(posteriors, settings, model=None) -> list[list[int]]:
    decoders = {"adaptive": lambda *batch: adaptive_decode(*batch, settings, model)}
    found = decode_sentences(enumerate(posteriors), len(posteriors), decoders)
    return list(found.predictions["adaptive"])
