import itertools
import math

import flashlight.lib.text.decoder as flashlight
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data.vocabulary import Vocabulary
from decoding.alignment import gloss_spans
from decoding.beam_search import beam_search
from decoding.language_model import LanguageModel, train_language_model


def random_log_probs(steps: int, classes: int, seed: int, sharpness: float = 1.5) -> torch.Tensor:
    return (
        torch.randn(steps, classes, generator=torch.Generator().manual_seed(seed))
        .mul(sharpness)
        .log_softmax(-1)
    )


def read(log_probs: torch.Tensor, **options) -> list[tuple[list[int], float]]:
    return beam_search(log_probs[None], torch.tensor([len(log_probs)]), **options).readings(0)


def enumerate_readings(log_probs: torch.Tensor) -> dict[tuple[int, ...], float]:
    """Probability of every reading: each of the V ** T paths counted by itself."""
    readings: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        reading = tuple(index for index, _ in itertools.groupby(path) if index)
        probability = math.exp(
            sum(float(log_probs[step, index]) for step, index in enumerate(path))
        )
        readings[reading] = readings.get(reading, 0.0) + probability
    return readings


def slow_beam(
    log_probs: torch.Tensor,
    width: int,
    tokens: int,
    model: torch.Tensor | None = None,
    weight=0.0,
    bonus=0.0,
):
    """Prefix beam search as the textbooks have it: a dict of prefixes."""
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
        ((list(prefix), score) for prefix, score in final.items()), key=lambda reading: -reading[1]
    )


@pytest.mark.parametrize(
    ("steps", "classes"), [(1, 2), (1, 5), (2, 2), (5, 2), (4, 3), (6, 3), (5, 4)]
)
def test_a_wide_beam_finds_every_reading_with_the_sum_of_all_alignments(steps, classes):
    for seed in range(4):
        log_probs = random_log_probs(steps, classes, seed)
        expected = enumerate_readings(log_probs)
        found = read(log_probs, width=2 * len(expected))
        assert {tuple(reading) for reading, _ in found} == set(expected) and len(found) == len(
            expected
        )
        for reading, score in found:
            assert math.exp(score) == pytest.approx(expected[tuple(reading)], rel=1e-5), reading
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
    found = read(log_probs, width=width, tokens=tokens, **options)
    assert [reading for reading, _ in found] == [reading for reading, _ in expected]
    assert [score for _, score in found] == pytest.approx(
        [score for _, score in expected], rel=1e-9, abs=1e-9
    )


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(2, 30),
    st.integers(1, 12),
    st.integers(0, 10_000),
    st.floats(0.5, 8),
)
def test_a_score_is_never_above_the_readings_probability(
    ctc_log_probability, steps, classes, width, seed, sharpness
):
    log_probs = random_log_probs(steps, classes, seed, sharpness)
    found = read(log_probs, width=width, tokens=classes)
    exact = ctc_log_probability(log_probs, [reading for reading, _ in found]).tolist()
    assert all(score <= limit + 1e-6 for (_, score), limit in zip(found, exact, strict=True))
    assert len({tuple(reading) for reading, _ in found}) == len(found) <= width, "each reading once"


def flashlight_best(log_probs: torch.Tensor, width: int, tokens: int) -> list[int]:
    emissions = np.ascontiguousarray(log_probs.numpy(), dtype=np.float32)
    options = flashlight.LexiconFreeDecoderOptions(
        beam_size=width, beam_size_token=tokens, beam_threshold=1e9, lm_weight=0.0, sil_score=0.0, log_add=True,
        criterion_type=flashlight.CriterionType.CTC,
    )  # fmt: skip
    decoder = flashlight.LexiconFreeDecoder(options, flashlight.ZeroLM(), -1, 0, [])
    best = decoder.decode(emissions.ctypes.data, *emissions.shape)[0].tokens
    return [index for index, _ in itertools.groupby(best) if index > 0]


