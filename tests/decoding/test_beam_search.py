import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from data.vocabulary import Vocabulary
from decoding.beam_search import beam_search
from decoding.language_model import LanguageModel, train_language_model


def random_log_probs(steps: int, classes: int, seed: int, sharpness: float = 1.5) -> torch.Tensor:
    return (
        torch.randn(steps, classes, generator=torch.Generator().manual_seed(seed))
        .mul(sharpness)
        .log_softmax(-1)
    )


def search(log_probs: torch.Tensor, **options) -> list[tuple[list[int], float]]:
    return beam_search(log_probs[None], torch.tensor([len(log_probs)]), **options).hypotheses(0)


def enumerate_hypotheses(log_probs: torch.Tensor) -> dict[tuple[int, ...], float]:
    """The probability of each hypothesis, summed over all V ** T paths one by one."""
    hypotheses: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        hypothesis = tuple(index for index, _ in itertools.groupby(path) if index)
        probability = math.exp(
            sum(float(log_probs[step, index]) for step, index in enumerate(path))
        )
        hypotheses[hypothesis] = hypotheses.get(hypothesis, 0.0) + probability
    return hypotheses


def slow_beam(
    log_probs: torch.Tensor,
    width: int,
    tokens: int,
    model: torch.Tensor | None = None,
    weight=0.0,
    bonus=0.0,
):
    """Prefix beam search as in textbooks, with a dictionary of prefixes."""
    beam = {(): (1.0, 0.0)}
    for row in log_probs.double():
        likely = (row[1:].argsort(descending=True)[:tokens] + 1).tolist()
        grown: dict[tuple[int, ...], list[float]] = {}
        for prefix, (blank, gloss) in beam.items():
            grown.setdefault(prefix, [0.0, 0.0])[0] += (blank + gloss) * math.exp(row[0])
            for index in likely:
                probability = math.exp(row[index])
                if prefix and index == prefix[-1]:
                    grown.setdefault(prefix, [0.0, 0.0])[1] += gloss * probability
                factor = math.exp(bonus)
                if model is not None:
                    factor *= math.exp(weight * float(model[prefix[-1] if prefix else 0, index]))
                source = blank if prefix and index == prefix[-1] else blank + gloss
                grown.setdefault((*prefix, index), [0.0, 0.0])[1] += source * probability * factor
        kept = sorted(grown, key=lambda prefix: -sum(grown[prefix]))[:width]
        beam = {prefix: tuple(grown[prefix]) for prefix in kept if sum(grown[prefix]) > 0}
    final = {
        p: math.log(sum(v))
        + (weight * float(model[p[-1] if p else 0, 0]) if model is not None else 0)
        for p, v in beam.items()
    }
    return sorted(
        ((list(prefix), score) for prefix, score in final.items()),
        key=lambda hypothesis: -hypothesis[1],
    )


@pytest.mark.parametrize(
    ("steps", "classes"), [(1, 2), (1, 5), (2, 2), (5, 2), (4, 3), (6, 3), (5, 4)]
)
def test_a_wide_beam_finds_every_hypothesis_with_the_sum_of_all_alignments(steps, classes):
    for seed in range(4):
        log_probs = random_log_probs(steps, classes, seed)
        expected = enumerate_hypotheses(log_probs)
        found = search(log_probs, width=2 * len(expected))
        assert {tuple(hypothesis) for hypothesis, _ in found} == set(expected) and len(
            found
        ) == len(expected)
        for hypothesis, score in found:
            assert math.exp(score) == pytest.approx(expected[tuple(hypothesis)], rel=1e-5), (
                hypothesis
            )
        assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)


@settings(max_examples=120, deadline=None)
@given(
    st.integers(1, 12),
    st.integers(2, 7),
    st.integers(1, 8),
    st.integers(1, 7),
    st.integers(0, 10_000),
    st.booleans(),
)
def test_equals_the_slow_reference_at_any_width(steps, classes, width, tokens, seed, with_model):
    log_probs = random_log_probs(steps, classes, seed)
    options, arguments = {}, ()
    if with_model:
        table = random_log_probs(classes, classes, seed + 1)
        model = LanguageModel(table, table[0], torch.zeros(classes))
        options, arguments = (
            {"language_model": model, "lm_weight": 0.7, "gloss_bonus": 0.4},
            (table, 0.7, 0.4),
        )
    expected = slow_beam(log_probs, width, tokens, *arguments)
    found = search(log_probs, width=width, tokens=tokens, **options)
    assert [hypothesis for hypothesis, _ in found] == [hypothesis for hypothesis, _ in expected]
    assert [score for _, score in found] == pytest.approx(
        [score for _, score in expected], rel=1e-9, abs=1e-9
    )


