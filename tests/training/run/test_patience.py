"""A run that is continued with another patience ends as if it had had it from the start."""

import os
import signal

import pytest

from models.checkpoint import load_checkpoint
from tests.training.test_exact_resume import (
    EPOCHS,
    assert_same_run,
    before_call,
    interrupt,
    known_wers,
)


@pytest.fixture(autouse=True)
def fixed_wers(monkeypatch):
    """Epoch 2 is better than 1, 3 is worse, 4 and 5 are better."""
    known_wers(monkeypatch)


@pytest.fixture
def train(make_settings, execute_run, tmp_path):
    """train(folder, patience) -> (Run, result) of a fresh run of five epochs."""
    return lambda name, patience: execute_run(
        make_settings(tmp_path / name, epochs=EPOCHS, patience=patience)
    )


def continue_run(execute_run, folder, patience):
    return execute_run({"training": {"output_dir": str(folder), "patience": patience}}, "auto")


def test_a_run_that_stopped_early_continues_with_more_patience(
    train, execute_run, tmp_path, capsys
):
    _, result = train("run", 1)
    assert result["epochs_run"] == 3
    advice = "no better dev WER in 1 epoch; --resume auto with a --patience above 1 continues"
    assert advice in capsys.readouterr().out
    _, result = continue_run(execute_run, tmp_path / "run", 1)
    assert result["epochs_run"] == 3
    assert "nothing left to train" in capsys.readouterr().out
    run, result = continue_run(execute_run, tmp_path / "run", 2)
    assert run.start.kind == "continue" and result["epochs_run"] == EPOCHS
    assert "stopped early" not in capsys.readouterr().out
    train("patient", 2)
    assert_same_run(tmp_path / "run", tmp_path / "patient")
    _, result = continue_run(execute_run, tmp_path / "run", 9)
    assert result["epochs_run"] == EPOCHS, "all epochs are trained already"


def test_less_patience_ends_a_run_that_is_continued(train, execute_run, tmp_path, capsys):
    patch = before_call("epoch end", 3, lambda: os.kill(os.getpid(), signal.SIGTERM))
    interrupt(lambda: train("run", 5), signal.SIGTERM)
    patch.undo()
    progress = load_checkpoint(tmp_path / "run" / "last.pth")["training"]["progress"]
    assert len(progress["history"]) == 3 and not progress["finished"]
    capsys.readouterr()
    _, result = continue_run(execute_run, tmp_path / "run", 1)
    assert (result["epochs_run"], result["best_epoch"]) == (3, 2)
    assert "stopped early: no better dev WER in 1 epoch;" in capsys.readouterr().out
    _, again = execute_run({"training": {"output_dir": str(tmp_path / "run")}}, "auto")
    assert again == result, "last.pth has the new patience, and is finished"
    assert "nothing left to train" in capsys.readouterr().out


def test_less_patience_does_not_drop_an_epoch_that_was_started(train, execute_run, tmp_path):
    """Stopped in epoch 4, which is better than epoch 2."""
    patch = before_call("update", 7, lambda: os.kill(os.getpid(), signal.SIGTERM))
    interrupt(lambda: train("run", 5), signal.SIGTERM)
    patch.undo()
    progress = load_checkpoint(tmp_path / "run" / "last.pth")["training"]["progress"]
    assert (progress["epoch"], progress["group"]) == (4, 1)
    _, result = continue_run(execute_run, tmp_path / "run", 1)
    assert (result["epochs_run"], result["best_epoch"]) == (EPOCHS, EPOCHS)