def test_the_best_reading_is_flashlights_in_99_of_100_cases():
    random = np.random.default_rng(0)
    cases = []
    # Flat: everything is likely, so few steps and classes for what a beam of 50 can hold
    for _ in range(500):
        cases.append((int(random.integers(1, 6)), int(random.integers(2, 5)), 1.0, 50))
    for _ in range(500):  # peaky, as trained models are, mostly blank
        cases.append((int(random.integers(2, 51)), int(random.integers(2, 200)), 8.0, 10))
    same = 0
    for seed, (steps, classes, sharpness, width) in enumerate(cases):
        log_probs = random_log_probs(steps, classes, seed, sharpness)
        same += read(log_probs, width=width, tokens=20)[0][0] == flashlight_best(
            log_probs, width, 20
        )
    assert same >= 990


def test_neighbours_and_padding_change_nothing_to_the_bit():
    lengths = [1, 37, 12, 5, 37, 20, 3]
    model = LanguageModel(table := random_log_probs(40, 40, 5), table[0], torch.zeros(40))
    alone, batch = (
        [],
        torch.randn(len(lengths), 45, 40, generator=torch.Generator().manual_seed(1)) * 30,
    )
    batch[:, 40:] = torch.nan  # nothing behind an end is looked at
    for row, length in enumerate(lengths):
        batch[row, :length] = random_log_probs(length, 40, row)
        alone.append(read(batch[row, :length], language_model=model, lm_weight=0.5, tokens=8))
    for order in (range(7), [4, 1], [6, 0, 3], [2, 2, 2, 5, 1]):
        order = list(order)
        result = beam_search(
            batch[order],
            torch.tensor([lengths[i] for i in order]),
            language_model=model,
            lm_weight=0.5,
            tokens=8,
        )
        assert [result.readings(row) for row in range(len(order))] == [
            alone[index] for index in order
        ]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_reads_the_same():
    log_probs = torch.stack([random_log_probs(30, 50, seed, 4.0) for seed in range(16)])
    lengths = torch.arange(15, 31)
    model = LanguageModel(table := random_log_probs(50, 50, 5), table[0], torch.zeros(50))
    here = beam_search(log_probs, lengths, language_model=model, lm_weight=0.3)
    there = beam_search(log_probs.cuda(), lengths.cuda(), language_model=model, lm_weight=0.3)
    for row in range(16):
        assert there.readings(row)[0][0] == here.readings(row)[0][0]
        assert there.readings(row)[0][1] == pytest.approx(here.readings(row)[0][1], abs=1e-6)


