"""The tuning of the adaptive decoder on dev."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data.vocabulary import Vocabulary
from decoding.language_model import LanguageModel
from decoding.length_normalization import LengthNormalization, tune
from decoding.scoring import score
from tests.decoding.small_posteriors import decoded, greedy, log_probs_of


def split_of(hypotheses: list[list[int]], drop: float) -> list[torch.Tensor]:
    """Posteriors in which each gloss has a high probability, and blank has a higher one if `drop`
    is above one half."""
    posteriors = []
    for hypothesis in hypotheses:
        rows = []
        for index in hypothesis:
            gloss = torch.full((4,), 0.01)
            gloss[0], gloss[index] = drop - 0.01, 0.99 - drop
            rows += [gloss, torch.tensor([0.97, 0.01, 0.01, 0.01])]
        posteriors.append(torch.stack(rows).log())
    return posteriors


def errors_of(posteriors, references, vocabulary, settings, model=None) -> int:
    hypotheses = decoded(posteriors, settings, model)
    return score(references, [vocabulary.decode(hypothesis) for hypothesis in hypotheses]).errors


def test_tuning_recovers_uncertain_glosses_and_is_never_worse_than_greedy():
    vocabulary = Vocabulary(["A", "B", "C"])
    hypotheses = [[1, 2], [3, 1, 2], [2], [2, 3, 1, 3], [1, 3]]
    references = [vocabulary.decode(hypothesis) for hypothesis in hypotheses]
    hesitant = split_of(hypotheses, drop=0.6)
    plain = LengthNormalization(2.0, "greedy")
    assert errors_of(hesitant, references, vocabulary, plain) == 12, "greedy finds nothing"
    tuned = tune(enumerate(hesitant), references, vocabulary, 2.0, None)
    assert tuned.readings == "beam" and tuned.lm_weight == 0.0
    assert errors_of(hesitant, references, vocabulary, tuned) == 0
    clear = split_of(hypotheses, drop=0.2)
    assert tune(enumerate(clear), references, vocabulary, 2.0, None) == LengthNormalization(
        2.0, "greedy", 0.0
    ), "the simplest wins"


def test_tuning_finds_that_only_a_strength_helps():
    """The same uncertain step ends both sentences, which are long enough for one gloss. Only the
    sentence without another gloss has one there. A bonus of 0.41 or more adds it to both."""
    blank, hesitant = [0.98, 0.01, 0.01], [0.6, 0.001, 0.399]
    short, complete = [blank, blank, hesitant], [[0.01, 0.98, 0.01], blank, hesitant]
    posteriors, references = [log_probs_of(short), log_probs_of(complete)], [["B"], ["A"]]
    vocabulary = Vocabulary(["A", "B"])
    tuned = tune(enumerate(posteriors), references, vocabulary, 3.0, None)
    # () has the probability 0.576 and the closeness 1 / 2; 'B' has about 0.40 and 1. 'B' wins where
    # 2 ** (strength * 0.42) > log 0.40 / log 0.576 = 1.66: from 1.7 on
    assert tuned == LengthNormalization(3.0, "beam", strength=2.0, gloss_bonus=0.0, lm_weight=0.0)
    assert errors_of(posteriors, references, vocabulary, tuned) == 0
    without = tune(enumerate(posteriors), references, vocabulary, 3.0, None, strengths=(0.0,))
    assert without.strength == 0 and errors_of(posteriors, references, vocabulary, without) == 1


def test_tuning_finds_that_only_the_language_model_helps():
    posteriors = [log_probs_of([[0.02, 0.50, 0.48], [0.98, 0.01, 0.01]])]
    table = torch.tensor([[0.2, 0.1, 0.7]] * 3).log()
    model, vocabulary = LanguageModel(table, table[0], torch.zeros(3)), Vocabulary(["A", "B"])
    tuned = tune(enumerate(posteriors), [["B"]], vocabulary, 2.0, model)
    # the least weight passes: 0.25 * log 7 = 0.49 against log(0.50 / 0.48) = 0.04
    assert tuned == LengthNormalization(2.0, "beam", strength=0.0, gloss_bonus=0.0, lm_weight=0.25)
    assert tune(enumerate(posteriors), [["B"]], vocabulary, 2.0, None).readings == "greedy", (
        "without it nothing helps"
    )


def test_tuning_takes_the_confidence_filter_where_it_is_enough():
    rows = [
        [0.05, 0.90, 0.03, 0.02],
        [0.05, 0.03, 0.90, 0.02],
        [0.05, 0.03, 0.02, 0.90],
        [0.30, 0.60, 0.05, 0.05],
    ]
    assert greedy(rows) == [1, 2, 3, 1]
    tuned = tune(
        enumerate([log_probs_of(rows)]), [["A", "B", "C"]], Vocabulary(["A", "B", "C"]), 1.0, None
    )
    assert tuned.readings == "filtered"


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.5, 4))
def test_tuned_settings_are_never_worse_than_greedy_on_what_they_were_tuned_on(seed, sharpness):
    generator = torch.Generator().manual_seed(seed)
    vocabulary = Vocabulary(["A", "B", "C", "D"])
    posteriors = [
        torch.randn(9, 5, generator=generator).mul(sharpness).log_softmax(-1) for _ in range(6)
    ]
    references = [
        [vocabulary.glosses[i] for i in torch.randint(0, 4, (3,), generator=generator)]
        for _ in range(6)
    ]
    table = torch.randn(5, 5, generator=generator).log_softmax(-1)
    model = LanguageModel(table, table[0], torch.zeros(5))
    tuned = tune(enumerate(posteriors), references, vocabulary, 3.0, model)
    greedy_errors = errors_of(
        posteriors, references, vocabulary, LengthNormalization(3.0, "greedy")
    )
    assert errors_of(posteriors, references, vocabulary, tuned, model) <= greedy_errors
