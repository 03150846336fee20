"""Adaptive length normalization: compare hypotheses of one sentence that differ in length.

A CTC model's best path drops glosses of which the model is unsure, and sometimes appends spurious
ones. Here the best hypotheses of a beam search are compared. The score of a hypothesis h is its
log-probability, summed over its alignments, plus that of the language model if there is one,
normalised by a power of its length. The power adapts to the sentence:

    score(h)     = (log P(h | x) + lm_weight * log P_lm(h)) / closeness(h) ** alpha
                   + gloss_bonus * |h|
    closeness(h) = min(|h| + 1, expected + 1) / max(|h| + 1, expected + 1)
    alpha        = strength * doubt

`expected` is the number of glosses that is expected: the sentence's steps divided by the train
split's steps per gloss. The lengths are plus 1 because the end of a hypothesis is a decision, too.
`doubt`, from 0 to 1, is the probability that the most probable hypothesis of the beam is not the
right one: 1 minus its share of the probability of all hypotheses of the beam. (It does not count
steps: a model can be sure of most steps, which are blank, and unsure of the glosses.)

If the model is sure, alpha is 0 and the most probable hypothesis wins. If it is unsure, hypotheses
of about the expected length win: long sentences are not cut, and short ones get no spurious
glosses. For hypotheses shorter than expected this is the normalization of Wu et al. 2016
(arXiv:1609.08144, section 7), which divides by a power of the length. Its adaptation to the
sentence, and its reverse for longer hypotheses, are this project's.

Two cheap special cases use only the best path: unchanged (greedy), or without its trailing glosses
of low confidence (filtered). `tune` chooses between all of them, and chooses their parameters, by
the word error rate on a dev split. benchmarks/adaptive.py compares the result with greedy decoding
and with a beam search without normalization.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from data.features import frame_mask
from data.vocabulary import BLANK, Vocabulary
from decoding.batches import in_batches
from decoding.beam_search import BeamResult, beam_search
from decoding.greedy import best_path, greedy_decode
from decoding.language_model import LanguageModel
from decoding.scoring import align

_PROTECTED = 2  # this many first glosses are never trimmed
# The values that `tune` tries, the simplest first: of equally good settings it takes the first.
LM_WEIGHTS = (0.0, 0.25, 0.5, 1.0)
STRENGTHS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
GLOSS_BONUSES = (0.0, 0.5, -0.5, 1.0, 1.5, 2.0, 3.0)


@dataclass(frozen=True)
class LengthNormalization:
    """Settings of the adaptive decoder. A checkpoint holds them under these names.

    steps_per_gloss: of the train split. readings: where the hypotheses come from, 'beam', 'greedy'
    or 'filtered'. The other settings have an effect only with 'beam'; see the module's docstring.
    measure: 'hypotheses', or 'steps' for settings that version 0.2 or earlier chose. There `doubt`
    is 1 minus the mean probability of the best path's steps, blanks included. The lengths are
    |h| + 1, and alpha has a third factor, the shortfall: 1 - glosses of the best path / expected,
    from -1 to 1.
    """

    steps_per_gloss: float
    readings: str = "beam"
    strength: float = 1.0
    gloss_bonus: float = 0.0
    lm_weight: float = 0.0
    measure: str = "hypotheses"

    def __str__(self) -> str:
        if self.readings != "beam":
            return {"greedy": "greedy", "filtered": "greedy with confidence filter"}[self.readings]
        return (
            f"beam, strength {self.strength:g}, gloss bonus {self.gloss_bonus:g}, "
            f"language model weight {self.lm_weight:g}, "
            f"{self.steps_per_gloss:.2f} steps per gloss expected"
            + (", doubt measured on steps" if self.measure == "steps" else "")
        )


def confidence_threshold(confidences: list[float]) -> float:
    """mean - k * std of the gloss confidences of a hypothesis.

    k is smaller for longer hypotheses: 0.5 up to 5 glosses, 0.3 up to 15, then 0.2.
    """
    k = 0.5 if len(confidences) <= 5 else 0.3 if len(confidences) <= 15 else 0.2
    values = torch.tensor(confidences, dtype=torch.float64)
    return float(values.mean() - k * values.std(unbiased=False))


def trim_trailing(glosses: list[int], confidences: list[float]) -> list[int]:
    """The glosses without the trailing ones below `confidence_threshold`. The first two always
    stay."""
    keep = len(glosses)
    if keep > _PROTECTED:
        threshold = confidence_threshold(confidences)
        while keep > _PROTECTED and confidences[keep - 1] < threshold:
            keep -= 1
    return glosses[:keep]


def filtered_decode(log_probs: Tensor, lengths: Tensor) -> list[list[int]]:
    """The best path of each sentence without its trailing glosses of low confidence, as class
    indices. log_probs (B, T, V), lengths int (B,)."""
    path, begins = (tensor.cpu().tolist() for tensor in best_path(log_probs, lengths))
    probabilities = log_probs.amax(-1).exp().cpu().tolist()
    hypotheses = []
    for row in range(len(path)):
        glosses, peaks = [], []
        for index, begin, value in zip(path[row], begins[row], probabilities[row], strict=True):
            if begin:
                glosses.append(index)
                peaks.append(value)
            elif index != BLANK:  # the gloss continues; its highest probability counts
                peaks[-1] = max(peaks[-1], value)
        hypotheses.append(trim_trailing(glosses, peaks))
    return hypotheses


def adaptive_decode(
    log_probs: Tensor,
    lengths: Tensor,
    settings: LengthNormalization,
    language_model: LanguageModel | None = None,
) -> list[list[int]]:
    """The hypothesis of each sentence, as class indices.

    log_probs (B, T, V), lengths int (B,) >= 1. The language model is used if the settings give it a
    weight. Raises ValueError as `beam_search` does.
    """
    if settings.readings == "greedy":
        return greedy_decode(log_probs, lengths)
    if settings.readings == "filtered":
        return filtered_decode(log_probs, lengths)
    result = _search(log_probs, lengths, settings, language_model)
    return _choose(result, _length_evidence(log_probs, lengths), settings)


def _search(
    log_probs: Tensor,
    lengths: Tensor,
    settings: LengthNormalization,
    language_model: LanguageModel | None,
) -> BeamResult:
    return beam_search(
        log_probs,
        lengths,
        language_model=language_model if settings.lm_weight else None,
        lm_weight=settings.lm_weight,
        gloss_bonus=settings.gloss_bonus,
    )


class _LengthEvidence(NamedTuple):
    """What alpha depends on, beside the search. confidence: float64 (B,), mean probability of the
    best path's steps; glosses: int64 (B,), length of the best path; steps: int64 (B,), of the
    sentence."""

    confidence: Tensor
    glosses: Tensor
    steps: Tensor


def _length_evidence(log_probs: Tensor, lengths: Tensor) -> _LengthEvidence:
    lengths = lengths.to(log_probs.device)
    inside = frame_mask(lengths, log_probs.shape[1])
    probability = log_probs.amax(-1).double().exp().where(inside, 0.0)
    # cumsum adds in the same order however long the batch is; sum does not
    confidence = probability.cumsum(1)[:, -1] / lengths
    return _LengthEvidence(confidence, best_path(log_probs, lengths)[1].sum(1), lengths)


def _choose(
    result: BeamResult, evidence: _LengthEvidence, settings: LengthNormalization
) -> list[list[int]]:
    """The hypothesis with the best normalised score for each sentence, as class indices."""
    lengths: Tensor = result.counts + 1
    if settings.measure == "steps":
        shortfall = (1 - evidence.glosses * settings.steps_per_gloss / evidence.steps).clamp(-1, 1)
        alpha = settings.strength * (1 - evidence.confidence) * shortfall
    else:
        expected = evidence.steps.double()[:, None] / settings.steps_per_gloss + 1
        lengths = lengths.minimum(expected) / lengths.maximum(expected)
        alpha = settings.strength * (1 - result.scores.softmax(1)[:, 0])
    # The scores of the search include the bonus, so that it has an effect when prefixes are pruned
    bonus = settings.gloss_bonus * result.counts
    scores = (result.scores - bonus) / lengths ** alpha[:, None] + bonus
    best = scores.argmax(1).tolist()
    return [result.glosses[row, n, : result.counts[row, n]].tolist() for row, n in enumerate(best)]


def tune(
    posteriors: Iterable[tuple[int, Tensor]],
    references: Sequence[Sequence[str]],
    vocabulary: Vocabulary,
    steps_per_gloss: float,
    language_model: LanguageModel | None,
    strengths: Sequence[float] = STRENGTHS,
) -> LengthNormalization:
    """The settings with the lowest word error rate on a dev split; of equally good settings, the
    simplest.

    Greedy decoding is among the settings that are tried. So on this split the result is never worse
    than greedy. Each sentence is decoded with all settings when it comes, so that the
    log-probabilities of the split are never in memory together.

    Args:
        posteriors: (index, log-probs float (T, V)) of each sentence.
        references: glosses of each sentence.
        vocabulary: names of the classes.
        steps_per_gloss: of the train split.
        language_model: None: only settings with the language model weight 0 are tried.
        strengths: the strengths to try.
    """
    greedy = LengthNormalization(steps_per_gloss, "greedy", 0.0)
    simple = {greedy: greedy_decode, replace(greedy, readings="filtered"): filtered_decode}
    weights = LM_WEIGHTS if language_model is not None else LM_WEIGHTS[:1]
    searches = [
        LengthNormalization(steps_per_gloss, "beam", 0.0, bonus, weight)
        for weight, bonus in product(weights, GLOSS_BONUSES)
    ]
    errors: Counter[LengthNormalization] = Counter(dict.fromkeys(simple, 0))
    for indices, log_probs, lengths in in_batches(posteriors):
        count = _ErrorCount([references[index] for index in indices], vocabulary)
        for settings, decode in simple.items():
            errors[settings] += count(decode(log_probs, lengths))
        evidence = _length_evidence(log_probs, lengths)
        for search in searches:
            # The search does not depend on the strength, so one search serves all of them
            result = _search(log_probs, lengths, search, language_model)
            for strength in strengths:
                settings = replace(search, strength=strength)
                errors[settings] += count(_choose(result, evidence, settings))
    return min(errors, key=errors.__getitem__)  # the first, which is the simplest, of equal ones


class _ErrorCount:
    """Counts the errors of hypotheses of some sentences; each different one is aligned once."""

    def __init__(self, references: Sequence[Sequence[str]], vocabulary: Vocabulary):
        self._references, self._vocabulary = references, vocabulary
        self._known: dict[tuple[int, tuple[int, ...]], int] = {}

    def __call__(self, hypotheses: list[list[int]]) -> int:
        """The errors of one hypothesis of each sentence, as class indices."""
        return sum(self._errors(row, tuple(classes)) for row, classes in enumerate(hypotheses))

    def _errors(self, row: int, classes: tuple[int, ...]) -> int:
        if (row, classes) not in self._known:
            glosses = self._vocabulary.decode(classes)
            (aligned,) = align([self._references[row]], [glosses])
            self._known[row, classes] = aligned.errors
        return self._known[row, classes]