class LargestTensor(TorchDispatchMode):
    """The number of elements of the largest tensor that an operation makes."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else (made,):
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return made


@pytest.mark.parametrize("with_model", [False, True])
def test_bonus_and_language_model_make_no_table_of_all_pairs_of_classes(with_model):
    classes = 400
    log_probs = random_log_probs(3, classes, 0)
    table = random_log_probs(classes, classes, 1)
    options = {"language_model": LanguageModel(table, table[0], torch.zeros(classes))}
    with LargestTensor() as largest:
        found = search(log_probs, gloss_bonus=0.4, **(options if with_model else {}))
    assert found and largest.elements < classes**2 / 10


@pytest.mark.parametrize("bonus", [-0.7, 0.0, 0.4, 3.0])
def test_the_bonus_alone_equals_the_slow_reference(bonus):
    for seed in range(20):
        log_probs = random_log_probs(9, 6, seed)
        expected = slow_beam(log_probs, 8, 5, bonus=bonus)
        found = search(log_probs, width=8, tokens=5, gloss_bonus=bonus)
        assert [hypothesis for hypothesis, _ in found] == [hypothesis for hypothesis, _ in expected]
        assert [score for _, score in found] == pytest.approx([score for _, score in expected])


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(2, 30),
    st.integers(1, 12),
    st.integers(0, 10_000),
    st.floats(0.5, 8),
)
def test_a_score_is_never_above_the_probability_of_the_hypothesis(
    ctc_log_probability, steps, classes, width, seed, sharpness
):
    log_probs = random_log_probs(steps, classes, seed, sharpness)
    found = search(log_probs, width=width, tokens=classes)
    exact = ctc_log_probability(log_probs, [hypothesis for hypothesis, _ in found]).tolist()
    assert all(score <= limit + 1e-6 for (_, score), limit in zip(found, exact, strict=True))
    assert len({tuple(hypothesis) for hypothesis, _ in found}) == len(found) <= width, (
        "each hypothesis once"
    )


def flashlight_best(flashlight, log_probs: torch.Tensor, width: int, tokens: int) -> list[int]:
    emissions = np.ascontiguousarray(log_probs.numpy(), dtype=np.float32)
    options = flashlight.LexiconFreeDecoderOptions(
        beam_size=width,
        beam_size_token=tokens,
        beam_threshold=1e9,
        lm_weight=0.0,
        sil_score=0.0,
        log_add=True,
        criterion_type=flashlight.CriterionType.CTC,
    )
    decoder = flashlight.LexiconFreeDecoder(options, flashlight.ZeroLM(), -1, 0, [])
    best = decoder.decode(emissions.ctypes.data, *emissions.shape)[0].tokens
    return [index for index, _ in itertools.groupby(best) if index > 0]


def test_the_best_hypothesis_is_that_of_flashlight_in_99_of_100_cases():
    # There is no build for Python 3.13 and later
    flashlight = pytest.importorskip("flashlight.lib.text.decoder")
    random = np.random.default_rng(0)
    cases = []
    # Flat distributions: few steps and classes, so that a beam of 50 holds every prefix
    for _ in range(500):
        cases.append((int(random.integers(1, 6)), int(random.integers(2, 5)), 1.0, 50))
    for _ in range(500):  # peaky ones, mostly blank, like those of trained models
        cases.append((int(random.integers(2, 51)), int(random.integers(2, 200)), 8.0, 10))
    same = 0
    for seed, (steps, classes, sharpness, width) in enumerate(cases):
        log_probs = random_log_probs(steps, classes, seed, sharpness)
        same += search(log_probs, width=width, tokens=20)[0][0] == flashlight_best(
            flashlight, log_probs, width, 20
        )
    assert same >= 990


def test_neighbours_and_padding_change_nothing_to_the_bit():
    lengths = [1, 37, 12, 5, 37, 20, 3]
    model = LanguageModel(table := random_log_probs(40, 40, 5), table[0], torch.zeros(40))
    alone, batch = (
        [],
        torch.randn(len(lengths), 45, 40, generator=torch.Generator().manual_seed(1)) * 30,
    )
    batch[:, 40:] = torch.nan  # steps behind the end have no effect
    for row, length in enumerate(lengths):
        batch[row, :length] = random_log_probs(length, 40, row)
        alone.append(search(batch[row, :length], language_model=model, lm_weight=0.5, tokens=8))
    for order in (range(7), [4, 1], [6, 0, 3], [2, 2, 2, 5, 1]):
        order = list(order)
        result = beam_search(
            batch[order],
            torch.tensor([lengths[i] for i in order]),
            language_model=model,
            lm_weight=0.5,
            tokens=8,
        )
        assert [result.hypotheses(row) for row in range(len(order))] == [
            alone[index] for index in order
        ]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_finds_the_same_hypotheses():
    log_probs = torch.stack([random_log_probs(30, 50, seed, 4.0) for seed in range(16)])
    lengths = torch.arange(15, 31)
    model = LanguageModel(table := random_log_probs(50, 50, 5), table[0], torch.zeros(50))
    here = beam_search(log_probs, lengths, language_model=model, lm_weight=0.3)
    there = beam_search(log_probs.cuda(), lengths.cuda(), language_model=model, lm_weight=0.3)
    for row in range(16):
        assert there.hypotheses(row)[0][0] == here.hypotheses(row)[0][0]
        assert there.hypotheses(row)[0][1] == pytest.approx(here.hypotheses(row)[0][1], abs=1e-6)


def rows(*values: list[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64).log().float()


def test_edge_cases():
    assert search(rows([0.9, 0.1])) == [
        ([], pytest.approx(math.log(0.9))),
        ([1], pytest.approx(math.log(0.1))),
    ]
    assert search(rows(*[[1.0, 0.0, 0.0]] * 3)) == [([], pytest.approx(0))], (
        "all blank: only the empty hypothesis"
    )
    found = search(rows([0.0, 1.0], [1.0, 0.0], [0.0, 1.0]))
    assert found == [([1, 1], pytest.approx(0))], "a repeat across a blank is two glosses"
    assert search(rows([0.0, 1.0], [0.0, 1.0]))[0][0] == [1], "a repeat without a blank is one"
    assert search(rows([0.5, 0.3, 0.2]), width=1) == [([], pytest.approx(math.log(0.5)))]
    longest = search(rows(*[[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]] * 40))
    assert longest == [([1, 2] * 40, pytest.approx(0))]


def test_unnormalised_and_tiny_probabilities():
    log_probs = random_log_probs(6, 4, 0)
    plain, shifted = search(log_probs), search(log_probs - 5000)
    assert [hypothesis for hypothesis, _ in shifted] == [hypothesis for hypothesis, _ in plain]
    assert shifted[0][1] == pytest.approx(plain[0][1] - 6 * 5000, rel=1e-5)
    flat = torch.full((2000, 3), -math.log(3))
    assert math.isfinite(search(flat)[0][1])


def test_invalid_log_probabilities_and_arguments_are_refused():
    log_probs = random_log_probs(4, 3, 0)[None].repeat(2, 1, 1)
    lengths = torch.tensor([4, 3])
    for value, column in ((math.nan, 0), (math.nan, 2), (math.inf, 1)):
        broken = log_probs.clone()
        broken[1, 2, column] = value
        with pytest.raises(ValueError, match="sentence 1, step 2: log-probabilities that are NaN"):
            beam_search(broken, lengths)
    broken = log_probs.clone()
    broken[0, 1] = -math.inf
    with pytest.raises(ValueError, match="sentence 0, step 1"):
        beam_search(broken, lengths)
    broken = log_probs.clone()
    broken[1, 3] = math.nan  # behind the end
    assert beam_search(broken, lengths).hypotheses(1) == beam_search(log_probs, lengths).hypotheses(
        1
    )
    for options, message in (({"width": 0}, "width 0"), ({"tokens": 0}, "tokens 0")):
        with pytest.raises(ValueError, match=message):
            beam_search(log_probs, lengths, **options)
    for wrong in ([0, 4], [4, 5]):
        with pytest.raises(ValueError, match="lengths"):
            beam_search(log_probs, torch.tensor(wrong))
    other = train_language_model([["A"]], Vocabulary(["A"]))
    with pytest.raises(ValueError, match="knows 2 classes, the log-probabilities have 3"):
        beam_search(log_probs, lengths, language_model=other)


def test_the_language_model_decides_between_equally_probable_glosses(ctc_log_probability):
    alike = rows([0.02, 0.49, 0.49, 0.0], [0.98, 0.01, 0.01, 0.0], [0.02, 0.0, 0.0, 0.98])
    model = train_language_model([["B", "C"], ["B", "C"], ["A"]], Vocabulary(["A", "B", "C"]))
    assert search(alike, language_model=model)[0][0] == [2, 3]
    _, score = search(alike, language_model=model, lm_weight=0.5, gloss_bonus=1.0)[0]
    plain = ctc_log_probability(alike, [[2, 3]]).item()
    language = model.table[0, 2] + model.table[2, 3] + model.table[3, 0]
    assert score == pytest.approx(plain + 0.5 * float(language) + 2.0, rel=1e-6)
