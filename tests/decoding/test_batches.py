"""Sentences are decoded while they come: in which batches, with what result, and what is kept."""

from itertools import product

import pytest
import torch

import decoding.batches
from data.vocabulary import Vocabulary
from decoding.alignment import gloss_spans
from decoding.batches import decode_sentences, in_batches
from decoding.greedy import greedy_decode
from decoding.length_normalization import (
    GLOSS_BONUSES,
    LengthNormalization,
    adaptive_decode,
    tune,
)
from decoding.scoring import score
from tests.decoding.live_posteriors import LivePosteriors


def random_posteriors(steps: list[int], classes: int = 6) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(5)
    return [torch.randn(count, classes, generator=random).log_softmax(-1) for count in steps]


def test_a_batch_is_full_by_sentences_or_by_values(monkeypatch):
    monkeypatch.setattr(decoding.batches, "_BATCH_SIZE", 3)
    monkeypatch.setattr(decoding.batches, "_MOST_VALUES", 6 * 20)
    posteriors = random_posteriors([2, 3, 3, 5, 9, 10, 10, 11, 40, 1])
    batches = list(in_batches((10 + index, rows) for index, rows in enumerate(posteriors)))
    # 2 sentences of 10 steps of 6 classes are 120 values; a longer one is alone
    assert [batch.indices for batch in batches] == [
        [10, 11, 12],
        [13, 14],
        [15, 16],
        [17],
        [18],
        [19],
    ]
    for indices, log_probs, lengths in batches:
        assert log_probs.shape == (len(indices), max(lengths), 6)
        for index, rows, length in zip(indices, log_probs, lengths, strict=True):
            assert torch.equal(rows[:length], posteriors[index - 10])
            assert not rows[length:].any()


def test_predictions_spans_and_blanks_of_each_sentence():
    """Worked by hand: s0 is A A - B, s1 is blank, s2 is B."""
    paths = [[1, 1, 0, 2], [0], [2, 2]]
    posteriors = [torch.eye(3)[path].clamp(min=1e-6).log() for path in paths]
    order = [1, 2, 0]
    found = decode_sentences(
        ((index, posteriors[index]) for index in order),
        3,
        {"greedy": greedy_decode, "none": lambda log_probs, lengths: [[] for _ in lengths]},
        spans_of="greedy",
    )
    predictions = {name: list(rows) for name, rows in found.predictions.items()}
    assert predictions == {"greedy": [[1, 2], [], [2]], "none": [[], [], []]}
    assert list(found.spans) == [[(0, 2), (3, 4)], [], [(0, 2)]]
    assert found.blank_share == pytest.approx(2 / 7)
    found.seconds["greedy"] = 0.006
    assert found.milliseconds("greedy") == pytest.approx(2)


def test_the_times_of_a_batch_are_found_in_parts_that_fit_into_memory(monkeypatch):
    posteriors = random_posteriors([9, 7, 5, 8, 6])
    whole = decode_sentences(enumerate(posteriors), 5, {"greedy": greedy_decode}, "greedy").spans
    states = 2 * max(map(len, whole)) + 1
    sizes = []

    def spans(log_probs, *others):
        sizes.append(len(log_probs))
        return gloss_spans(log_probs, *others)

    monkeypatch.setattr(decoding.batches, "gloss_spans", spans)
    for most, expected in (
        (5 * 9 * states, [5]),
        (5 * 9 * states - 1, [4, 1]),
        (2 * 9 * states, [2, 2, 1]),
        (1, [1] * 5),
    ):
        sizes.clear()
        monkeypatch.setattr(decoding.batches, "_MOST_STATES", most)
        found = decode_sentences(enumerate(posteriors), 5, {"greedy": greedy_decode}, "greedy")
        assert list(found.spans) == list(whole) and sizes == expected


def test_decoding_keeps_no_log_probabilities(monkeypatch):
    monkeypatch.setattr(decoding.batches, "_BATCH_SIZE", 4)
    live = LivePosteriors(monkeypatch)
    posteriors = live.watched(enumerate(random_posteriors([5] * 40)))
    decode_sentences(posteriors, 40, {"greedy": greedy_decode}, spans_of="greedy")
    assert live.made >= 50 and live.most <= 7  # a batch, its sentences, and one that comes


def test_tuning_keeps_no_log_probabilities(monkeypatch):
    monkeypatch.setattr(decoding.batches, "_BATCH_SIZE", 4)
    live = LivePosteriors(monkeypatch)
    vocabulary = Vocabulary(["A", "B", "C", "D", "E"])
    posteriors = live.watched(enumerate(random_posteriors([5] * 40)))
    tune(posteriors, [["A", "B"]] * 40, vocabulary, 2.0, None, strengths=(0.0, 2.0))
    assert live.made >= 50 and live.most <= 7


def test_tuning_counts_the_errors_of_all_sentences():
    """The errors with the settings that `tune` chose are the fewest of all settings, counted
    sentence by sentence without batches."""
    posteriors = random_posteriors([3, 9, 4, 7, 5, 8])
    vocabulary = Vocabulary(["A", "B", "C", "D", "E"])
    references = [["A"], ["B", "C"], ["D"], ["E", "A"], ["B"], ["C", "C"]]

    def errors(settings: LengthNormalization) -> int:
        hypotheses = [
            adaptive_decode(rows[None], torch.tensor([len(rows)]), settings)[0]
            for rows in posteriors
        ]
        return score(references, [vocabulary.decode(classes) for classes in hypotheses]).errors

    everything = [LengthNormalization(2.0, name, 0.0) for name in ("greedy", "filtered")] + [
        LengthNormalization(2.0, "beam", strength, bonus)
        for bonus, strength in product(GLOSS_BONUSES, (0.0, 4.0))
    ]
    counts = [errors(settings) for settings in everything]
    expected = everything[counts.index(min(counts))]
    tuned = tune(enumerate(posteriors), references, vocabulary, 2.0, None, strengths=(0.0, 4.0))
    assert tuned == expected and len(set(counts)) > 2
