"""A run is prepared: corpus, vocabulary, weights, memory, compiler."""

from pathlib import Path

import pytest
import torch

import train_teacher
from distillation.config import StudentConfig
from errors import DataError, UsageError
from models.checkpoint import (
    bytes_needed,
    check_space,
    load_checkpoint,
    save_checkpoint,
)
from models.i3d_teacher import I3DTeacher
from training.dry_run import dry_run
from training.resume import plan_start
from training.run import execute
from training.setup import prepare_run
from training.trainer import Trainer


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train": ["SUN RAIN"]}, "has no split 'dev'"),
        ({"dev": ["SUN RAIN"]}, "has no split 'train'"),
        ({"train": ["SUN"], "dev": []}, "split 'dev' is empty"),
        ({"train": [], "dev": ["SUN"]}, "split 'train' is empty"),
        (
            {"train": [("SUN SUN", 4)], "dev": ["SUN"]},
            "train sentence train-00: CTC cannot align it: it has 1 step \\(4 frames\\), "
            "its 2 glosses need 3; repair it$",  # --skip_bad would leave nothing
        ),
    ],
)
def test_a_corpus_that_cannot_be_trained_on(
    make_corpus, tiny_settings, execute_run, tmp_path, splits, message
):
    corpus = make_corpus(tmp_path / "corpus", splits)
    tiny_settings["training"]["data_dir"] = str(corpus)
    with pytest.raises(DataError, match=message):
        execute_run(tiny_settings)
    assert not (tmp_path / "run").exists(), "the run writes nothing before the corpus is checked"


def test_weights_depend_on_the_seed_alone(tiny_settings):
    weights = []
    for seed, noise in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(noise)
        tiny_settings["training"]["seed"] = seed
        weights.append(prepare_run(plan_start(None, tiny_settings)).trainer.model.head.weight)
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_preparing_writes_nothing(tiny_settings, tmp_path):
    prepare_run(plan_start(None, tiny_settings))
    assert list(Path(tmp_path).iterdir()) == []


def test_room_is_looked_for_before_the_run_begins(
    tiny_settings, execute_run, tmp_path, monkeypatch
):
    # Four files with weights and two moments in float32
    assert bytes_needed(48_500_000) == 4 * 3 * 4 * 48_500_000
    usage = type("Usage", (), {"free": 50_000})
    monkeypatch.setattr("models.checkpoint.shutil.disk_usage", lambda _: usage)
    with pytest.raises(
        DataError,
        match=r"run: this run's checkpoints need up to \d+ MiB and the disk has 0 MiB free",
    ):
        execute_run(tiny_settings)
    assert not (tmp_path / "run").exists()
    (tmp_path / "last.pth").write_bytes(b"x" * 40_000)
    usage.free = 10_000
    with pytest.raises(DataError):
        check_space(tmp_path, parameters=1000, reuse=False)  # 48,000 bytes
    check_space(tmp_path, parameters=1000, reuse=True)  # of which 40,000 are there already


def test_extending_a_vocabulary_without_a_checkpoint_is_refused(tiny_yaml):
    with pytest.raises(
        UsageError,
        match=r"--extend_vocabulary extends the vocabulary of a checkpoint, and there is none",
    ):
        train_teacher.main(["--config", str(tiny_yaml), "--extend_vocabulary"])


def test_a_warm_up_as_long_as_the_run_is_reported(tiny_yaml, capsys):
    assert (
        train_teacher.main(
            ["--config", str(tiny_yaml), "--epochs", "2", "--warmup_epochs", "2", "--dry_run"]
        )
        == 0
    )
    assert "--warmup_epochs 2 is not shorter than --epochs 2" in capsys.readouterr().out


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory: 3 GiB\nmore"), MemoryError()]
)
@pytest.mark.parametrize("act", [dry_run, execute])
def test_a_batch_that_is_too_large_for_the_memory_is_one_line(
    act, error, tiny_settings, monkeypatch
):
    def full(*_):
        raise error

    run = prepare_run(plan_start(None, tiny_settings))
    monkeypatch.setattr(Trainer, "update", full)
    with pytest.raises(
        UsageError, match=r"memory is too small: lower --batch_size \(now 5\)"
    ) as caught:
        act(run)
    assert "\n" not in str(caught.value) and "more" not in str(caught.value)


def test_a_model_that_is_too_large_for_the_memory_is_one_line(tiny_settings, monkeypatch):
    # larger than the address space of any machine
    monkeypatch.setattr("training.setup.build_model", lambda *_: torch.empty(2**60))
    with pytest.raises(
        UsageError, match=r"memory is too small.*or lower the model's sizes: .*allocate"
    ):
        prepare_run(plan_start(None, tiny_settings))


def test_another_error_is_not_reported_as_too_little_memory(tiny_settings, monkeypatch):
    def broken(*_):
        raise RuntimeError("shape mismatch")

    run = prepare_run(plan_start(None, tiny_settings))
    monkeypatch.setattr(Trainer, "update", broken)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        dry_run(run)


def test_only_a_teacher_can_be_compiled(tiny_settings, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "models.i3d_teacher.I3DTeacher.compile_front", lambda model: asked.append(model)
    )
    tiny_settings["training"]["compile"] = True
    run = prepare_run(plan_start(None, tiny_settings))
    assert asked == [run.trainer.model]
    tiny_settings["model"] = {"widths": [8, 8, 8], "conformer_width": 16}
    message = r"training\.compile \(--compile of train_teacher\.py\): .* not that of a student"
    with pytest.raises(UsageError, match=message):
        prepare_run(plan_start(None, tiny_settings, StudentConfig()))


@pytest.mark.parametrize("act", [dry_run, execute])
def test_a_machine_without_a_compiler_is_one_line(act, tiny_settings, monkeypatch):
    def without_compiler(graph, inputs):
        raise RuntimeError("No working C++ compiler found\nand more of it")

    compile_front = I3DTeacher.compile_front
    monkeypatch.setattr(
        I3DTeacher, "compile_front", lambda model: compile_front(model, backend=without_compiler)
    )
    tiny_settings["training"]["compile"] = True
    run = prepare_run(plan_start(None, tiny_settings))
    with pytest.raises(UsageError, match=r"--compile: .*No working C.. compiler found") as caught:
        act(run)
    assert "\n" not in str(caught.value) and "more of it" not in str(caught.value)


@pytest.mark.parametrize("rule", ["signer", "sentence"])
def test_the_rule_of_the_leading_hand_is_that_of_the_model(tiny_settings, rule):
    tiny_settings["model"]["leading_hand"] = rule
    assert prepare_run(plan_start(None, tiny_settings)).trainer.pipeline.leading_hand == rule


def test_a_corpus_that_was_moved_is_told_with_the_way_to_give_its_place(run_copy, tmp_path):
    """Only where the checkpoint names it: a path that the user gave needs no advice."""
    checkpoint = load_checkpoint(run_copy / "last.pth")
    checkpoint["config"]["training"]["data_dir"] = str(tmp_path / "gone")
    save_checkpoint(run_copy / "last.pth", checkpoint)
    resume = str(run_copy / "last.pth")
    with pytest.raises(
        DataError, match=r"gone .*last\.pth was trained on it: .* new place with --data_dir"
    ):
        prepare_run(plan_start(resume, {}))
    given = {"training": {"data_dir": str(tmp_path / "typo")}}
    with pytest.raises(DataError, match="typo") as caught:
        prepare_run(plan_start(resume, given))
    assert "new place" not in str(caught.value)
