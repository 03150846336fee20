import math

import numpy as np

from training.loss_spikes import FEWEST, WINDOW, is_spike, remember


def spikes_in(losses) -> list[int]:
    recent: list[float] = []
    found = []
    for index, loss in enumerate(losses):
        if is_spike(float(loss), recent):
            found.append(index)
        remember(float(loss), recent)
    assert len(recent) <= WINDOW
    return found


def test_by_hand():
    # Median 10, MAD 1: 6 x 1.4826 above is 18.9, 1.3 x 10 below that
    recent = [9.0, 10.0, 11.0] * 8
    assert not is_spike(18.8, recent) and is_spike(19.0, recent)
    assert not is_spike(1000.0, recent[: FEWEST - 1])
    assert not is_spike(math.nan, recent)
    flat = [10.0] * 20
    assert not is_spike(12.9, flat) and is_spike(13.1, flat), (
        "a loss that never varies may rise by a third"
    )


def test_a_falling_noisy_loss_has_none_and_planted_ones_are_found():
    random = np.random.default_rng(0)
    losses = 50 * np.exp(-np.arange(2000) / 600) * np.exp(random.normal(0, 0.15, 2000)) + 1
    assert len(spikes_in(losses)) <= 2
    planted = [300, 301, 302, 900, 1500]
    losses[planted] *= 4
    assert set(planted) <= set(spikes_in(losses)), "also those that follow each other"
