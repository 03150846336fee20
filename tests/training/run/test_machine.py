"""A run keeps what it decided by its machine: in its checkpoints, and in environment.json."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models import machine_choices
from models.checkpoint import load_checkpoint, save_checkpoint
from models.cpu_kernels import BF16, ONEDNN, TORCH, compute_linear_by, linear_is_computed_by
from training.progress import TrainingProgress
from training.resume import plan_start
from training.setup import prepare_run
from training.stop_signals import InterruptedRunError


@pytest.fixture(autouse=True)
def as_before():
    yield
    compute_linear_by(TORCH)


def last_session(folder: Path) -> dict:
    return json.loads((folder / "environment.json").read_text(encoding="utf-8"))["sessions"][-1]


@pytest.fixture
def large_linear_layers(monkeypatch):
    """The layers of the tiny model count as large, and oneDNN is the faster way."""
    monkeypatch.setattr(machine_choices, "LARGE", 1)
    monkeypatch.setattr("models.cpu_kernels.LARGE", 1)
    times = {TORCH: 0.02, ONEDNN: 0.01}
    monkeypatch.setattr(
        machine_choices, "seconds_of_linear", lambda rows, width, ways: {w: times[w] for w in ways}
    )
    return times


def test_a_run_that_continues_computes_as_before_unless_told_otherwise(
    large_linear_layers, make_settings, execute_run, tmp_path, capsys
):
    def run(resume=None, **options):
        settings = {"output_dir": str(tmp_path / "run"), **options}
        given = {"training": settings} if resume else make_settings(tmp_path / "run", epochs=1)
        execute_run(given, resume)
        session = last_session(tmp_path / "run")
        assert session["linear_layers"] == linear_is_computed_by()
        return session["linear_layers"], session["linear_layers_reason"], capsys.readouterr().out

    way, reason, printed = run()
    assert (way, reason) == (ONEDNN, "test of one layer and thread: torch 20.0 ms, oneDNN 10.0 ms")
    assert f"large linear layers by oneDNN ({reason})" in printed
    machine = load_checkpoint(tmp_path / "run" / "last.pth")["training"]["machine"]
    assert machine == {"device": "cpu", "precision": "fp32", "threads": 1, "linear_layers": ONEDNN}
    large_linear_layers[ONEDNN] = 1.0  # as on another machine, or while it is busy
    assert run("last")[:2] == (ONEDNN, "as in the checkpoint; --linear_layers auto tests again")
    assert run("last", linear_layers="auto")[0] == TORCH
    assert run("last", linear_layers="onednn")[:2] == (ONEDNN, "--linear_layers onednn")
    large_linear_layers[ONEDNN] = 0.001
    assert run("last", linear_layers="torch")[0] == TORCH


def test_an_interrupted_run_equals_one_that_was_not_also_where_another_way_would_be_chosen(
    large_linear_layers, make_settings, execute_run, tmp_path, monkeypatch
):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    execute_run(make_settings(whole, epochs=2))
    start_next_epoch = TrainingProgress.start_next_epoch

    def start_and_stop(progress):
        start_next_epoch(progress)
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingProgress, "start_next_epoch", start_and_stop)
        with pytest.raises(InterruptedRunError):
            execute_run(make_settings(parts, epochs=2))
    large_linear_layers[ONEDNN] = 1.0
    execute_run({"training": {"output_dir": str(parts)}}, "last")
    weights = [load_checkpoint(one / "last.pth")["model"] for one in (whole, parts)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_checkpoint_of_an_earlier_version_continues_with_onednn(run_copy, execute_run, capsys):
    content = load_checkpoint(run_copy / "last.pth")
    content.pop("format_version")
    del content["training"]["machine"]
    save_checkpoint(run_copy / "last.pth", content)
    (run_copy / "previous.pth").unlink(missing_ok=True)
    execute_run({"training": {"output_dir": str(run_copy)}}, "last")
    assert "large linear layers by oneDNN (as in the checkpoint;" in capsys.readouterr().out


def test_a_fine_tune_decides_anew(large_linear_layers, run_copy, execute_run):
    execute_run({"training": {"epochs": 1, "learning_rate": 1e-4}}, run_copy / "last.pth")
    assert last_session(run_copy.with_name("copy_finetune"))["linear_layers"] == ONEDNN


def test_a_run_that_found_bf16_faster_stays_in_bf16(
    large_linear_layers, make_settings, execute_run, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(machine_choices, "SHARED", 1)
    large_linear_layers[BF16] = 0.001
    execute_run(make_settings(tmp_path / "run", epochs=2))
    printed = capsys.readouterr().out
    assert "parameters, bf16 on cpu" in printed and "large linear layers by bf16 (test" in printed
    last = load_checkpoint(tmp_path / "run" / "last.pth")
    assert last["training"]["machine"]["precision"] == "bf16"
    large_linear_layers[BF16] = 1.0
    further = {"output_dir": str(tmp_path / "run"), "patience": 40}
    plan = plan_start("last", {"training": further})
    trainer = prepare_run(plan).trainer
    assert trainer.precision.name == trainer.machine.precision == "bf16"
    # Another format was asked for: as for every setting that shapes training, a fine-tune begins
    plan = plan_start("last", {"training": {**further, "precision": "fp32"}})
    assert prepare_run(plan).trainer.precision.name == "fp32"


def test_all_ranks_compute_in_the_format_that_rank_0_found(
    large_linear_layers, make_settings, tmp_path, monkeypatch
):
    monkeypatch.setattr(machine_choices, "SHARED", 1)
    large_linear_layers[BF16] = 1.0
    trainer = prepare_run(plan_start(None, make_settings(tmp_path / "run"))).trainer
    of_rank_0 = replace(trainer.machine, precision="bf16")
    monkeypatch.setattr(trainer.ranks, "from_rank_0", lambda _: (trainer.stopping, of_rank_0))
    trainer.connect_ranks()
    assert trainer.precision.name == "bf16" and trainer.precision.autocast()._enabled
