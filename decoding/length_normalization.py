"""Adaptive length normalization: several readings of one sentence compared at lengths that differ.

A CTC model's best path drops glosses that it hesitates over, and sometimes hangs spurious ones onto a sentence's end. The
readings compared here are the best paths under several blank penalties (a negative penalty drops hesitant glosses, a
positive one brings them out), each also without its low-confidence trailing glosses. Each reading h is scored by its exact
CTC probability, summed over all alignments, normalised by a length term whose strength adapts to the sentence:

    score(h) = log P(h | x) / (|h| + 1) ** alpha,      alpha = strength * (1 - confidence) * shortfall

|h| + 1 because a reading is also the decision to stop. `confidence` is the mean probability of the best path's steps and
`shortfall` how far, 0 to 1, the best path falls short of the glosses expected from the sentence's length and the train split's
steps a gloss. Where the model is sure, or its best path is as long as expected, alpha is 0: the most probable reading
wins, and spurious extra glosses lose. Where it is unsure and short, longer readings win, and long sentences are not cut.
Normalising by a power of the length is that of Wu et al. 2016 (arXiv:1609.08144, section 7); its adaptation is this project's.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from decoding.greedy import best_path

MAX_GLOSSES = 50
_PROTECTED = 2  # the first glosses are never trimmed


@dataclass(frozen=True)
class LengthNormalization:
    """Settings of the adaptive decoder; steps_per_gloss comes from the train split and travels in the checkpoint."""

    steps_per_gloss: float
    strength: float = 1.0
    blank_penalties: tuple[float, ...] = (-1.0, 0.0, 1.0, 2.0)  # nats taken from every blank


def confidence_threshold(confidences: list[float]) -> float:
    """mean - k * std of a reading's gloss confidences; k falls as it grows: 0.5 up to 5 glosses, 0.3 up to 15, then 0.2."""
    k = 0.5 if len(confidences) <= 5 else 0.3 if len(confidences) <= 15 else 0.2
    values = torch.tensor(confidences, dtype=torch.float64)
    return float(values.mean() - k * values.std(unbiased=False))


def trim_trailing(glosses: list[int], confidences: list[float]) -> list[int]:
    """Without the trailing glosses below `confidence_threshold`; the first two stay, and at most 50 are kept."""
    keep = len(glosses)
    if keep > _PROTECTED:
        threshold = confidence_threshold(confidences)
        while keep > _PROTECTED and confidences[keep - 1] < threshold:
            keep -= 1
    return glosses[: min(keep, MAX_GLOSSES)]


def _read(log_probs: Tensor, penalty: float) -> tuple[list[int], list[float]]:
    """Best path under a blank penalty, and each gloss's highest probability (unpenalised) within its run."""
    penalised = log_probs.clone()
    penalised[:, 0] -= penalty
    path, begins = best_path(penalised[None], torch.tensor([len(log_probs)]))
    probability = log_probs.gather(1, path[0][:, None])[:, 0].exp().tolist()
    glosses, confidences = [], []
    for step, (index, begin) in enumerate(zip(path[0].tolist(), begins[0].tolist(), strict=True)):
        if begin:
            glosses.append(index)
            confidences.append(probability[step])
        elif index != 0:
            confidences[-1] = max(confidences[-1], probability[step])
    return glosses, confidences


def ctc_log_probability(log_probs: Tensor, readings: list[list[int]]) -> Tensor:
    """log P(reading | log_probs) summed over all alignments, float64 (N,). log_probs (T, V); -inf where none exists."""
    lengths = torch.tensor([len(reading) for reading in readings])
    targets = torch.zeros(len(readings), max(int(lengths.max()), 1), dtype=torch.int64)
    for row, reading in enumerate(readings):
        targets[row, : len(reading)] = torch.tensor(reading, dtype=torch.int64)
    repeated = log_probs.double()[:, None].expand(-1, len(readings), -1)  # (T, N, V)
    steps = torch.full((len(readings),), len(log_probs))
    return -functional.ctc_loss(repeated, targets, steps, lengths, blank=0, reduction="none")


def adaptive_decode(log_probs: Tensor, lengths: Tensor, settings: LengthNormalization) -> list[list[int]]:
    """Class indices of each sentence. log_probs (B, T, V), lengths int (B,) >= 1; runs on the CPU, a sentence at a time."""
    return [
        _decode_sentence(sentence[:length].float(), settings)
        for sentence, length in zip(log_probs.cpu(), lengths.tolist(), strict=True)
    ]


def _decode_sentence(log_probs: Tensor, settings: LengthNormalization) -> list[int]:
    best, _ = _read(log_probs, 0.0)
    readings = []
    for penalty in settings.blank_penalties:
        glosses, confidences = _read(log_probs, penalty)
        for reading in (glosses[:MAX_GLOSSES], trim_trailing(glosses, confidences)):
            if reading not in readings:
                readings.append(reading)
    expected = len(log_probs) / settings.steps_per_gloss
    shortfall = min(max(1 - len(best) / expected, 0.0), 1.0)
    confidence = float(log_probs.max(-1).values.exp().mean())
    alpha = settings.strength * (1 - confidence) * shortfall
    size = torch.tensor([len(reading) + 1 for reading in readings], dtype=torch.float64)
    scores = ctc_log_probability(log_probs, readings) / size**alpha
    return readings[int(scores.argmax())]
