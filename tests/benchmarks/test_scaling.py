"""The benchmark of rounding compares runs whose batches have another order."""

import pytest

from benchmarks import scaling


def test_losses_with_the_sentences_of_a_batch_in_reverse_order(tiny_corpus):
    losses, reversed_ = (
        scaling.measure_rounding(str(tiny_corpus), reverse) for reverse in (False, True)
    )
    assert len(losses) == len(reversed_) > 1 and losses[0] == pytest.approx(reversed_[0], rel=1e-5)
