"""Adaptive length normalization: several readings of one sentence compared at lengths that differ.

A CTC model's best path drops glosses that it hesitates over, and sometimes hangs spurious ones onto
a sentence. The readings compared here are a beam search's best ones. Each reading h is scored by
its log-probability, summed over its alignments and with the language model's where there is one,
normalised by a length term whose strength adapts to the sentence:

    score(h) = (log P(h | x) + lm_weight * log P_lm(h)) / (|h| + 1) ** alpha + gloss_bonus * |h|
    alpha    = strength * (1 - confidence) * shortfall

|h| + 1 because a reading is also the decision to stop. `confidence` is the mean probability of the best path's steps;
`shortfall`, -1 to 1, is how far the best path falls short of (below 0: exceeds) the glosses expected from the sentence's steps
and the train split's steps a gloss. Where the model is sure, or its best path is as long as expected, alpha is 0 and the most
probable reading wins. Where it is unsure and short, longer readings win and long sentences are not cut; where it is unsure
and long, shorter ones win and spurious glosses are lost. Normalising by a power of the length is that of Wu et al. 2016
(arXiv:1609.08144, section 7); its adaptation is this project's.

Two cheap special cases look at the best path alone: as it is (greedy), or without its
low-confidence trailing glosses (filtered). `tune` chooses between all of them, and their
parameters, by the word error rate on a dev split.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import torch
from torch import Tensor

from data.vocabulary import Vocabulary
from decoding.batches import batches_by_length, decode_split
from decoding.beam_search import BeamResult, beam_search
from decoding.greedy import best_path, greedy_decode
from decoding.language_model import LanguageModel
from decoding.scoring import align

MAX_GLOSSES = 50
_PROTECTED = 2  # the first glosses are never trimmed
# What `tune` tries, the simplest first: of settings that are equally good on dev the first one is
# taken.
LM_WEIGHTS = (0.0, 0.25, 0.5, 1.0)
STRENGTHS = (0.0, 0.5, 1.0, 2.0, 4.0)
GLOSS_BONUSES = (0.0, 0.5, -0.5, 1.0, 1.5, 2.0, 3.0)


@dataclass(frozen=True)
class LengthNormalization:
    """Settings of the adaptive decoder, as a checkpoint holds them. steps_per_gloss comes from the
    train split; of the others only `readings` counts unless it is 'beam'."""

    steps_per_gloss: float
    readings: str = "beam"
    strength: float = 1.0
    gloss_bonus: float = 0.0
    lm_weight: float = 0.0

    def __str__(self) -> str:
        if self.readings != "beam":
            return {"greedy": "greedy", "filtered": "greedy with confidence filter"}[self.readings]
        return (
            f"beam, strength {self.strength:g}, gloss bonus {self.gloss_bonus:g}, language model weight "
            f"{self.lm_weight:g}, {self.steps_per_gloss:.2f} steps a gloss expected"
        )


def confidence_threshold(confidences: list[float]) -> float:
    """mean - k * std of a reading's gloss confidences; k falls as it grows: 0.5 up to 5 glosses,
    0.3 up to 15, then 0.2."""
    k = 0.5 if len(confidences) <= 5 else 0.3 if len(confidences) <= 15 else 0.2
    values = torch.tensor(confidences, dtype=torch.float64)
    return float(values.mean() - k * values.std(unbiased=False))


def trim_trailing(glosses: list[int], confidences: list[float]) -> list[int]:
    """Without the trailing glosses below `confidence_threshold`; the first two stay, and at most 50
    are kept."""
    keep = len(glosses)
    if keep > _PROTECTED:
        threshold = confidence_threshold(confidences)
        while keep > _PROTECTED and confidences[keep - 1] < threshold:
            keep -= 1
    return glosses[: min(keep, MAX_GLOSSES)]


def filtered_decode(log_probs: Tensor, lengths: Tensor) -> list[list[int]]:
    """The best path of each sentence without its low-confidence trailing glosses. log_probs
    (B, T, V), lengths int (B,)."""
    path, begins = (tensor.cpu().tolist() for tensor in best_path(log_probs, lengths))
    probability = log_probs.amax(-1).exp().cpu().tolist()
    readings = []
    for row in range(len(path)):
        glosses, confidences = [], []
        for index, begin, value in zip(path[row], begins[row], probability[row], strict=True):
            if begin:
                glosses.append(index)
                confidences.append(value)
            elif index != 0:
                confidences[-1] = max(confidences[-1], value)
        readings.append(trim_trailing(glosses, confidences))
    return readings


def adaptive_decode(
    log_probs: Tensor,
    lengths: Tensor,
    settings: LengthNormalization,
    language_model: LanguageModel | None = None,
) -> list[list[int]]:
    """Class indices of each sentence. log_probs (B, T, V), lengths int (B,) >= 1. Raises ValueError
    as `beam_search`."""
    if settings.readings == "greedy":
        return greedy_decode(log_probs, lengths)
    if settings.readings == "filtered":
        return filtered_decode(log_probs, lengths)
    return _choose(
        _search(log_probs, lengths, settings, language_model),
        _length_evidence(log_probs, lengths),
        settings,
    )


def _search(
    log_probs: Tensor,
    lengths: Tensor,
    settings: LengthNormalization,
    language_model: LanguageModel | None,
) -> BeamResult:
    model = language_model if settings.lm_weight else None
    return beam_search(
        log_probs,
        lengths,
        language_model=model,
        lm_weight=settings.lm_weight,
        gloss_bonus=settings.gloss_bonus,
    )


def _length_evidence(log_probs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of each sentence: mean probability of the best path's steps float64 (B,), its glosses and the
    steps int64 (B,)."""
    lengths = lengths.to(log_probs.device)
    inside = torch.arange(log_probs.shape[1], device=log_probs.device) < lengths[:, None]
    probability = log_probs.amax(-1).double().exp().where(inside, 0.0)
    # A running sum adds up in one order, however long the batch is.
    return probability.cumsum(1)[:, -1] / lengths, best_path(log_probs, lengths)[1].sum(1), lengths


