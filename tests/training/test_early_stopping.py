import math
from dataclasses import replace

import pytest

import training.trainer
from decoding.scoring import Score
from models.checkpoint import load_checkpoint, save_checkpoint
from training.early_stopping import EarlyStopping
from training.resume import plan_start
from training.setup import prepare_run


def test_patience_counts_epochs_without_a_new_best():
    stopping = EarlyStopping(patience=2)
    wers = [90.0, 80.0, 80.0, 79.9, 85.0, 79.9]
    answers = [
        (stopping.update(epoch, wer, 1.0), stopping.should_stop)
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


def test_of_epochs_with_the_same_wer_the_one_with_the_lowest_loss_is_the_best():
    """As at the start of a training, when nothing is predicted. The patience counts WER alone."""
    stopping = EarlyStopping(patience=4)
    losses = [math.nan, 30.0, 9.0, 9.5, math.nan, math.inf]
    answers = [stopping.update(epoch, 100.0, loss) for epoch, loss in enumerate(losses, start=1)]
    assert answers == [True, True, True, False, False, False]
    assert (stopping.best_epoch, stopping.best_loss, stopping.epochs_since_best) == (3, 9.0, 5)
    assert stopping.should_stop
    assert stopping.update(7, 99.0, 50.0) and stopping.best_loss == 50.0
    assert not stopping.update(8, 99.5, 1.0), "a lower loss alone is not better"


def test_a_tie_with_the_loaded_model_of_a_fine_tune_is_not_better():
    stopping = EarlyStopping(patience=1)
    stopping.start_from(40.0)
    assert not stopping.update(1, 40.0, 0.001) and stopping.best_epoch == 0
    assert stopping.update(2, 39.0, 5.0) and stopping.update(3, 39.0, 4.0)
    stopping.forget_best()
    assert stopping.update(4, 90.0, 80.0)


def test_a_wer_above_100_percent_can_be_the_best():
    stopping = EarlyStopping(patience=1)
    assert stopping.update(1, 230.0, 1.0) and stopping.best_wer == 230.0


def test_nan_is_an_error_and_never_the_best():
    stopping = EarlyStopping(patience=1)
    stopping.update(1, 50.0, 1.0)
    with pytest.raises(ValueError, match="epoch 2"):
        stopping.update(2, math.nan, 1.0)
    assert stopping.best_wer == 50.0


@pytest.mark.parametrize("best_epoch, loss, loss_of_best", [(2, 5.0, 5.0), (0, 5.0, -math.inf)])
def test_a_checkpoint_of_an_earlier_version_has_the_loss_in_its_history(
    run_copy, best_epoch, loss, loss_of_best
):
    """best_epoch 0: a fine-tune without a better epoch."""
    checkpoint = load_checkpoint(run_copy / "last.pth")
    del checkpoint["training"]["stopping"]["best_loss"]
    checkpoint["training"]["stopping"]["best_epoch"] = best_epoch
    checkpoint["training"]["progress"]["history"][1]["dev_loss"] = loss
    save_checkpoint(run_copy / "last.pth", checkpoint)
    run = prepare_run(plan_start(str(run_copy / "last.pth"), {}))
    assert run.trainer.stopping.best_loss == loss_of_best


def test_early_stopping_on_dev_wer_ends_the_run(tiny_settings, execute_run, capsys, monkeypatch):
    validate, wers = training.trainer.validate, [50, 40, 40, 41]

    def validate_with_known_wer(*inputs, **options):  # the dev loss does not decide
        wer = wers.pop(0)
        return replace(
            validate(*inputs, **options), score=Score(wer, 0, 0, 100, 4), loss=float(wer)
        )

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
