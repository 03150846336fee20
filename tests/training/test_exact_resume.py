"""A run that is interrupted and continued has exactly the result of an uninterrupted run."""

import json
import os
import pkgutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import train_teacher
import training.trainer
from decoding.scoring import Score
from models.checkpoint import load_checkpoint
from training.resume import plan_start
from training.setup import prepare_run
from training.stop_signals import InterruptedRunError
from training.trainer import Trainer

EPOCHS = 5  # of two updates each, with augmentation, dropout and accumulation
# Given as the epochs' dev WER: epoch 2 is the best, and the runs stop early after epoch 3
WERS = (80.0, 60.0, 70.0, 50.0, 40.0)
EARLY = {"epochs": EPOCHS, "patience": 1}
# Random augmentation that the default settings leave off
CHANCE = {
    "mix": 0.7,
    "mirror": 0.3,
    "time_mask": 0.2,
    "hand_drop": 0.3,
    "finger_drop": 0.2,
    "part_shift": 0.1,
}
# Measured numbers, which differ between runs
TIMINGS = {"seconds", "total_seconds", "frames_per_second", "peak_memory_gb"}


@pytest.fixture(scope="module")
def early_settings(make_settings, make_corpus, tmp_path_factory):
    """early_settings(output_dir, **training) -> settings of every run here. The corpus has short
    sentences, which can be joined."""
    annotations = ["SUN", "WIND WIND", "RAIN HOUSE", "HOUSE", "TOMORROW", "RAIN"] * 2
    train = [*annotations[:-1], "HOUSE RAIN SUN TOMORROW WIND"]
    corpus = make_corpus(
        tmp_path_factory.mktemp("corpora") / "short", {"train": train, "dev": train[2:6]}
    )

    def make(output_dir: Path, **training) -> dict[str, dict]:
        options = {"data_dir": str(corpus), "part_mask": 0.3, **EARLY, **training}
        settings = make_settings(output_dir, **options)
        return {**settings, "augmentation": CHANCE}

    return make


@pytest.fixture
def tiny_settings(early_settings, tmp_path) -> dict[str, dict]:
    return early_settings(tmp_path / "run")


def without_timings(value):
    if isinstance(value, dict):
        return {key: without_timings(each) for key, each in value.items() if key not in TIMINGS}
    return [without_timings(each) for each in value] if isinstance(value, list) else value


def assert_identical(found, expected, where="checkpoint"):
    """Assert the same structure, bit-identical tensors and equal values."""
    assert type(found) is type(expected), where
    if isinstance(expected, torch.Tensor):
        assert torch.equal(found, expected), where
    elif isinstance(expected, dict):
        assert list(found) == list(expected), where
        for key in expected:
            assert_identical(found[key], expected[key], f"{where}.{key}")
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected), where
        for index, each in enumerate(expected):
            assert_identical(found[index], each, f"{where}[{index}]")
    else:
        assert found == expected, where


def assert_same_run(found: Path, expected: Path):
    """Assert that both run folders have the same checkpoints, rows and results, except for their
    folder and times."""
    for name in ("last.pth", "best_model.pth"):
        ours, theirs = load_checkpoint(found / name), load_checkpoint(expected / name)
        for content in (ours, theirs):
            for name in ("output_dir", "checkpoint_minutes"):
                content["config"]["training"].pop(name)
        assert_identical(without_timings(ours), without_timings(theirs), name)
    rows = [
        [
            without_timings(json.loads(line))
            for line in (folder / "metrics.jsonl").read_text().splitlines()
        ]
        for folder in (found, expected)
    ]
    assert rows[0] == rows[1]
    results = [
        without_timings(json.loads((folder / "result.json").read_text()))
        for folder in (found, expected)
    ]
    assert results[0] == results[1]


def known_wers(patch: pytest.MonkeyPatch) -> None:
    """Let the epochs have the dev WERs of WERS, whatever the model has learned."""
    finish = Trainer._finish_epoch

    def finish_with_known_wer(trainer, signals):
        return {**finish(trainer, signals), "dev_wer": WERS[trainer.progress.epoch - 1]}

    patch.setattr(Trainer, "_finish_epoch", finish_with_known_wer)


