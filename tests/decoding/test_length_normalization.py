"""The adaptive decoder: hypotheses by hand, and what never changes."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from decoding.decoders import make_decoder
from decoding.greedy import greedy_decode
from decoding.language_model import LanguageModel
from decoding.length_normalization import (
    LengthNormalization,
    adaptive_decode,
    trim_trailing,
)
from tests.decoding.small_posteriors import decoded, greedy, log_probs_of


def decode(rows: list[list[float]], settings: LengthNormalization) -> list[int]:
    log_probs = log_probs_of(rows)
    return adaptive_decode(log_probs[None], torch.tensor([len(rows)]), settings)[0]


@pytest.mark.parametrize("name", ["greedy", "adaptive", "beam"])
@pytest.mark.parametrize("readings", ["greedy", "filtered", "beam"])
def test_a_long_sentence_keeps_all_its_glosses(name, readings):
    """80 and 400 glosses, each as clear as the other: no decoder has a limit."""
    for count in (80, 400):
        path = torch.arange(count) % 61 + 1
        log_probs = torch.nn.functional.one_hot(path, 62).float().mul(30).log_softmax(-1)
        decoder = make_decoder(name, LengthNormalization(1.0, readings))
        assert decoder(log_probs[None], torch.tensor([count])) == [path.tolist()]
    many = list(range(1, 81))
    assert trim_trailing(many, [0.5] * 80) == many


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=14),
    st.floats(0.5, 8),
    st.integers(0, 1000),
)
def test_if_the_model_is_sure_the_hypothesis_is_the_greedy_one(path, steps_per_gloss, seed):
    logits = torch.nn.functional.one_hot(torch.tensor(path), 4).float() * 15
    logits += torch.randn(logits.shape, generator=torch.Generator().manual_seed(seed))
    log_probs = logits.log_softmax(-1)[None]
    lengths = torch.tensor([len(path)])
    assert adaptive_decode(
        log_probs, lengths, LengthNormalization(steps_per_gloss)
    ) == greedy_decode(log_probs, lengths)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4), st.integers(0, 10_000), st.floats(0.3, 4))
def test_without_normalisation_the_hypothesis_is_at_least_as_probable_as_the_greedy_one(
    ctc_log_probability, steps, seed, sharpness
):
    # three classes and at most four steps: the beam holds every hypothesis
    log_probs = (
        torch.randn(steps, 3, generator=torch.Generator().manual_seed(seed))
        .mul(sharpness)
        .log_softmax(-1)
    )
    lengths = torch.tensor([steps])
    settings = LengthNormalization(steps_per_gloss=1.0, strength=0.0)
    found = adaptive_decode(log_probs[None], lengths, settings)[0]
    best = greedy_decode(log_probs[None], lengths)[0]
    chosen, plain = ctc_log_probability(log_probs, [found, best]).tolist()
    assert chosen >= plain - 1e-6


SPURIOUS = [
    [0.02, 0.96, 0.01, 0.01],
    [0.96, 0.02, 0.01, 0.01],
    [0.02, 0.01, 0.96, 0.01],
    [0.96, 0.01, 0.02, 0.01],
    [0.01, 0.97, 0.01, 0.01],
    # The best class is 3, but "1 continues" and blank together are more probable: 0.55
    [0.35, 0.20, 0.05, 0.40],
]


def test_a_spurious_gloss_at_the_end_is_removed(ctc_log_probability):
    settings = LengthNormalization(steps_per_gloss=2.0)
    assert greedy(SPURIOUS) == [1, 2, 1, 3]
    hypotheses = ctc_log_probability(log_probs_of(SPURIOUS), [[1, 2, 1], [1, 2, 1, 3]])
    assert hypotheses[0] > hypotheses[1], "summed over all alignments"
    assert decode(SPURIOUS, settings) == [1, 2, 1]


def test_a_low_confidence_gloss_at_the_end_is_trimmed():
    """The trailing 3 is more probable than blank by more than a nat, so no penalty for glosses
    removes it. Its low confidence does."""
    rows = [*SPURIOUS[:-1], [0.12, 0.42, 0.01, 0.45]]
    assert greedy(rows) == [1, 2, 1, 3]
    assert decode(rows, LengthNormalization(steps_per_gloss=2.0)) == [1, 2, 1]


def test_a_glosss_confidence_is_the_highest_of_its_run():
    """The first three glosses begin with a low probability and rise to 0.96. With the probability
    at the first step, the last gloss would not differ from them."""
    rows = [
        [0.10, 0.40, 0.25, 0.25],
        [0.02, 0.96, 0.01, 0.01],
        [0.10, 0.25, 0.40, 0.25],
        [0.02, 0.01, 0.96, 0.01],
        [0.10, 0.40, 0.25, 0.25],
        [0.02, 0.96, 0.01, 0.01],
        [0.12, 0.42, 0.01, 0.45],
    ]
    assert greedy(rows) == [1, 2, 1, 3]
    assert decode(rows, LengthNormalization(steps_per_gloss=2.0)) == [1, 2, 1]


HESITANT = [
    [0.04, 0.94, 0.02],
    [0.90, 0.05, 0.05],
    [0.60, 0.02, 0.38],  # a 2 that is never the best class of a step
    [0.55, 0.02, 0.43],
    [0.60, 0.02, 0.38],
    [0.90, 0.05, 0.05],
    [0.04, 0.94, 0.02],
]


def test_a_gloss_that_greedy_drops_is_recovered():
    settings = LengthNormalization(steps_per_gloss=2.0)
    assert greedy(HESITANT) == [1, 1]
    assert decode(HESITANT, settings) == [1, 2, 1]


def test_the_score_by_hand():
    """Two hypotheses whose order changes with the strength: log P / closeness ** alpha."""
    rows = [[0.55, 0.45], [0.9, 0.1]]  # hypotheses () and (1,); greedy finds the empty one
    empty = math.log(0.55 * 0.9)
    one = math.log(0.45 * 0.9 + 0.45 * 0.1 + 0.55 * 0.1)
    assert greedy(rows) == [] and one > empty, (
        "summed over alignments the gloss is the more probable"
    )
    rows = [[0.7, 0.3], [0.9, 0.1]]
    empty, one = math.log(0.7 * 0.9), math.log(1 - 0.7 * 0.9)
    # The doubt is the share of (1,). With two glosses expected () and (1,) have the closeness 1 / 3
    # and 2 / 3; with half a gloss expected, 1 / 1.5 and 1.5 / 2
    for steps_per_gloss, ratio in ((1.0, 2.0), (4.0, 0.75 * 1.5)):
        crossing = math.log(one / empty) / math.log(ratio) / (1 - 0.7 * 0.9)
        for strength, expected in ((crossing * 0.98, []), (crossing * 1.02, [1])):
            settings = LengthNormalization(steps_per_gloss, strength=strength)
            assert decode(rows, settings) == expected
    # Settings of version 0.2: the doubt is 1 minus the mean probability of the steps, the lengths
    # are 1 and 2, the shortfall is 1
    crossing = math.log2(one / empty) / (1 - (0.7 + 0.9) / 2)
    for strength, expected in ((crossing * 0.98, []), (crossing * 1.02, [1])):
        settings = LengthNormalization(1.0, strength=strength, measure="steps")
        assert decode(rows, settings) == expected


@pytest.mark.parametrize("measure", ["hypotheses", "steps"])
def test_alpha_rises_with_the_doubt(ctc_log_probability, measure):
    """As above, after a certain 1: the hypotheses are (1,) and (1, 2), `expected` glosses are
    expected."""
    rows = [
        [0.0005, 0.999, 0.0005],
        [0.999, 0.0005, 0.0005],
        [0.7, 0.0005, 0.2995],
        [0.9, 0.0005, 0.0995],
    ]
    short, long = ctc_log_probability(log_probs_of(rows), [[1], [1, 2]]).tolist()
    doubt = {"hypotheses": 1 - math.exp(short), "steps": 1 - (0.999 + 0.999 + 0.7 + 0.9) / 4}
    assert greedy(rows) == [1] and short > long
    for expected in (2.0, 4.0):
        # Settings of version 0.2 have a shortfall: alpha rises with it, too
        shortfall = {"hypotheses": 1, "steps": 1 - 1 / expected}[measure]
        # long / 3 ** alpha passes short / 2 ** alpha where (3 / 2) ** alpha = long / short
        crossing = math.log(long / short) / math.log(3 / 2) / doubt[measure] / shortfall
        for strength, hypothesis in ((crossing * 0.99, [1]), (crossing * 1.01, [1, 2])):
            settings = LengthNormalization(4 / expected, strength=strength, measure=measure)
            assert decode(rows, settings) == hypothesis


def test_blanks_of_which_the_model_is_sure_do_not_hide_its_doubt():
    """60 blanks make the steps sure on average. The hypotheses stay as unsure as without them."""
    blank = [0.9999, 0.00005, 0.00005]
    rows = [*[blank] * 30, [0.01, 0.98, 0.01], blank, [0.62, 0.01, 0.37], *[blank] * 30]
    assert greedy(rows) == [1]
    two_expected = len(rows) / 2
    for measure, hypothesis in (("hypotheses", [1, 2]), ("steps", [1])):
        settings = LengthNormalization(two_expected, strength=16.0, measure=measure)
        assert decode(rows, settings) == hypothesis


def test_a_best_path_of_the_expected_length_is_not_lengthened(ctc_log_probability):
    # 7 steps: two glosses, as greedy reads; or three. A fourth gloss gains nothing
    long_enough = LengthNormalization(steps_per_gloss=3.5, strength=100.0)
    too_short = LengthNormalization(steps_per_gloss=7 / 3, strength=30.0)
    rows = [[0.04, 0.94, 0.02], *[[0.72, 0.02, 0.26]] + [[0.9, 0.05, 0.05]] * 4, [0.04, 0.94, 0.02]]
    plain = ctc_log_probability(log_probs_of(rows), [[1, 1], [1, 2, 1]])
    assert greedy(rows) == [1, 1] and plain[0] > plain[1]
    assert decode(rows, long_enough) == [1, 1]
    assert decode(rows, too_short) == [1, 2, 1]


def test_sentences_of_a_batch_do_not_touch_each_other():
    short = torch.full((len(SPURIOUS), 4), -20.0)
    short[:3] = log_probs_of(SPURIOUS)[:3]
    batch = torch.stack([log_probs_of(SPURIOUS), short])
    settings = LengthNormalization(steps_per_gloss=2.0)
    alone = adaptive_decode(batch[1:, :3], torch.tensor([3]), settings)
    assert adaptive_decode(batch, torch.tensor([len(SPURIOUS), 3]), settings) == [
        decode(SPURIOUS, settings),
        *alone,
    ]


def test_a_best_path_longer_than_expected_is_shortened():
    """alpha below 0 where greedy finds more glosses than expected: () gains on (1,)."""
    rows = [[0.4, 0.6], [0.9, 0.1]]
    empty, one = math.log(0.4 * 0.9), math.log(1 - 0.4 * 0.9)
    assert greedy(rows) == [1]
    # 2 / 8 glosses are expected: () and (1,) have the closeness 1 / 1.25 and 1.25 / 2. The doubt is
    # the share of ()
    crossing = math.log(empty / one) / math.log(0.8 / 0.625) / (0.4 * 0.9)
    for strength, expected in ((crossing * 0.98, [1]), (crossing * 1.02, [])):
        assert decode(rows, LengthNormalization(steps_per_gloss=8.0, strength=strength)) == expected
    # Settings of version 0.2: the shortfall is clamped to -1, the lengths are 1 and 2, and the mean
    # probability of the steps is 0.75
    crossing = math.log2(empty / one) / (1 - 0.75)
    for strength, expected in ((crossing * 0.98, [1]), (crossing * 1.02, [])):
        settings = LengthNormalization(8.0, strength=strength, measure="steps")
        assert decode(rows, settings) == expected


def test_the_gloss_bonus_by_hand():
    rows = [[0.7, 0.3], [0.9, 0.1]]
    needed = math.log(0.7 * 0.9) - math.log(1 - 0.7 * 0.9)  # what the empty hypothesis is ahead by
    for bonus, expected in ((needed - 0.01, []), (needed + 0.01, [1])):
        assert (
            decode(rows, LengthNormalization(steps_per_gloss=1.0, strength=0.0, gloss_bonus=bonus))
            == expected
        )


def test_the_language_model_weighs_in():
    rows = [[0.02, 0.50, 0.48], [0.98, 0.01, 0.01]]
    table = torch.tensor([[0.2, 0.1, 0.7]] * 3).log()
    model = LanguageModel(table, table[0], torch.zeros(3))
    lengths = torch.tensor([2])
    for weight, expected in ((0.0, [1]), (0.5, [2])):
        settings = LengthNormalization(2.0, strength=0.0, lm_weight=weight)
        assert adaptive_decode(log_probs_of(rows)[None], lengths, settings, model) == [expected]


@pytest.mark.parametrize(
    "settings",
    [
        LengthNormalization(2.0, strength=3.0, gloss_bonus=0.5),
        LengthNormalization(5.0),
        LengthNormalization(2.0, strength=3.0, gloss_bonus=0.5, measure="steps"),
    ],
)
def test_other_sentences_and_padding_never_change_a_hypothesis(settings):
    generator = torch.Generator().manual_seed(3)
    posteriors = [
        torch.randn(steps, 30, generator=generator).mul(2).log_softmax(-1)
        for steps in (1, 40, 7, 40, 19, 3)
    ]
    alone = [
        adaptive_decode(rows[None], torch.tensor([len(rows)]), settings)[0] for rows in posteriors
    ]
    assert decoded(posteriors, settings) == alone
    few = [posteriors[index] for index in (4, 0)]
    assert decoded(few, settings) == [alone[4], alone[0]]