def rows(*values: list[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64).log().float()


def test_edge_cases():
    assert read(rows([0.9, 0.1])) == [
        ([], pytest.approx(math.log(0.9))),
        ([1], pytest.approx(math.log(0.1))),
    ]
    assert read(rows(*[[1.0, 0.0, 0.0]] * 3)) == [([], pytest.approx(0))], (
        "all blank: one reading, an empty one"
    )
    found = read(rows([0.0, 1.0], [1.0, 0.0], [0.0, 1.0]))
    assert found == [([1, 1], pytest.approx(0))], "a repeat across a blank is two glosses"
    assert read(rows([0.0, 1.0], [0.0, 1.0]))[0][0] == [1], "a repeat without a blank is one"
    assert read(rows([0.5, 0.3, 0.2]), width=1) == [([], pytest.approx(math.log(0.5)))]
    longest = read(rows(*[[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]] * 40))
    assert longest == [([1, 2] * 40, pytest.approx(0))]


def test_scores_that_are_no_distribution_and_tiny_ones():
    log_probs = random_log_probs(6, 4, 0)
    plain, shifted = read(log_probs), read(log_probs - 5000)
    assert [reading for reading, _ in shifted] == [reading for reading, _ in plain]
    assert shifted[0][1] == pytest.approx(plain[0][1] - 6 * 5000, rel=1e-5)
    flat = torch.full((2000, 3), -math.log(3))
    assert math.isfinite(read(flat)[0][1])


def test_what_cannot_be_decoded_is_refused():
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
    assert beam_search(broken, lengths).readings(1) == beam_search(log_probs, lengths).readings(1)
    for options, message in (({"width": 0}, "width 0"), ({"tokens": 0}, "tokens 0")):
        with pytest.raises(ValueError, match=message):
            beam_search(log_probs, lengths, **options)
    for wrong in ([0, 4], [4, 5]):
        with pytest.raises(ValueError, match="lengths"):
            beam_search(log_probs, torch.tensor(wrong))
    other = train_language_model([["A"]], Vocabulary(["A"]))
    with pytest.raises(ValueError, match="knows 2 classes, the log-probabilities have 3"):
        beam_search(log_probs, lengths, language_model=other)


def test_the_language_model_decides_what_sounds_alike(ctc_log_probability):
    alike = rows([0.02, 0.49, 0.49, 0.0], [0.98, 0.01, 0.01, 0.0], [0.02, 0.0, 0.0, 0.98])
    model = train_language_model([["B", "C"], ["B", "C"], ["A"]], Vocabulary(["A", "B", "C"]))
    assert read(alike, language_model=model)[0][0] == [2, 3]
    _, score = read(alike, language_model=model, lm_weight=0.5, gloss_bonus=1.0)[0]
    plain = ctc_log_probability(alike, [[2, 3]]).item()
    said = model.table[0, 2] + model.table[2, 3] + model.table[3, 0]
    assert score == pytest.approx(plain + 0.5 * float(said) + 2.0, rel=1e-6)


# ---------------------------------------------------------------- spans


def spans(log_probs: torch.Tensor, reading: list[int]) -> list[tuple[int, int]]:
    begins, ends = gloss_spans(
        log_probs[None],
        torch.tensor([len(log_probs)]),
        torch.tensor([reading]),
        torch.tensor([len(reading)]),
    )
    return list(zip(begins[0].tolist(), ends[0].tolist(), strict=True))


def best_alignment(log_probs: torch.Tensor, reading: list[int]) -> float:
    """The highest log-probability of a path that collapses to the reading, over all paths."""
    paths = itertools.product(range(log_probs.shape[1]), repeat=len(log_probs))
    good = (path for path in paths if [i for i, _ in itertools.groupby(path) if i] == reading)
    return max(
        sum(float(log_probs[step, index]) for step, index in enumerate(path)) for path in good
    )


def test_spans_by_hand():
    path = [0, 2, 2, 0, 2, 1, 1, 0]
    log_probs = torch.nn.functional.one_hot(torch.tensor(path), 3).float().mul(5).log_softmax(-1)
    assert spans(log_probs, [2, 2, 1]) == [(1, 3), (4, 5), (5, 7)]
    assert spans(log_probs[1:2], [2]) == [(0, 1)]


@pytest.mark.parametrize("seed", range(12))
def test_spans_are_those_of_the_best_alignment(seed):
    log_probs = random_log_probs(6, 3, seed)
    for reading in ([1], [2, 1], [1, 1], [1, 2, 1], [2, 2, 1]):
        found = spans(log_probs, reading)
        assert all(begin < end for begin, end in found)
        assert all(left[1] <= right[0] for left, right in itertools.pairwise(found))
        path = [0] * 6
        for gloss, (begin, end) in zip(reading, found, strict=True):
            path[begin:end] = [gloss] * (end - begin)
        assert [i for i, _ in itertools.groupby(path) if i] == reading
        value = sum(float(log_probs[step, index]) for step, index in enumerate(path))
        assert value == pytest.approx(best_alignment(log_probs, reading), abs=1e-5)


def test_spans_of_a_batch_are_those_of_each_sentence():
    lengths, readings = [9, 1, 4, 6], [[1, 3, 3], [2], [], [3, 1]]
    log_probs = torch.full((4, 9, 4), torch.nan)
    for row, length in enumerate(lengths):
        log_probs[row, :length] = random_log_probs(length, 4, row)
    padded = torch.tensor([reading + [0] * (3 - len(reading)) for reading in readings])
    begins, ends = gloss_spans(
        log_probs,
        torch.tensor(lengths),
        padded,
        torch.tensor([len(reading) for reading in readings]),
    )
    for row, reading in enumerate(readings):
        count = len(reading)
        found = list(zip(begins[row].tolist(), ends[row].tolist(), strict=True))
        assert found[:count] == (spans(log_probs[row, : lengths[row]], reading) if reading else [])
        assert all(begin == end for begin, end in found[count:])


def test_a_reading_without_an_alignment_is_refused():
    with pytest.raises(ValueError, match="no alignment"):
        spans(random_log_probs(2, 3, 0), [1, 1])
