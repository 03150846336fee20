"""Checkpoints are written in a thread while training continues."""

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

import training.run_files.checkpoint_writer
from data.device_transfer import HostCopies
from errors import DataError, DivergenceError
from models.checkpoint import load_checkpoint
from tests.models.conftest import checkpoint_content
from training.distributed import Ranks
from training.divergence import MAX_BAD_UPDATES
from training.run_files.checkpoint_writer import CheckpointWriter, snapshot
from training.stop_signals import InterruptedRunError
from training.trainer import Trainer

save_checkpoint = training.run_files.checkpoint_writer.save_checkpoint


def content(weight: torch.Tensor) -> dict:
    found = checkpoint_content() | {"model": OrderedDict(weight=weight)}
    found["training"]["progress"] = {"history": []}
    return found


@pytest.fixture
def held(monkeypatch) -> threading.Event:
    """The writer waits until this event is set."""
    free = threading.Event()

    def save(*arguments, **options):
        assert free.wait(60)
        save_checkpoint(*arguments, **options)

    monkeypatch.setattr(training.run_files.checkpoint_writer, "save_checkpoint", save)
    return free


@pytest.fixture
def full_disk(monkeypatch) -> None:
    def save(path, *_, **__):
        raise DataError(f"cannot write {path}: no space left")

    monkeypatch.setattr(training.run_files.checkpoint_writer, "save_checkpoint", save)


def test_later_changes_do_not_reach_the_file(tmp_path, held):
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


def test_checkpoints_are_written_one_after_the_other(tmp_path, held):
    writer = CheckpointWriter()
    writer.write(tmp_path, content(torch.ones(1)), best=True)
    timer = threading.Timer(0.2, held.set)
    timer.start()
    writer.write(tmp_path, content(torch.zeros(1)))
    assert held.is_set(), "the second write waits for the first"
    writer.wait()
    values = [
        load_checkpoint(tmp_path / name)["model"]["weight"].item()
        for name in ("best_model.pth", "previous.pth", "last.pth")
    ]
    assert values == [1, 1, 0]


@pytest.mark.parametrize("following", ["wait", "write", "end"])
def test_an_error_of_a_write_is_raised_by_the_next_call(following, tmp_path, full_disk):
    with (
        pytest.raises(DataError, match=r"cannot write .*last\.pth: no space left"),
        CheckpointWriter() as writer,
    ):
        writer.write(tmp_path, content(torch.ones(1)))
        if following == "wait":
            writer.wait()
        elif following == "write":
            writer.write(tmp_path, content(torch.ones(1)))


def test_check_raises_a_known_error_and_does_not_wait(tmp_path, held, monkeypatch):
    writer = CheckpointWriter()
    writer.check()
    writer.write(tmp_path, content(torch.ones(1)))
    writer.check()
    assert not (tmp_path / "last.pth").exists()
    monkeypatch.setattr("models.checkpoint.os.fsync", raise_disk_full)
    held.set()
    with pytest.raises(DataError, match="No space left"):
        for _ in range(6000):
            writer.check()
            time.sleep(0.01)
    writer.wait()


def raise_disk_full(_):
    raise OSError(28, "No space left on device")


def test_an_interrupted_wait_continues_until_the_file_is_complete(tmp_path, held):
    """A second Ctrl-C arrives at the end of the `with`. The run's folder is released after the file
    is complete."""

    def interrupt():
        os.kill(os.getpid(), signal.SIGINT)
        held.set()

    with pytest.raises(KeyboardInterrupt), CheckpointWriter() as writer:
        writer.write(tmp_path, content(torch.ones(1)))
        threading.Timer(0.2, interrupt).start()
        writer.wait()
    assert load_checkpoint(tmp_path / "last.pth")["model"]["weight"].item() == 1


def test_an_error_of_a_write_is_printed_beside_another_error(tmp_path, full_disk, capsys):
    with pytest.raises(KeyError), CheckpointWriter() as writer:
        writer.write(tmp_path, content(torch.ones(1)))
        raise KeyError
    assert "error: cannot write" in capsys.readouterr().err


def test_a_snapshot_shares_no_memory():
    inner = torch.ones(2, requires_grad=True)
    given = {"a": [inner, (1, "x")], "b": OrderedDict(c={"d": None})}
    copy = snapshot(given)
    assert copy["a"][1] == (1, "x") and copy["b"] == {"c": {"d": None}}
    assert torch.equal(copy["a"][0], torch.ones(2)) and not copy["a"][0].requires_grad
    given["a"].append(1)
    given["b"]["c"]["d"] = 2
    with torch.no_grad():
        inner.zero_()
    assert (
        torch.equal(copy["a"][0], torch.ones(2))
        and len(copy["a"]) == 2
        and copy["b"]["c"] == {"d": None}
    )


def test_training_continues_while_a_checkpoint_is_written(
    tiny_settings, execute_run, monkeypatch, tmp_path
):
    """The checkpoint of epoch 1 is complete when epoch 2 ends. It has the state after epoch 1."""
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

    monkeypatch.setattr(training.run_files.checkpoint_writer, "save_checkpoint", save)
    monkeypatch.setattr(Trainer, "_finish_epoch", finish)
    execute_run(tiny_settings)
    assert states == [1, 2, 3]
    assert load_checkpoint(tmp_path / "run" / "previous.pth")["training"]["progress"]["epoch"] == 2


def test_a_stop_waits_until_the_checkpoint_is_written(
    tiny_settings, execute_run, monkeypatch, tmp_path
):
    asked = []

    def save(path, given, **options):
        if given["training"]["progress"]["epoch"] == 2 and not asked:
            asked.append(os.kill(os.getpid(), signal.SIGTERM))
        save_checkpoint(path, given, **options)

    monkeypatch.setattr(training.run_files.checkpoint_writer, "save_checkpoint", save)
    with pytest.raises(InterruptedRunError):
        execute_run(tiny_settings)
    assert load_checkpoint(tmp_path / "run" / "last.pth")["training"]["progress"]["epoch"] == 2
    assert (tmp_path / "run" / "best_model.pth").exists()


def test_a_full_disk_ends_the_run_within_the_next_epoch(tiny_settings, execute_run, monkeypatch):
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
    monkeypatch.setattr(training.run_files.checkpoint_writer, "save_checkpoint", save)
    with pytest.raises(DataError, match=r"cannot write .*last\.pth: no space left"):
        execute_run(tiny_settings)
    assert epochs.count(1) > 1 and epochs.count(2) == 1


def test_a_run_that_diverges_ends_after_its_last_good_state_is_written(
    tiny_settings, execute_run, monkeypatch, tmp_path
):
    """With several processes, `all_must_succeed` ends this process after an error."""
    original, states = Ranks.all_must_succeed, []

    @contextlib.contextmanager
    def all_must_succeed(self):
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

    def record(self, update):
        if self.progress.epoch == 2:
            self.progress.bad_updates = MAX_BAD_UPDATES
            update = replace(
                update,
                figures=HostCopies([torch.tensor([math.nan]), torch.tensor(1.0)]),
                batches=[],
            )
        original_record(self, update)

    original_record = Trainer._record
    monkeypatch.setattr(Trainer, "_record", record)
    monkeypatch.setattr("training.trainer.dump_batches", lambda *_: "nothing is dumped")
    monkeypatch.setattr(Ranks, "all_must_succeed", all_must_succeed)
    monkeypatch.setattr(training.run_files.checkpoint_writer, "save_checkpoint", save)
    with pytest.raises(DivergenceError):
        execute_run(tiny_settings)
    assert states == [2]
