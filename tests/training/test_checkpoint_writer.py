"""Checkpoints that are written while training goes on."""

import concurrent.futures
import contextlib
import math
import os
import signal
import threading
import time
from collections import OrderedDict
from dataclasses import replace

import pytest
import torch

import training.checkpoint_writer
from data.device_transfer import HostCopies
from errors import DataError, DivergenceError
from models.checkpoint import load_checkpoint
from training.checkpoint_writer import CheckpointWriter, snapshot
from training.distributed import Ranks
from training.stop_signals import InterruptedRunError
from training.trainer import MAX_BAD_UPDATES, Trainer

save_checkpoint = training.checkpoint_writer.save_checkpoint


def content(weight: torch.Tensor) -> dict:
    return {
        "model": OrderedDict(weight=weight),
        "vocabulary": ["HAUS"],
        "config": {},
        "corpus": {
            "name": "x",
            "path": "p",
            "fingerprint": "f",
            "simulated": True,
            "composed": False,
        },
        "decoder": {"steps_per_gloss": 3.5},
        "training": {"progress": {"history": []}, "stopping": {}, "optimizer": {}, "scaler": {}},
    }


@pytest.fixture
def held(monkeypatch) -> threading.Event:
    """Nothing is written before this is set."""
    free = threading.Event()

    def save(*arguments, **options):
        assert free.wait(60)
        save_checkpoint(*arguments, **options)

    monkeypatch.setattr(training.checkpoint_writer, "save_checkpoint", save)
    return free


@pytest.fixture
def full_disk(monkeypatch) -> None:
    def save(path, *_, **__):
        raise DataError(f"cannot write {path}: no space left")

    monkeypatch.setattr(training.checkpoint_writer, "save_checkpoint", save)


def test_what_is_written_is_what_was_given(tmp_path, held):
    weight, given = torch.ones(3), content(torch.ones(3))
    given["model"]["weight"] = weight
    writer = CheckpointWriter()
    writer.write(tmp_path, given, best=True)
    assert not (tmp_path / "last.pth").exists()
    weight.zero_()
    given["training"]["progress"]["history"].append({"epoch": 1})
    held.set()
    writer.wait()
    for name in ("last.pth", "best_model.pth"):
        written = load_checkpoint(tmp_path / name)
        assert torch.equal(written["model"]["weight"], torch.ones(3)) and written["training"][
            "progress"
        ] == {"history": []}


def test_one_after_the_other(tmp_path, held):
    writer = CheckpointWriter()
    writer.write(tmp_path, content(torch.ones(1)), best=True)
    timer = threading.Timer(0.2, held.set)
    timer.start()
    writer.write(tmp_path, content(torch.zeros(1)))
    assert held.is_set(), "the second waited for the first"
    writer.wait()
    values = [
        load_checkpoint(tmp_path / name)["model"]["weight"].item()
        for name in ("best_model.pth", "previous.pth", "last.pth")
    ]
    assert values == [1, 1, 0]


@pytest.mark.parametrize("following", ["wait", "write", "end"])
def test_what_could_not_be_written_is_raised_by_what_follows(following, tmp_path, full_disk):
    with (
        pytest.raises(DataError, match=r"cannot write .*last\.pth: no space left"),
        CheckpointWriter() as writer,
    ):
        writer.write(tmp_path, content(torch.ones(1)))
        if following == "wait":
            writer.wait()
        elif following == "write":
            writer.write(tmp_path, content(torch.ones(1)))


def test_checking_raises_what_is_known_and_waits_for_nothing(tmp_path, held, monkeypatch):
    writer = CheckpointWriter()
    writer.check()
    writer.write(tmp_path, content(torch.ones(1)))
    writer.check()
    assert not (tmp_path / "last.pth").exists()
    monkeypatch.setattr("models.checkpoint.os.fsync", full)
    held.set()
    with pytest.raises(DataError, match="No space left"):
        for _ in range(6000):
            writer.check()
            time.sleep(0.01)
    writer.wait()


def full(_):
    raise OSError(28, "No space left on device")


def test_a_wait_that_is_broken_off_is_taken_up_again(tmp_path, held):
    """A second Ctrl-C, in the end of the `with`: the run's folder is let go of when the file is
    whole."""

    def break_off():
        os.kill(os.getpid(), signal.SIGINT)
        held.set()

    with pytest.raises(KeyboardInterrupt), CheckpointWriter() as writer:
        writer.write(tmp_path, content(torch.ones(1)))
        threading.Timer(0.2, break_off).start()
        writer.wait()
    assert load_checkpoint(tmp_path / "last.pth")["model"]["weight"].item() == 1


def test_it_is_said_beside_another_error(tmp_path, full_disk, capsys):
    with pytest.raises(KeyError), CheckpointWriter() as writer:
        writer.write(tmp_path, content(torch.ones(1)))
        raise KeyError
    assert "error: cannot write" in capsys.readouterr().err