def _choose(
    result: BeamResult, evidence: tuple[Tensor, Tensor, Tensor], settings: LengthNormalization
) -> list[list[int]]:
    confidence, spoken, steps = evidence
    shortfall = (1 - spoken * settings.steps_per_gloss / steps).clamp(-1, 1)
    alpha = settings.strength * (1 - confidence) * shortfall
    # Part of the search, so that it counts when prefixes are pruned
    bonus = settings.gloss_bonus * result.counts
    scores = (result.scores - bonus) / (result.counts + 1) ** alpha[:, None] + bonus
    best = scores.argmax(1).tolist()
    return [
        result.glosses[row, n, : result.counts[row, n]].tolist()[:MAX_GLOSSES]
        for row, n in enumerate(best)
    ]


def tune(
    posteriors: Sequence[Tensor],
    references: Sequence[Sequence[str]],
    vocabulary: Vocabulary,
    steps_per_gloss: float,
    language_model: LanguageModel | None,
) -> LengthNormalization:
    """The settings with the lowest word error rate on a dev split, the simplest of equally good
    ones.

    posteriors: log-probs float (T, V) of each sentence. Plain greedy is among what is tried, so on
    this split the chosen settings are never worse than it. Without a language model, its weight is
    0.
    """
    known_errors: dict[tuple[int, tuple[int, ...]], int] = {}

    def errors(index: int, reading: list[int]) -> int:
        key = index, tuple(reading)
        if key not in known_errors:
            known_errors[key] = align([references[index]], [vocabulary.decode(reading)])[0].errors
        return known_errors[key]

    def total(readings: list[list[int]]) -> int:
        return sum(errors(index, reading) for index, reading in enumerate(readings))

    best = LengthNormalization(steps_per_gloss, "greedy", 0.0)
    fewest = total(decode_split(posteriors, greedy_decode))
    filtered = total(decode_split(posteriors, filtered_decode))
    if filtered < fewest:
        best, fewest = replace(best, readings="filtered"), filtered
    batches = [
        (indices, *batch, _length_evidence(*batch))
        for indices, *batch in batches_by_length(posteriors)
    ]
    weights = LM_WEIGHTS if language_model is not None else LM_WEIGHTS[:1]
    for weight, bonus in product(weights, GLOSS_BONUSES):
        searching = LengthNormalization(steps_per_gloss, "beam", 0.0, bonus, weight)
        searched = [
            (indices, _search(log_probs, lengths, searching, language_model), evidence)
            for indices, log_probs, lengths, evidence in batches
        ]
        for strength in STRENGTHS:
            settings = replace(searching, strength=strength)
            found = sum(
                errors(index, reading)
                for indices, result, evidence in searched
                for index, reading in zip(indices, _choose(result, evidence, settings), strict=True)
            )
            if found < fewest:
                best, fewest = settings, found
    return best
