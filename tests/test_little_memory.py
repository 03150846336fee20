"""Too little memory: one line with advice in every script, never exit code 1."""

import numpy as np
import pytest
import torch
import yaml

import evaluate
import export_model
import export_soft_targets
import overfit_test
import prepare_data
import transcribe
from data.corpus import Corpus
from errors import DataError, UsageError, enough_memory, is_out_of_memory
from errors import run_script as run_and_exit
from models.i3d_teacher import I3DTeacher

CPU = "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried"
ERRORS = (
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB\nmore"),
    MemoryError(),
    RuntimeError(CPU),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
    RuntimeError("[ONNXRuntimeError] : 6 : Failed to allocate memory for requested buffer"),
    RuntimeError("std::bad_alloc"),
    OSError(12, "Cannot allocate memory"),
)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: str(error)[:20])
def test_too_little_memory_is_one_line_with_advice(error, capsys):
    def main() -> int:
        raise error

    with pytest.raises(SystemExit) as ended:
        run_and_exit(main)
    err = capsys.readouterr().err
    assert ended.value.code == 2 and err.count("\n") == 1 and "more\n" not in err
    place = "--device cpu" if "CUDA" in str(error) else "use a machine with more memory"
    assert err.startswith("error: the memory is too small: stop other programs") and place in err


def test_another_error_is_not_taken_for_too_little_memory():
    others = (RuntimeError("shape mismatch"), OSError(28, "No space left"), DataError(CPU))
    for error in others:
        assert not is_out_of_memory(error)
        with pytest.raises(type(error)) as raised, enough_memory("lower it"):
            raise error
        assert raised.value is error
    with (
        pytest.raises(UsageError, match=r"too small: lower it: \[enforce"),
        enough_memory("lower it"),
    ):
        raise RuntimeError(CPU)


@pytest.fixture
def no_memory(monkeypatch):
    """The forward pass of every teacher finds no memory."""

    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB")

    monkeypatch.setattr(I3DTeacher, "forward", full)


def test_every_script_that_uses_a_model_says_it(
    no_memory, run_main, finished_run, tiny_corpus, tmp_path
):
    best = ("--checkpoint", finished_run / "best_model.pth")
    cases = (
        (evaluate, *best, "--output_dir", tmp_path / "a"),
        (export_soft_targets, *best, "--output_dir", tmp_path / "b"),
        (export_model, *best, "--output", tmp_path / "c.pt", "--format", "torchscript"),
        (prepare_data, "align", tiny_corpus, *best, "--output", tmp_path / "d"),
    )
    for script, *words in cases:
        ended = run_main(script.main, *words)
        assert ended.returncode == 2, ended.stderr
        last = ended.stderr.splitlines()[-1]
        assert last.startswith("error: the memory is too small: stop other programs"), last


def test_the_overfit_check_names_its_own_options(no_memory, run_main, tiny_settings, tmp_path):
    config = tmp_path / "tiny.yaml"
    config.write_text(yaml.safe_dump(tiny_settings), encoding="utf-8")
    ended = run_main(overfit_test.main, "--config", config, "--num_samples", 3, "--batch_size", 2)
    assert ended.returncode == 2
    assert "lower --batch_size (now 2) or --num_samples (now 3)" in ended.stderr


@pytest.fixture
def long_needs_too_much(monkeypatch):
    """More than 500 frames do not fit into the memory."""
    forward = I3DTeacher.forward

    def limited(model, features, *rest):
        if features.shape[1] > 500:
            raise RuntimeError(CPU)
        return forward(model, features, *rest)

    monkeypatch.setattr(I3DTeacher, "forward", limited)


@pytest.fixture
def recordings(tiny_corpus, tmp_path):
    """A folder with a long recording, and a short one that comes after it."""
    folder = tmp_path / "in"
    folder.mkdir()
    landmarks, _ = Corpus(tiny_corpus).split("dev").read(0)
    np.save(folder / "b.npy", landmarks)
    np.save(folder / "a.npy", np.concatenate([landmarks] * (500 // len(landmarks) + 1)))
    return folder


def test_a_recording_without_enough_memory_leaves_the_others(
    long_needs_too_much, run_main, finished_run, recordings, tmp_path
):
    words = ("--checkpoint", finished_run / "best_model.pth", "--output", tmp_path / "out")
    ended = run_main(transcribe.main, recordings, *words, "--whole", 3600)
    assert ended.returncode == 3 and (tmp_path / "out" / "b.txt").exists()
    failed = f"failed: {recordings / 'a.npy'}: the memory is too small: lower --whole (now 3600)"
    assert failed in ended.stderr and "1 of 2 recordings failed" in ended.stderr
    alone = run_main(transcribe.main, recordings / "a.npy", *words[:2], "--whole", 3600)
    assert alone.returncode == 3
    assert alone.stderr.splitlines()[-1].startswith(
        f"error: {recordings / 'a.npy'}: the memory is too small: lower --whole (now 3600)"
    )
    assert run_main(transcribe.main, recordings / "a.npy", *words[:2]).returncode == 0


def test_where_whole_does_not_help_the_advice_is_another(
    no_memory, run_main, finished_run, recordings
):
    ended = run_main(
        transcribe.main,
        recordings / "b.npy",
        "--checkpoint",
        finished_run / "best_model.pth",
        "--online",
    )
    assert ended.returncode == 3 and "--whole" not in ended.stderr
    assert "too small: stop other programs on the GPU" in ended.stderr
