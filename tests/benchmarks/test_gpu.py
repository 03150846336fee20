"""The table of benchmarks/gpu.py, run on the CPU."""

import argparse
import os
import subprocess
import time
from pathlib import Path

import pytest

from benchmarks import gpu, gpu_steps, gpu_timing

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def run_gpu(tmp_path, read_figures):
    """run_gpu(*options): exit code and figures of a small table on the CPU."""

    def run(*words) -> tuple[int, dict[str, float]]:
        path = tmp_path / "figures.json"
        options = ["--device", "cpu", "--small", "--updates", 1, "--json", path, *words]
        return gpu.main(list(map(str, options))), read_figures(path, "gpu")

    return run


def test_the_table_on_the_cpu(run_gpu, tiny_corpus, capsys, monkeypatch):
    def broken(session):
        raise RuntimeError("no kernel\nfor this")

    monkeypatch.setitem(gpu_steps.STEPS, "overfit", broken)
    steps = ["--steps", "overfit", "corpus", "phases", "agreement"]
    sizes = ["--batch_size", 3, 4, "--frames_per_batch", 90]
    code, figures = run_gpu(*steps, "--data_dir", tiny_corpus, *sizes)
    printed = capsys.readouterr().out
    assert code == 1 and figures["failed_steps"] == 1, "a failed step is counted"
    assert (
        "FAILED: RuntimeError: no kernel for this" in printed
        and printed.splitlines()[-1] == "failed_steps: 1"
    )
    assert figures["agreement_log_probs"] == 0 and figures["agreement_loss"] == 0
    assert 0 < figures["bf16_loss_difference"] < 0.1
    for row in ("batch_3", "batch_4", "90_frames"):
        assert all(figures[f"{row}_{phase}_ms"] > 0 for phase in gpu_timing.PHASES)
        epoch = (
            gpu_timing.TRAIN_FRAMES / figures[f"{row}_frames_per_second"]
            + figures[f"{row}_between_epochs_seconds"]
        )
        copying = figures[f"{row}_copying_seconds"]
        period = copying + max(epoch - copying, figures[f"{row}_checkpoint_seconds"])
        assert figures[f"{row}_training_minutes"] == pytest.approx(gpu_steps.EPOCHS * period / 60)


def test_the_table_has_a_row_for_each_size_of_batch():
    options = argparse.Namespace(batch_size=[8, 32], frames_per_batch=[1200], compile=True)
    assert gpu_steps.rows_of(options) == {
        "batch 8": {"batch_size": 8},
        "batch 32": {"batch_size": 32},
        "1200 frames": {"frames_per_batch": 1200},
        "batch 8 compiled": {"batch_size": 8, "compile": True},
    }


def test_no_step_starts_after_the_time_is_over(run_gpu, tiny_corpus, capsys):
    code, figures = run_gpu("--steps", "phases", "--data_dir", tiny_corpus, "--seconds", 0)
    assert code == 1 and figures == {"failed_steps": 1}
    assert "phases                      not started" in capsys.readouterr().out


def test_a_script_is_stopped_when_its_time_is_over(tmp_path):
    started = time.monotonic()
    assert gpu_steps.run(["-c", "import time; time.sleep(60)"], 0.1, tmp_path / "log") == 143
    assert gpu_steps.run(["-c", "print('text'); raise SystemExit(3)"], 30, tmp_path / "log") == 3
    assert (tmp_path / "log").read_text() == "text\n" and time.monotonic() - started < 30


def test_the_shell_script_is_valid():
    script = ROOT / "benchmarks" / "gpu.sh"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", script]).returncode == 0
