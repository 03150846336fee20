"""Spans of glosses as seconds and confidences, in cases worked by hand."""

import pytest
import torch

from data.vocabulary import Vocabulary
from decoding.alignment import timed_glosses
from decoding.timed_gloss import TimedGloss

VOCABULARY = Vocabulary(["RAIN", "SUN"])


def log_probs(*rows: tuple[float, float, float]) -> torch.Tensor:
    """Probabilities of blank, RAIN and SUN at each step."""
    return torch.tensor(rows, dtype=torch.float64).log().float()


def test_seconds_and_confidence_of_each_gloss():
    # blank, RAIN (0.6), RAIN (0.8), blank, SUN (0.9); steps of 0.16 s; the recording ends within
    # the last one.
    rows = log_probs(
        (0.8, 0.1, 0.1), (0.3, 0.6, 0.1), (0.1, 0.8, 0.1), (0.9, 0.05, 0.05), (0.05, 0.05, 0.9)
    )
    rain, sun = timed_glosses(rows, [1, 2], VOCABULARY, step=0.16, until=0.75)
    assert (rain.gloss, sun.gloss) == ("RAIN", "SUN")
    assert (rain.start, rain.end) == pytest.approx((0.16, 0.48))
    assert (sun.start, sun.end) == pytest.approx((0.64, 0.75))
    assert (rain.confidence, sun.confidence) == pytest.approx((0.7, 0.9))


def test_a_gloss_that_the_decoder_kept_though_the_best_path_has_it_not():
    rows = log_probs((0.9, 0.05, 0.05), (0.6, 0.3, 0.1), (0.9, 0.05, 0.05))
    (found,) = timed_glosses(rows, [1], VOCABULARY, step=0.2, until=1.0)
    assert (found.start, found.end, found.confidence) == pytest.approx((0.2, 0.4, 0.3))


def test_nothing_said():
    assert timed_glosses(log_probs((1.0, 1e-9, 1e-9)), [], VOCABULARY, 0.16, 1.0) == []


def test_moved():
    moved = TimedGloss("SUN", 0.5, 1.0, 0.9).moved(2.0)
    assert (moved.start, moved.end, moved.middle, moved.confidence) == (2.5, 3.0, 2.75, 0.9)
