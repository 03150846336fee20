import math

import numpy as np
import pytest
import torch

from tests.training.conftest import (
    plain_batches,
    prepare_trainer,
    run_update,
)
from training.divergence import FEWEST, WATCHED_UPDATES, is_spike, remember


def spikes_in(losses) -> list[int]:
    recent: list[float] = []
    found = []
    for index, loss in enumerate(losses):
        if is_spike(float(loss), recent, 16):
            found.append(index)
        remember(float(loss), recent)
    assert len(recent) <= WATCHED_UPDATES
    return found


def test_the_limit_of_a_spike_by_hand():
    # Median 10, median absolute deviation 1: the limit is 10 + 6 x 1.4826 = 18.9, above 1.3 x 10
    recent = [9.0, 10.0, 11.0] * 8
    assert not is_spike(18.8, recent, 1000) and is_spike(19.0, recent, 1000)
    assert not is_spike(1000.0, recent[: FEWEST - 1], 1000)
    assert not is_spike(math.nan, recent, 1000)
    flat = [10.0] * 20
    assert not is_spike(12.9, flat, 1000) and is_spike(13.1, flat, 1000), "it may rise by 30 %"


@pytest.mark.parametrize(("sentences", "limit"), [(1, 50.0), (4, 30.0), (16, 20.0), (400, 13.0)])
def test_the_mean_of_few_sentences_may_rise_further(sentences, limit):
    """1 + 4 / sqrt(n) times the median of 10, and never less than 1.3 times."""
    flat = [10.0] * 20
    assert not is_spike(limit - 0.1, flat, sentences) and is_spike(limit + 0.1, flat, sentences)


def test_a_learned_corpus_in_batches_of_four_has_hardly_any_spikes():
    """Late in a training most sentences have a loss near 1, and one in twenty has up to 10."""
    random = np.random.default_rng(0)
    losses = 1 + 0.3 * random.random((1000, 4))
    hard = random.random((1000, 4)) < 0.05
    losses[hard] = random.uniform(3, 10, hard.sum())
    recent: list[float] = []
    found = 0
    for loss in losses.mean(1).tolist():
        found += is_spike(loss, recent, 4)
        remember(loss, recent)
    assert found < 20


def test_a_noisy_loss_that_falls_has_no_spikes_and_planted_spikes_are_found():
    random = np.random.default_rng(0)
    losses = 50 * np.exp(-np.arange(2000) / 600) * np.exp(random.normal(0, 0.15, 2000)) + 1
    assert len(spikes_in(losses)) <= 2
    planted = [300, 301, 302, 900, 1500]
    losses[planted] *= 4
    assert set(planted) <= set(spikes_in(losses)), "spikes in consecutive updates, too"


def test_a_loss_spike_is_logged_with_its_sentences(tiny_settings, capsys):
    trainer = prepare_trainer(tiny_settings, batch_size=4)
    (batch,) = plain_batches(trainer, [[3, 1, 2, 5]])
    trainer.progress.recent_losses = [10.0 + 0.1 * (number % 5) for number in range(30)]
    original = trainer.losses
    hard_sentence = [10.0, 50.0, 10.0, 10.0]  # mean 20: no spike in an update of four sentences
    for losses in ([9.0, 12.0, 10.0, 10.0], hard_sentence, [10.0, 300.0, 11.0, 20.0]):

        def with_known_losses(*arguments, losses=losses):
            output, real = original(*arguments)
            return output, real * 0 + torch.tensor(losses)

        trainer.losses = with_known_losses
        run_update(trainer, [batch])
    (event,) = trainer.progress.events
    assert event["kind"] == "spike" and event["loss"] == pytest.approx(85.25)
    assert event["sentences"] == [["train-01", 300.0], ["train-05", 20.0], ["train-02", 11.0]]
    output = capsys.readouterr().out
    assert (
        output.count("loss spike") == 1
        and "train-01 (300.0), train-05 (20.0), train-02 (11.0)" in output
    )
    assert trainer.progress.loss_spikes == 1 and len(trainer.progress.gradient_norms) == 3, (
        "the update is reported, not skipped"
    )
