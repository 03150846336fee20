"""A run that was interrupted and continued ends exactly where it would have ended without the interruption."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

import train_teacher
import training.trainer
from decoding.scoring import Score
from training.checkpoint import load_checkpoint
from training.trainer import InterruptedRunError, Trainer

EPOCHS = 4  # of two updates each, with augmentation, dropout and accumulation
TIMINGS = {"seconds", "total_seconds", "frames_per_second"}


def without_timings(value):
    if isinstance(value, dict):
        return {key: without_timings(one) for key, one in value.items() if key not in TIMINGS}
    return [without_timings(one) for one in value] if isinstance(value, list) else value


def assert_identical(found, expected, where="checkpoint"):
    """The same structure with bit-identical tensors and equal values."""
    assert type(found) is type(expected), where
    if isinstance(expected, torch.Tensor):
        assert torch.equal(found, expected), where
    elif isinstance(expected, dict):
        assert list(found) == list(expected), where
        for key in expected:
            assert_identical(found[key], expected[key], f"{where}.{key}")
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected), where
        for index, one in enumerate(expected):
            assert_identical(found[index], one, f"{where}[{index}]")
    else:
        assert found == expected, where


def assert_same_run(found: Path, expected: Path):
    """Checkpoints, rows and results of both run folders are the same but for names and times."""
    for name in ("last.pth", "best_model.pth"):
        ours, theirs = load_checkpoint(found / name), load_checkpoint(expected / name)
        for content in (ours, theirs):
            content["config"]["training"].pop("output_dir")
        assert_identical(without_timings(ours), without_timings(theirs), name)
    rows = [
        [without_timings(json.loads(line)) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for folder in (found, expected)
    ]
    assert rows[0] == rows[1]
    results = [without_timings(json.loads((folder / "result.json").read_text())) for folder in (found, expected)]
    assert results[0] == results[1]


@pytest.fixture(scope="module")
def uninterrupted(make_settings, execute_run, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted") / "run"
    execute_run(make_settings(folder, epochs=EPOCHS))
    return folder


def stop_at(patch: pytest.MonkeyPatch, where: str, count: int) -> None:
    """Send this process a SIGTERM the `count`-th time that training comes by."""
    owner = Trainer if where == "update" else training.trainer
    original, calls = getattr(owner, where), []

    def counted(*arguments, **options):
        calls.append(1)
        if len(calls) == count:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(*arguments, **options)

    patch.setattr(owner, where, counted)


@pytest.mark.parametrize(
    "stops",
    [
        [("update", 1)],
        [("update", 3)],  # in the middle of an epoch
        [("update", 4)],  # after an epoch's last update, before dev
        [("evaluate", 2)],  # while dev is read
        [("save_checkpoint", 2)],  # between two epochs
        [("save_checkpoint", EPOCHS)],  # with the last epoch done
        [("update", 3), ("evaluate", 1), ("update", 2)],
    ],
    ids=lambda stops: "-".join(f"{where}{count}" for where, count in stops),
)
def test_stopped_by_sigterm_and_continued(stops, uninterrupted, tiny_settings, execute_run, capsys):
    tiny_settings["training"]["epochs"] = EPOCHS
    folder = Path(tiny_settings["training"]["output_dir"])
    for number, (where, count) in enumerate(stops):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(InterruptedRunError, match="SIGTERM") as stopped:
            stop_at(patch, where, count)
            if number == 0:
                execute_run(tiny_settings)
            else:
                execute_run({"training": {"output_dir": str(folder)}}, "auto")
        assert stopped.value.exit_code == 143
        assert not (folder / "result.json").exists()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    run, _ = execute_run({"training": {"output_dir": str(folder)}}, "auto")
    assert run.start.kind == "continue"
    assert_same_run(folder, uninterrupted)
    assert ("this run is complete" in capsys.readouterr().out) == (stops[-1] == ("save_checkpoint", EPOCHS))


def test_the_comparison_sees_the_seed(uninterrupted, tiny_settings, execute_run):
    """The tests above would notice another order, another mask of dropout or another augmentation."""
    tiny_settings["training"] |= {"epochs": EPOCHS, "seed": 1}
    execute_run(tiny_settings)
    with pytest.raises(AssertionError):
        assert_same_run(Path(tiny_settings["training"]["output_dir"]), uninterrupted)


def test_every_source_of_chance_is_on(uninterrupted):
    config = load_checkpoint(uninterrupted / "last.pth")["config"]
    assert config["augmentation"]["enabled"] and config["model"]["dropout"] > 0
    assert config["training"]["accumulation_steps"] == 2


def test_a_run_repeated_is_the_same(uninterrupted, tiny_settings, execute_run):
    tiny_settings["training"]["epochs"] = EPOCHS
    torch.manual_seed(999)  # what was drawn before does not matter
    execute_run(tiny_settings)
    assert_same_run(Path(tiny_settings["training"]["output_dir"]), uninterrupted)


def test_continuing_in_another_folder_takes_the_best_model_along(uninterrupted, tiny_settings, execute_run, tmp_path):
    tiny_settings["training"]["epochs"] = EPOCHS
    folder, other = Path(tiny_settings["training"]["output_dir"]), tmp_path / "other"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(InterruptedRunError):
        stop_at(patch, "update", 5)
        execute_run(tiny_settings)
    before = {path: path.read_bytes() for path in folder.glob("*.pth")}
    execute_run({"training": {"output_dir": str(other)}}, folder / "last.pth")
    assert_same_run(other, uninterrupted)
    assert {path: path.read_bytes() for path in folder.glob("*.pth")} == before


def test_continuing_from_the_best_goes_back_to_it(tiny_settings, execute_run, tmp_path):
    """best_model.pth of epoch 2 continues with epoch 3, whatever was trained after it."""

    def run(wers: list[float], *arguments):
        evaluate = training.trainer.evaluate

        def told(*inputs, **options):
            return replace(evaluate(*inputs, **options), score=Score(wers.pop(0), 0, 0, 100, 4))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(training.trainer, "evaluate", told)
            return execute_run(*arguments)

    tiny_settings["training"]["epochs"] = EPOCHS
    folder, target = Path(tiny_settings["training"]["output_dir"]), tmp_path / "again"
    run([50, 30, 40, 60], tiny_settings)
    continued, result = run([40, 60], {"training": {"output_dir": str(target)}}, folder / "best_model.pth")
    assert continued.start.kind == "continue"
    assert (result["best_epoch"], result["greedy_dev_wer"], result["epochs_run"]) == (2, 30.0, EPOCHS)
    assert_same_run(target, folder)


def test_a_real_sigterm_to_the_script(make_settings, execute_run, tmp_path):
    """The script run as a user runs it, stopped from outside at some moment, and continued with `--resume auto`."""
    settings = make_settings(tmp_path / "run", epochs=20, patience=20)
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
    assert f"go on with: python train_teacher.py --resume auto --output_dir {tmp_path / 'run'}" in errors
    assert "Traceback" not in errors and "finishing this update" in output + errors
    done = len(load_checkpoint(tmp_path / "run" / "last.pth")["training"]["progress"]["history"])
    assert 2 <= done < 20

    assert train_teacher.main(["--resume", "auto", "--output_dir", str(tmp_path / "run")]) == 0
    execute_run(make_settings(tmp_path / "whole", epochs=20, patience=20))
    assert_same_run(tmp_path / "run", tmp_path / "whole")
