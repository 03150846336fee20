"""The confidence filter of the adaptive decoder: threshold, trailing glosses, hypotheses."""

import math

import pytest
import torch

from decoding.length_normalization import (
    LengthNormalization,
    adaptive_decode,
    confidence_threshold,
    filtered_decode,
    trim_trailing,
)
from tests.decoding.small_posteriors import log_probs_of


@pytest.mark.parametrize(
    ("count", "k"), [(1, 0.5), (5, 0.5), (6, 0.3), (15, 0.3), (16, 0.2), (40, 0.2)]
)
def test_the_threshold_is_mean_minus_k_deviations(count, k):
    confidences = [0.2 + 0.6 * (i % 2) for i in range(count)]
    mean = sum(confidences) / count
    deviation = math.sqrt(sum((value - mean) ** 2 for value in confidences) / count)
    assert confidence_threshold(confidences) == pytest.approx(mean - k * deviation, abs=1e-12)


def test_trimming_by_hand():
    # mean 0.7, deviation sqrt(0.08) = 0.283, threshold 0.7 - 0.5 * 0.283 = 0.559
    assert trim_trailing([1, 2, 3, 4], [0.9, 0.9, 0.9, 0.1]) == [1, 2, 3]
    assert trim_trailing([1, 2, 3, 4, 5], [1.0, 1.0, 1.0, 0.1, 0.1]) == [1, 2, 3]
    assert trim_trailing([1, 2, 3, 4], [0.9, 0.1, 0.1, 0.9]) == [1, 2, 3, 4], "only what trails"
    assert trim_trailing([1, 2, 3, 4], [0.5, 0.5, 0.5, 0.5]) == [1, 2, 3, 4], (
        "equal to the threshold stays"
    )
    assert trim_trailing([1, 2, 3], [0.9, 0.1, 0.05]) == [1, 2], "the first two stay"
    assert trim_trailing([1, 2], [0.9, 0.001]) == [1, 2]
    assert trim_trailing([], []) == []


def test_the_confidence_filter_by_hand():
    # 1 (0.9, 0.95), 2 (0.9), 3 (0.9), 1 (0.6): mean 0.8375, deviation 0.139, threshold 0.768
    rows = [
        [0.05, 0.90, 0.03, 0.02],
        [0.03, 0.95, 0.01, 0.01],
        [0.05, 0.03, 0.90, 0.02],
        [0.05, 0.03, 0.02, 0.90],
        [0.30, 0.60, 0.05, 0.05],
    ]
    batch = torch.stack([log_probs_of(rows), log_probs_of(rows)])
    assert filtered_decode(batch, torch.tensor([5, 2])) == [[1, 2, 3], [1]]
    assert adaptive_decode(batch, torch.tensor([5, 2]), LengthNormalization(2.0, "filtered")) == [
        [1, 2, 3],
        [1],
    ]
    assert adaptive_decode(batch, torch.tensor([5, 2]), LengthNormalization(2.0, "greedy")) == [
        [1, 2, 3, 1],
        [1],
    ]
