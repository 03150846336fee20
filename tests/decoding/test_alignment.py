import itertools

import pytest
import torch

from data.vocabulary import Vocabulary
from decoding.alignment import gloss_spans, timed_glosses
from decoding.timed_gloss import TimedGloss

VOCABULARY = Vocabulary(["RAIN", "SUN"])


def log_probs(*rows: tuple[float, float, float]) -> torch.Tensor:
    """Probabilities of blank, RAIN and SUN at each step."""
    return torch.tensor(rows, dtype=torch.float64).log().float()


def test_seconds_and_confidence_of_each_gloss():
    # blank, RAIN (0.6), RAIN (0.8), blank, SUN (0.9); steps of 0.16 s; the recording ends within
    # the last step
    rows = log_probs(
        (0.8, 0.1, 0.1), (0.3, 0.6, 0.1), (0.1, 0.8, 0.1), (0.9, 0.05, 0.05), (0.05, 0.05, 0.9)
    )
    rain, sun = timed_glosses(rows, [1, 2], VOCABULARY, step_seconds=0.16, duration=0.75)
    assert (rain.gloss, sun.gloss) == ("RAIN", "SUN")
    assert (rain.start, rain.end) == pytest.approx((0.16, 0.48))
    assert (sun.start, sun.end) == pytest.approx((0.64, 0.75))
    assert (rain.confidence, sun.confidence) == pytest.approx((0.7, 0.9))


def test_a_gloss_that_the_best_path_lacks_has_a_time_too():
    rows = log_probs((0.9, 0.05, 0.05), (0.6, 0.3, 0.1), (0.9, 0.05, 0.05))
    (found,) = timed_glosses(rows, [1], VOCABULARY, step_seconds=0.2, duration=1.0)
    assert (found.start, found.end, found.confidence) == pytest.approx((0.2, 0.4, 0.3))


def test_an_empty_hypothesis_has_no_glosses():
    assert timed_glosses(log_probs((1.0, 1e-9, 1e-9)), [], VOCABULARY, 0.16, 1.0) == []


def test_a_moved_gloss_is_later_by_the_seconds():
    moved = TimedGloss("SUN", 0.5, 1.0, 0.9).moved(2.0)
    assert (moved.start, moved.end, moved.middle, moved.confidence) == (2.5, 3.0, 2.75, 0.9)


def random_log_probs(steps: int, classes: int, seed: int) -> torch.Tensor:
    logits = torch.randn(steps, classes, generator=torch.Generator().manual_seed(seed))
    return logits.mul(1.5).log_softmax(-1)


def spans(log_probs: torch.Tensor, hypothesis: list[int]) -> list[tuple[int, int]]:
    begins, ends = gloss_spans(
        log_probs[None],
        torch.tensor([len(log_probs)]),
        torch.tensor([hypothesis]),
        torch.tensor([len(hypothesis)]),
    )
    return list(zip(begins[0].tolist(), ends[0].tolist(), strict=True))


def best_alignment(log_probs: torch.Tensor, hypothesis: list[int]) -> float:
    """The highest log-probability of a path that collapses to the hypothesis, over all paths."""
    paths = itertools.product(range(log_probs.shape[1]), repeat=len(log_probs))
    good = (path for path in paths if [i for i, _ in itertools.groupby(path) if i] == hypothesis)
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
    for hypothesis in ([1], [2, 1], [1, 1], [1, 2, 1], [2, 2, 1]):
        found = spans(log_probs, hypothesis)
        assert all(begin < end for begin, end in found)
        assert all(left[1] <= right[0] for left, right in itertools.pairwise(found))
        path = [0] * 6
        for gloss, (begin, end) in zip(hypothesis, found, strict=True):
            path[begin:end] = [gloss] * (end - begin)
        assert [i for i, _ in itertools.groupby(path) if i] == hypothesis
        value = sum(float(log_probs[step, index]) for step, index in enumerate(path))
        assert value == pytest.approx(best_alignment(log_probs, hypothesis), abs=1e-5)


def test_spans_of_a_batch_are_those_of_each_sentence():
    lengths, hypotheses = [9, 1, 4, 6], [[1, 3, 3], [2], [], [3, 1]]
    log_probs = torch.full((4, 9, 4), torch.nan)
    for row, length in enumerate(lengths):
        log_probs[row, :length] = random_log_probs(length, 4, row)
    padded = torch.tensor([hypothesis + [0] * (3 - len(hypothesis)) for hypothesis in hypotheses])
    begins, ends = gloss_spans(
        log_probs,
        torch.tensor(lengths),
        padded,
        torch.tensor([len(hypothesis) for hypothesis in hypotheses]),
    )
    for row, hypothesis in enumerate(hypotheses):
        count = len(hypothesis)
        found = list(zip(begins[row].tolist(), ends[row].tolist(), strict=True))
        assert found[:count] == (
            spans(log_probs[row, : lengths[row]], hypothesis) if hypothesis else []
        )
        assert all(begin == end for begin, end in found[count:])


def test_a_hypothesis_without_an_alignment_is_refused():
    with pytest.raises(ValueError, match="no alignment"):
        spans(random_log_probs(2, 3, 0), [1, 1])
