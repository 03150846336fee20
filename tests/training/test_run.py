"""Starts of a run: fresh, continued, fine-tuned; what each does to the folder and to the weights."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import training.trainer
from data.vocabulary import Vocabulary
from decoding.scoring import Score
from errors import DataError, UsageError
from models.build import load_model
from models.checkpoint import load_checkpoint, save_checkpoint
from models.i3d_teacher import I3DTeacher
from training.config import Config
from training.dry_run import dry_run
from training.resume import plan_start
from training.run import execute
from training.setup import prepare_run
from training.trainer import Trainer

MORE = {"train": ["SUN RAIN", "MOON RAIN", "ICE", "RAIN MOON"], "dev": ["RAIN SUN", "MOON"]}


def test_a_fresh_run_in_a_used_folder_moves_it_aside(make_settings, execute_run, run_copy, capsys):
    before = {path.name: path.read_bytes() for path in run_copy.iterdir() if path.is_file()}
    for number in (1, 2):
        execute_run(make_settings(run_copy, epochs=1))
        kept = run_copy.with_name(f"{run_copy.name}.earlier-{number}")
        assert f"held an earlier run: moved to {kept}" in capsys.readouterr().out
        assert kept.is_dir()
    first = run_copy.with_name(f"{run_copy.name}.earlier-1")
    assert {path.name: path.read_bytes() for path in first.iterdir() if path.is_file()} == before
    assert len((run_copy / "metrics.jsonl").read_text().splitlines()) == 1


def test_a_folder_with_other_things_in_it_stays_where_it_is(tiny_settings, execute_run, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    execute_run(tiny_settings)
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["run"]


@pytest.mark.parametrize("output", ["a file", "inside a file"])
def test_an_output_folder_that_cannot_be_made(tiny_settings, execute_run, tmp_path, output):
    (tmp_path / "file").write_text("in the way")
    path = tmp_path / "file" if output == "a file" else tmp_path / "file" / "run"
    tiny_settings["training"]["output_dir"] = str(path)
    with pytest.raises(DataError, match=r"file"):
        execute_run(tiny_settings)
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_complete_run_continued_says_so_and_changes_nothing(execute_run, run_copy, capsys):
    before = {path.name: path.read_bytes() for path in run_copy.glob("*.pth*")}
    earlier = json.loads((run_copy / "result.json").read_text())
    run, result = execute_run({"training": {"output_dir": str(run_copy)}}, "auto")
    assert run.start.kind == "continue"
    assert "this run is complete (3 epochs): nothing left to train" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in run_copy.glob("*.pth*")} == before
    assert result == earlier == json.loads((run_copy / "result.json").read_text())


def test_auto_goes_on_from_the_newest_that_is_whole_when_the_last_is_damaged(
    execute_run, run_copy, capsys
):
    whole = [run_copy / name for name in ("previous.pth", "best_model.pth")]
    epochs = {path: len(load_checkpoint(path)["training"]["progress"]["history"]) for path in whole}
    data = bytearray((run_copy / "last.pth").read_bytes())
    data[-200] ^= 255
    (run_copy / "last.pth").write_bytes(data)
    run, result = execute_run({"training": {"output_dir": str(run_copy)}}, "auto")
    output = capsys.readouterr().out
    assert "last.pth is damaged" in output
    assert run.start.kind == "continue" and epochs[run.start.path] == max(epochs.values()) > 0
    assert result["epochs_run"] == 3


def test_auto_with_nothing_there_trains_anew(tiny_settings, execute_run):
    tiny_settings["training"]["epochs"] = 1
    run, result = execute_run(tiny_settings, "auto")
    assert run.start.kind == "fresh" and result["epochs_run"] == 1


def test_a_fine_tune_starts_over_with_the_weights(execute_run, run_copy, capsys):
    best = load_checkpoint(run_copy / "best_model.pth")
    before = {path.name: path.read_bytes() for path in run_copy.glob("*.pth")}
    overrides = {"training": {"learning_rate": 0.001, "epochs": 2}}
    start = plan_start(str(run_copy / "best_model.pth"), overrides)
    prepared = prepare_run(start)
    trainer = prepared.trainer
    for name, tensor in trainer.model.state_dict().items():  # statistics, too
        assert torch.equal(tensor, best["model"][name]), name
    assert trainer.optimizer.state_dict()["state"] == {}, "a fresh optimiser"
    assert (trainer.progress.epoch, trainer.progress.group, trainer.progress.history) == (1, 0, [])
    assert trainer.vocabulary.glosses == tuple(best["vocabulary"])

    capsys.readouterr()
    run, result = execute_run(overrides, run_copy / "best_model.pth")
    output = capsys.readouterr().out
    target = run_copy.with_name("copy_finetune")
    assert run.folder == target and result["epochs_run"] == 2
    loaded = min(
        json.loads(line)["dev_wer"]
        for line in (run_copy / "metrics.jsonl").read_text().splitlines()
    )
    assert result["loaded_dev_wer"] == pytest.approx(loaded)
    first = output.index(f"loaded model on dev (greedy): WER {loaded:.2f} %")
    assert first < output.index("epoch  train loss"), "the loaded model's WER comes first"
    assert f"the loaded model ({loaded:.2f} %)" in output
    rows = [json.loads(line) for line in (target / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2] and rows[0]["learning_rate"] == pytest.approx(
        0.001
    )
    assert torch.equal(
        load_checkpoint(target / "last.pth")["model"]["feature_mean"], best["model"]["feature_mean"]
    )
    assert {path.name: path.read_bytes() for path in run_copy.glob("*.pth")} == before, (
        "the source stays"
    )


def test_a_fine_tune_that_beats_nothing_keeps_the_loaded_model(
    execute_run, run_copy, monkeypatch, capsys
):
    evaluate = training.trainer.evaluate
    worse = Score(99, 0, 0, 100, 4)
    monkeypatch.setattr(
        training.trainer,
        "evaluate",
        lambda *inputs, **options: replace(evaluate(*inputs, **options), score=worse),
    )
    _, result = execute_run(
        {"training": {"learning_rate": 0.001, "epochs": 1}}, run_copy / "best_model.pth"
    )
    source, kept = (
        load_checkpoint(folder / "best_model.pth")["model"]
        for folder in (run_copy, run_copy.with_name("copy_finetune"))
    )
    assert all(torch.equal(kept[name], tensor) for name, tensor in source.items())
    assert result["best_epoch"] == 0 and result["best_dev_wer"] == pytest.approx(
        result["loaded_dev_wer"]
    )
    assert "fine-tuning is no better than the loaded model" in capsys.readouterr().out


def test_a_fine_tune_that_was_interrupted_can_be_continued(execute_run, run_copy, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "update", stop)
        execute_run(
            {"training": {"learning_rate": 0.001, "epochs": 2}}, run_copy / "best_model.pth"
        )
    target = run_copy.with_name("copy_finetune")
    run, result = execute_run({"training": {"output_dir": str(target)}}, "auto")
    assert run.start.kind == "continue" and result["epochs_run"] == 2


def test_another_corpus_is_a_fine_tune_in_a_folder_of_its_own(
    make_corpus, execute_run, run_copy, tmp_path
):
    known = {"train": ["SUN RAIN", "RAIN"], "dev": ["RAIN SUN"]}
    corpus = make_corpus(tmp_path / "other", known, seed=5)
    overrides = {"training": {"data_dir": str(corpus)}}
    run, result = execute_run(overrides, run_copy / "last.pth")
    assert run.start.kind == "fine-tune" and "corpus is not the one" in run.start.reason
    assert run.folder == run_copy.with_name("copy_finetune") and result["epochs_run"] == 3
    assert len(run.trainer.vocabulary.glosses) == 5, "the checkpoint's vocabulary"
    assert len((run_copy / "metrics.jsonl").read_text().splitlines()) == 3


def test_the_same_corpus_elsewhere_is_no_other_corpus(tiny_corpus, execute_run, run_copy, tmp_path):
    moved = tmp_path / "moved"
    moved.symlink_to(tiny_corpus)
    run, _ = execute_run({"training": {"data_dir": str(moved)}}, run_copy / "last.pth")
    assert run.start.kind == "continue"


def test_new_glosses_are_refused_unless_asked_for(make_corpus, execute_run, run_copy, tmp_path):
    corpus = make_corpus(tmp_path / "more", MORE)
    overrides = {"training": {"data_dir": str(corpus), "epochs": 1}}
    with pytest.raises(
        UsageError, match=r"more has 2 glosses .* \(ICE, MOON\): add --extend_vocabulary"
    ):
        execute_run(overrides, run_copy / "last.pth")
    assert not run_copy.with_name("copy_finetune").exists()
    run, _ = execute_run(overrides, run_copy / "last.pth", extend=True)
    known = load_checkpoint(run_copy / "last.pth")["vocabulary"]
    assert load_checkpoint(run.folder / "last.pth")["vocabulary"] == [*known, "ICE", "MOON"]


def test_an_extended_head_keeps_the_known_rows(run_copy):
    checkpoint = load_checkpoint(run_copy / "last.pth")
    vocabulary = Vocabulary([*checkpoint["vocabulary"], "ICE", "MOON"])
    config = Config().updated(checkpoint["config"])
    model = load_model(checkpoint, run_copy / "last.pth", config.model, vocabulary, seed=3)
    for name, tensor in model.state_dict().items():
        known = checkpoint["model"][name]
        if name in ("head.weight", "conv_head.weight"):
            assert tensor.shape == (8, known.shape[1])
            assert tensor[6:].abs().sum() > 0 and torch.isfinite(tensor).all()
            tensor = tensor[:6]
        assert torch.equal(tensor, known), name
    again = load_model(checkpoint, run_copy / "last.pth", config.model, vocabulary, seed=3)
    assert torch.equal(again.head.weight, model.head.weight)


@pytest.mark.parametrize(
    "weight", [None, 5, torch.zeros(3, 99)], ids=["none", "a number", "of another shape"]
)
def test_weights_that_do_not_fit_are_refused(weight, run_copy):
    checkpoint = load_checkpoint(run_copy / "last.pth")
    checkpoint["model"].pop("head.weight")
    if weight is not None:
        checkpoint["model"]["head.weight"] = weight
    with pytest.raises(
        DataError, match=r"last\.pth does not fit its own configuration: .*head\.weight"
    ):
        load_model(
            checkpoint,
            run_copy / "last.pth",
            Config().updated(checkpoint["config"]).model,
            Vocabulary(checkpoint["vocabulary"]),
            0,
        )


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train": ["SUN RAIN"]}, "has no split 'dev'"),
        ({"dev": ["SUN RAIN"]}, "has no split 'train'"),
        ({"train": ["SUN"], "dev": []}, "split 'dev' is empty"),
        ({"train": [], "dev": ["SUN"]}, "split 'train' is empty"),
        (
            {"train": [("SUN SUN", 4)], "dev": ["SUN"]},
            "train sentence train-00: cannot be aligned: 4 frames give 1 steps, its 2 glosses need 3; repair it",
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
    assert not (tmp_path / "run").exists(), (
        "nothing is written before the corpus is known to be good"
    )


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


@pytest.mark.parametrize(
    ("name", "value"),
    [("conformer_width", 10**9), ("conformer_blocks", 10**6), ("inception_widths", [10**9, 8])],
)
def test_a_small_checkpoint_that_describes_a_huge_model_takes_no_memory(name, value, run_copy):
    checkpoint = load_checkpoint(run_copy / "last.pth")
    config = Config().updated(checkpoint["config"]).updated({"model": {name: value}})
    with pytest.raises(DataError, match=r"last\.pth does not fit its own configuration"):
        load_model(
            checkpoint, run_copy / "last.pth", config.model, Vocabulary(checkpoint["vocabulary"]), 0
        )


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
    # More than any machine maps
    monkeypatch.setattr("training.setup.build_model", lambda *_: torch.empty(2**60))
    with pytest.raises(
        UsageError, match=r"memory is too small.*or lower the model's sizes: .*allocate"
    ):
        prepare_run(plan_start(None, tiny_settings))


def test_another_fault_is_not_taken_for_a_full_memory(tiny_settings, monkeypatch):
    def broken(*_):
        raise RuntimeError("shape mismatch")

    run = prepare_run(plan_start(None, tiny_settings))
    monkeypatch.setattr(Trainer, "update", broken)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        dry_run(run)


def test_the_compiled_front_is_asked_for_by_name_and_only_of_a_teacher(tiny_settings, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "models.i3d_teacher.I3DTeacher.compile_front", lambda model: asked.append(model)
    )
    tiny_settings["training"]["compile"] = True
    run = prepare_run(plan_start(None, tiny_settings))
    assert asked == [run.trainer.model]
    monkeypatch.delattr("models.i3d_teacher.I3DTeacher.compile_front")
    with pytest.raises(UsageError, match="only the teacher's front can be compiled"):
        prepare_run(plan_start(None, tiny_settings))


@pytest.mark.parametrize("act", [dry_run, execute])
def test_a_machine_that_cannot_compile_is_one_line(act, tiny_settings, monkeypatch):
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


def test_a_run_of_an_earlier_version_without_peak_memory_is_finished(run_copy, execute_run):
    checkpoint = load_checkpoint(run_copy / "last.pth")
    for row in checkpoint["training"]["progress"]["history"][:2]:
        del row["peak_memory_gb"]
    save_checkpoint(run_copy / "last.pth", checkpoint)
    _, result = execute_run({"training": {"output_dir": str(run_copy)}}, resume="auto")
    assert (
        result["peak_memory_gb"]
        == checkpoint["training"]["progress"]["history"][2]["peak_memory_gb"]
    )