@pytest.fixture(scope="module")
def uninterrupted(early_settings, execute_run, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted") / "run"
    with pytest.MonkeyPatch.context() as patch:
        known_wers(patch)
        run, _ = execute_run(early_settings(folder))
    assert len(run.trainer.progress.history) == 3 and run.trainer.stopping.best_epoch == 2
    return folder


def before_call(where: str, count: int, act) -> pytest.MonkeyPatch:
    """Call `act` before the `count`-th call of `where`: a key of PLACES, 'module.name' or
    'module.Class.name'."""
    module, _, name = PLACES.get(where, where).rpartition(".")
    owner = pkgutil.resolve_name(module)
    original, calls, patch = getattr(owner, name), [], pytest.MonkeyPatch()

    def counted(*arguments, **options):
        calls.append(1)
        if len(calls) == count:
            act()
        return original(*arguments, **options)

    patch.setattr(owner, name, counted)
    return patch


PLACES = {
    "update": "training.trainer.Trainer.update",
    "accumulation": "training.trainer.pad_targets",  # once per batch, two batches per update
    "step": "training.trainer.apply_gradients",
    "validation": "training.trainer.validate",
    "dev batch": "training.validation._losses",
    "epoch end": "training.progress.TrainingProgress.start_next_epoch",
    "save": "training.run_files.checkpoint_writer.save_checkpoint",
    "half written": "models.safe_write.HashedFile.write",  # many times per save
    "exchange": "models.checkpoint.replace_file",  # for previous.pth, then last.pth
    "hash": "models.safe_write._write_digests",
    "best": "training.run_files.checkpoint_writer.copy_checkpoint",
}
STOPS = [  # two updates per epoch: one from two batches, one from a single batch
    ("update", 1, signal.SIGTERM),
    ("update", 3, signal.SIGINT),  # in the middle of an epoch
    ("accumulation", 2, signal.SIGTERM),  # between two batches of an update
    ("accumulation", 5, signal.SIGKILL),
    ("step", 4, signal.SIGINT),  # before the last step of an epoch
    ("epoch end", 1, signal.SIGTERM),
    ("epoch end", 2, signal.SIGKILL),
    ("validation", 2, signal.SIGTERM),
    ("dev batch", 2, signal.SIGINT),
    ("dev batch", 3, signal.SIGKILL),
    ("save", 3, signal.SIGTERM),  # the first save is at the start
    ("save", 4, signal.SIGINT),  # after the last epoch
    # In the second save: the first one has about 500 writes, each other one 1,600
    ("half written", 1300, signal.SIGKILL),
    ("exchange", 3, signal.SIGKILL),  # last.pth is complete, previous.pth is being replaced
    ("hash", 5, signal.SIGKILL),
    ("best", 2, signal.SIGKILL),  # last.pth is an epoch ahead of best_model.pth
]


def interrupt(act, signum: int) -> int:
    """Return the exit code of `act`, which ends by a signal to its own process. SIGKILL ends a
    forked child."""
    if signum != signal.SIGKILL:
        with pytest.raises(InterruptedRunError) as stopped:
            act()
        return stopped.value.exit_code
    child = os.fork()
    if child == 0:
        try:
            act()
        finally:
            os._exit(0)
    return -os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize(
    ("where", "count", "signum", "read_ahead"),
    [(*stop, 2) for stop in STOPS] + [(*stop, 0) for stop in STOPS[:4]],
    ids=lambda value: str(value).replace(" ", "_"),
)
def test_a_run_stopped_anywhere_and_continued(
    where, count, signum, read_ahead, uninterrupted, tiny_settings, execute_run, monkeypatch
):
    """Compare with one uninterrupted run. `read_ahead` batches are prepared by another thread (2,
    the default) or by the training thread (0)."""
    monkeypatch.setattr("data.pipeline.READ_AHEAD", read_ahead)
    known_wers(monkeypatch)
    folder = Path(tiny_settings["training"]["output_dir"])
    patch = before_call(where, count, lambda: os.kill(os.getpid(), signum))
    try:
        code = interrupt(lambda: execute_run(tiny_settings), signum)
    finally:
        patch.undo()
    assert code == (9 if signum == signal.SIGKILL else 128 + signum)
    assert (folder / "last.pth").exists() and not (folder / "result.json").exists()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    run, _ = execute_run({"training": {"output_dir": str(folder)}}, "auto")
    assert run.start.kind == "continue"
    assert_same_run(folder, uninterrupted)
    assert {path.name for path in folder.iterdir()} == {
        path.name for path in uninterrupted.iterdir()
    }


def test_a_run_with_a_frame_budget_stopped_and_continued(
    tiny_settings, execute_run, tmp_path, monkeypatch
):
    """Epochs differ in their number of updates."""
    known_wers(monkeypatch)
    tiny_settings["training"] |= {"frames_per_batch": 90, "checkpoint_minutes": 1e-9}
    folder = Path(tiny_settings["training"]["output_dir"])
    without_stop = {
        **tiny_settings,
        "training": {**tiny_settings["training"], "output_dir": str(tmp_path / "whole")},
    }
    run, _ = execute_run(without_stop)
    patch = before_call(
        "update",
        run.trainer.plan.updates_per_epoch + 2,
        lambda: os.kill(os.getpid(), signal.SIGTERM),
    )
    interrupt(lambda: execute_run(tiny_settings), signal.SIGTERM)
    patch.undo()
    progress = load_checkpoint(folder / "last.pth")["training"]["progress"]
    assert progress["epoch"] == 2 and progress["group"] > 0
    execute_run({"training": {"output_dir": str(folder)}}, "auto")
    assert_same_run(folder, tmp_path / "whole")


def test_a_run_stopped_three_times_and_continued(
    uninterrupted, tiny_settings, execute_run, monkeypatch
):
    known_wers(monkeypatch)
    folder = Path(tiny_settings["training"]["output_dir"])
    for resume, (where, count) in zip(
        (None, "auto", "auto"), [("update", 3), ("validation", 1), ("update", 1)], strict=True
    ):
        patch = before_call(where, count, lambda: os.kill(os.getpid(), signal.SIGTERM))
        settings = tiny_settings if resume is None else {"training": {"output_dir": str(folder)}}
        code = interrupt(
            lambda settings=settings, resume=resume: execute_run(settings, resume), signal.SIGTERM
        )
        patch.undo()
        assert code == 143
    execute_run({"training": {"output_dir": str(folder)}}, "auto")
    assert_same_run(folder, uninterrupted)


def test_saves_inside_an_epoch_change_nothing(
    uninterrupted, tiny_settings, execute_run, monkeypatch
):
    """After a kill the run continues from the last save, which is inside the epoch."""
    known_wers(monkeypatch)
    tiny_settings["training"]["checkpoint_minutes"] = 1e-9
    folder = Path(tiny_settings["training"]["output_dir"])
    patch = before_call("update", 4, lambda: os.kill(os.getpid(), signal.SIGKILL))
    interrupt(lambda: execute_run(tiny_settings), signal.SIGKILL)
    patch.undo()
    progress = load_checkpoint(folder / "last.pth")["training"]["progress"]
    assert (progress["epoch"], progress["group"], len(progress["gradient_norms"])) == (2, 1, 1)
    before = load_checkpoint(folder / "previous.pth")["training"]["progress"]
    assert (before["epoch"], before["group"]) == (2, 0)
    execute_run({"training": {"output_dir": str(folder), "checkpoint_minutes": 0.0}}, "auto")
    assert_same_run(folder, uninterrupted)


def test_the_comparison_sees_the_seed(uninterrupted, tiny_settings, execute_run, monkeypatch):
    """The tests above find another order, another dropout mask or another augmentation."""
    known_wers(monkeypatch)
    tiny_settings["training"]["seed"] = 1
    execute_run(tiny_settings)
    with pytest.raises(AssertionError):
        assert_same_run(Path(tiny_settings["training"]["output_dir"]), uninterrupted)


def test_every_source_of_randomness_is_on(uninterrupted):
    config = load_checkpoint(uninterrupted / "last.pth")["config"]
    assert config["augmentation"]["enabled"] and config["model"]["dropout"] > 0
    assert config["training"]["accumulation_steps"] == 2
    assert config["training"]["part_mask"] > 0
    trainer, joined = prepare_run(plan_start(str(uninterrupted / "last.pth"), {})).trainer, []
    for epoch in (1, 2):
        trainer.plan.begin(epoch)
        joined.append(set(np.flatnonzero(trainer.plan.split.split.partners >= 0)))
    assert joined[0] and joined[1] and joined[0] != joined[1], "each epoch joins other sentences"


def test_a_run_repeated_is_the_same(uninterrupted, tiny_settings, execute_run, monkeypatch):
    known_wers(monkeypatch)
    torch.manual_seed(999)  # earlier random draws have no effect
    execute_run(tiny_settings)
    assert_same_run(Path(tiny_settings["training"]["output_dir"]), uninterrupted)


def test_continuing_in_another_folder_copies_the_best_model(
    uninterrupted, tiny_settings, execute_run, tmp_path, monkeypatch
):
    known_wers(monkeypatch)
    folder, other = Path(tiny_settings["training"]["output_dir"]), tmp_path / "other"
    patch = before_call("update", 5, lambda: os.kill(os.getpid(), signal.SIGTERM))
    interrupt(lambda: execute_run(tiny_settings), signal.SIGTERM)
    patch.undo()
    before = {path: path.read_bytes() for path in folder.glob("*.pth")}
    execute_run({"training": {"output_dir": str(other)}}, folder / "last.pth")
    assert_same_run(other, uninterrupted)
    assert {path: path.read_bytes() for path in folder.glob("*.pth")} == before


def test_continuing_from_the_best_model_repeats_the_epochs_after_it(
    tiny_settings, execute_run, tmp_path
):
    """best_model.pth of epoch 2 continues with epoch 3, although later epochs were trained."""
    wers = [50, 30, 40, 60]

    def run(wers: list[float], *arguments):
        validate = training.trainer.validate

        def validate_with_known_wer(*inputs, **options):
            return replace(validate(*inputs, **options), score=Score(wers.pop(0), 0, 0, 100, 4))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(training.trainer, "validate", validate_with_known_wer)
            return execute_run(*arguments)

    tiny_settings["training"] |= {"epochs": len(wers), "patience": 15}
    folder, target = Path(tiny_settings["training"]["output_dir"]), tmp_path / "again"
    run(wers, tiny_settings)
    continued, result = run(
        [40, 60], {"training": {"output_dir": str(target)}}, folder / "best_model.pth"
    )
    assert continued.start.kind == "continue"
    assert (result["best_epoch"], result["greedy_dev_wer"], result["epochs_run"]) == (2, 30.0, 4)
    assert_same_run(target, folder)


def test_a_sigterm_to_the_script_from_outside(make_settings, execute_run, tmp_path):
    """The script runs in its own process, is stopped from outside, and continues with `--resume
    auto`."""
    settings = make_settings(tmp_path / "run", epochs=12, patience=12)
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(settings))
    process = subprocess.Popen(
        [sys.executable, train_teacher.__file__, "--config", str(config)],
        cwd=Path(train_teacher.__file__).parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    rows = tmp_path / "run" / "metrics.jsonl"
    started = time.monotonic()
    while not (rows.exists() and rows.read_text().count("\n") >= 2) and process.poll() is None:
        assert time.monotonic() - started < 100
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 143, errors
    assert (
        f"continue with: python train_teacher.py --resume auto --output_dir {tmp_path / 'run'}"
        in errors
    )
    assert "Traceback" not in errors and "finishing this update" in output + errors
    done = len(load_checkpoint(tmp_path / "run" / "last.pth")["training"]["progress"]["history"])
    assert 2 <= done < 12

    assert train_teacher.main(["--resume", "auto", "--output_dir", str(tmp_path / "run")]) == 0
    execute_run(make_settings(tmp_path / "whole", epochs=12, patience=12))
    assert_same_run(tmp_path / "run", tmp_path / "whole")
