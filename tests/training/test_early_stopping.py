import math
from dataclasses import replace

import pytest

import training.trainer
from decoding.scoring import Score
from models.checkpoint import load_checkpoint
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


def test_a_wer_above_100_percent_can_be_the_best():
    stopping = EarlyStopping(patience=1)
    assert stopping.update(1, 230.0) and stopping.best_wer == 230.0


def test_nan_is_an_error_and_never_the_best():
    stopping = EarlyStopping(patience=1)
    stopping.update(1, 50.0)
    with pytest.raises(ValueError, match="epoch 2"):
        stopping.update(2, math.nan)
    assert stopping.best_wer == 50.0


def test_early_stopping_on_dev_wer_ends_the_run(tiny_settings, execute_run, capsys, monkeypatch):
    validate, wers = training.trainer.validate, [50, 40, 40, 41]

    def validate_with_known_wer(*inputs, **options):  # the dev loss does not decide
        return replace(validate(*inputs, **options), score=Score(wers.pop(0), 0, 0, 100, 4))

    monkeypatch.setattr(training.trainer, "validate", validate_with_known_wer)
    tiny_settings["training"] |= {"epochs": 50, "patience": 2}
    run, result = execute_run(tiny_settings)
    assert (result["epochs_run"], result["best_epoch"], result["greedy_dev_wer"]) == (4, 2, 40.0)
    assert load_checkpoint(run.folder / "best_model.pth")["training"]["stopping"]["best_epoch"] == 2
    assert (
        len(load_checkpoint(run.folder / "best_model.pth")["training"]["progress"]["history"]) == 2
    )
    assert load_checkpoint(run.folder / "last.pth")["training"]["progress"]["finished"] is True
    assert "stopped early: no better dev WER in 2 epochs" in capsys.readouterr().out
