import math

import pytest

from training.early_stopping import EarlyStopping


def test_patience_counts_epochs_without_a_new_best():
    stopping = EarlyStopping(patience=2)
    wers = [90.0, 80.0, 80.0, 79.9, 85.0, 79.9]
    answers = [
        (stopping.update(epoch, wer), stopping.should_stop)
        for epoch, wer in enumerate(wers, start=1)
    ]
    assert answers == [
        (True, False),
        (True, False),
        (False, False),
        (True, False),
        (False, False),
        (False, True),
    ]
    assert (stopping.best_wer, stopping.best_epoch, stopping.epochs_since_best) == (79.9, 4, 2)


def test_a_wer_above_100_can_be_the_best():
    stopping = EarlyStopping(patience=1)
    assert stopping.update(1, 230.0) and stopping.best_wer == 230.0


def test_nan_is_an_error_and_never_a_best():
    stopping = EarlyStopping(patience=1)
    stopping.update(1, 50.0)
    with pytest.raises(ValueError, match="epoch 2"):
        stopping.update(2, math.nan)
    assert stopping.best_wer == 50.0