def test_a_snapshot_shares_nothing():
    inner = torch.ones(2, requires_grad=True)
    given = {"a": [inner, (1, "x")], "b": OrderedDict(c={"d": None})}
    taken = snapshot(given)
    assert taken["a"][1] == (1, "x") and taken["b"] == {"c": {"d": None}}
    assert torch.equal(taken["a"][0], torch.ones(2)) and not taken["a"][0].requires_grad
    given["a"].append(1)
    given["b"]["c"]["d"] = 2
    with torch.no_grad():
        inner.zero_()
    assert (
        torch.equal(taken["a"][0], torch.ones(2))
        and len(taken["a"]) == 2
        and taken["b"]["c"] == {"d": None}
    )


def test_training_goes_on_while_an_epoch_is_written(
    tiny_settings, execute_run, monkeypatch, tmp_path
):
    """An epoch's checkpoint is written when the next epoch is at its end, and it is the epoch's."""
    tiny_settings["training"] |= {"epochs": 2}
    original, free, states = Trainer._finish_epoch, threading.Event(), []

    def save(path, given, **options):
        if given["training"]["progress"]["epoch"] == 2:
            assert free.wait(60), "training waits for the checkpoint"
        save_checkpoint(path, given, **options)
        states.append(given["training"]["progress"]["epoch"])

    def finish(self, signals):
        if self.progress.epoch == 2:
            assert (
                states == [1]
                and load_checkpoint(tmp_path / "run" / "last.pth")["training"]["progress"]["epoch"]
                == 1
            )
            free.set()
        return original(self, signals)

    monkeypatch.setattr(training.checkpoint_writer, "save_checkpoint", save)
    monkeypatch.setattr(Trainer, "_finish_epoch", finish)
    execute_run(tiny_settings)
    assert states == [1, 2, 3]
    assert load_checkpoint(tmp_path / "run" / "previous.pth")["training"]["progress"]["epoch"] == 2


def test_a_stop_waits_until_it_is_written(tiny_settings, execute_run, monkeypatch, tmp_path):
    asked = []

    def save(path, given, **options):
        if given["training"]["progress"]["epoch"] == 2 and not asked:
            asked.append(os.kill(os.getpid(), signal.SIGTERM))
        save_checkpoint(path, given, **options)

    monkeypatch.setattr(training.checkpoint_writer, "save_checkpoint", save)
    with pytest.raises(InterruptedRunError):
        execute_run(tiny_settings)
    assert load_checkpoint(tmp_path / "run" / "last.pth")["training"]["progress"]["epoch"] == 2
    assert (tmp_path / "run" / "best_model.pth").exists()


def test_a_disk_that_is_full_after_an_epoch_ends_the_run_and_not_an_epoch_later(
    tiny_settings, execute_run, monkeypatch
):
    original, epochs = Trainer.update, []

    def update(self, batches):
        original(self, batches)
        epochs.append(self.progress.epoch)
        if self.progress.epoch == 2:
            concurrent.futures.wait([self._writer._pending])

    def save(path, given, **options):
        if given["training"]["progress"]["epoch"] == 2:
            raise DataError(f"cannot write {path}: no space left")
        save_checkpoint(path, given, **options)

    monkeypatch.setattr(Trainer, "update", update)
    monkeypatch.setattr(training.checkpoint_writer, "save_checkpoint", save)
    with pytest.raises(DataError, match=r"cannot write .*last\.pth: no space left"):
        execute_run(tiny_settings)
    assert epochs.count(1) > 1 and epochs.count(2) == 1


def test_a_run_that_diverges_ends_when_its_last_good_state_is_written(
    tiny_settings, execute_run, monkeypatch, tmp_path
):
    """Where there are several processes, `together` ends this one on an error."""
    original, states = Ranks.together, []

    @contextlib.contextmanager
    def together(self):
        with original(self):
            try:
                yield
            except DivergenceError:
                states.append(
                    load_checkpoint(tmp_path / "run" / "last.pth")["training"]["progress"]["epoch"]
                )
                raise

    def save(path, given, **options):
        time.sleep(0.5)
        save_checkpoint(path, given, **options)

    def take_down(self, update):
        if self.progress.epoch == 2:
            self.progress.bad_updates = MAX_BAD_UPDATES
            update = replace(
                update,
                figures=HostCopies([torch.tensor([math.nan]), torch.tensor(1.0)]),
                batches=[],
            )
        _take_down(self, update)

    _take_down = Trainer._take_down
    monkeypatch.setattr(Trainer, "_take_down", take_down)
    monkeypatch.setattr("training.trainer.dump_batches", lambda *_: "nothing is dumped")
    monkeypatch.setattr(Ranks, "together", together)
    monkeypatch.setattr(training.checkpoint_writer, "save_checkpoint", save)
    with pytest.raises(DivergenceError):
        execute_run(tiny_settings)
    assert states == [2]
