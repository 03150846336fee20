import math
from itertools import pairwise

import pytest

from training.optimizer import flat_start_weight, learning_rate


def rate(step: int, **options) -> float:
    return learning_rate(
        step, **{"peak": 1.0, "minimum": 0.1, "warmup_steps": 4, "total_steps": 13, **options}
    )


def test_the_learning_rate_by_hand():
    assert [rate(step) for step in range(5)] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert rate(8) == pytest.approx(0.55)  # the middle of the cosine's 8 steps
    assert rate(6) == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi / 4)) / 2)
    assert rate(12) == pytest.approx(0.1)  # the last update
    assert rate(500) == pytest.approx(0.1)


def test_without_warm_up_the_rate_starts_at_the_peak():
    assert rate(0, warmup_steps=0) == pytest.approx(1.0)


def test_the_rate_never_rises_after_the_warm_up():
    rates = [rate(step) for step in range(3, 20)]
    assert all(later <= earlier for earlier, later in pairwise(rates))


@pytest.mark.parametrize(("warmup", "total"), [(1, 1), (5, 5), (10, 3), (0, 1), (4, 5)])
def test_a_run_shorter_than_its_warm_up_has_a_rate_above_zero(warmup, total):
    for step in range(total):
        assert 0 < rate(step, warmup_steps=warmup, total_steps=total) <= 1.0


def test_the_warm_up_never_passes_the_peak():
    """With a frame budget an epoch can have more updates than the first: steps are fractions."""
    steps = [group * 2 / 3 for group in range(12)]
    assert max(rate(step, warmup_steps=4, total_steps=8) for step in steps) == 1.0
    assert rate(3.5) == 1.0


def test_the_weight_of_the_flat_start_by_hand():
    assert [flat_start_weight(step, 4) for step in range(6)] == [0.75, 0.5, 0.25, 0, 0, 0]
    assert flat_start_weight(1.5, 5) == 0.5  # steps are fractions, where epochs differ
    assert [flat_start_weight(step, 0) for step in (0, 7)] == [0, 0]
    assert flat_start_weight(0, 0.5) == 0


def test_the_flat_start_of_a_large_corpus_has_600_updates():
    weights = [flat_start_weight(step, 4 * 709) for step in (0, 299, 599, 600)]
    assert weights == pytest.approx([1 - 1 / 600, 0.5, 0, 0])
