"""Runs that are fine-tuned: new settings, another corpus, new glosses."""

import json
from dataclasses import replace

import pytest
import torch

import train_teacher
import training.trainer
from data.sources.corpus_resampling import resample_corpus
from decoding.scoring import Score
from errors import DataError, UsageError
from models.checkpoint import load_checkpoint, save_checkpoint
from training.resume import plan_start
from training.setup import prepare_run
from training.trainer import Trainer

MORE = {"train": ["SUN RAIN", "MOON RAIN", "ICE", "RAIN MOON"], "dev": ["RAIN SUN", "MOON"]}


def best_dev_wer(folder) -> float:
    """The WER of the best epoch of a run (greedy)."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return min(json.loads(line)["dev_wer"] for line in lines)


def test_a_fine_tune_starts_again_with_the_checkpoints_weights(execute_run, run_copy, capsys):
    best = load_checkpoint(run_copy / "best_model.pth")
    before = {path.name: path.read_bytes() for path in run_copy.glob("*.pth")}
    overrides = {"training": {"learning_rate": 0.001, "epochs": 2}}
    start = plan_start(str(run_copy / "best_model.pth"), overrides)
    prepared = prepare_run(start)
    trainer = prepared.trainer
    for name, tensor in trainer.model.state_dict().items():  # feature statistics, too
        assert torch.equal(tensor, best["model"][name]), name
    assert trainer.optimizer.state_dict()["state"] == {}, "a new optimiser"
    assert (trainer.progress.epoch, trainer.progress.group, trainer.progress.history) == (1, 0, [])
    assert trainer.vocabulary.glosses == tuple(best["vocabulary"])

    capsys.readouterr()
    run, result = execute_run(overrides, run_copy / "best_model.pth")
    output = capsys.readouterr().out
    target = run_copy.with_name("copy_finetune")
    assert run.folder == target and result["epochs_run"] == 2
    loaded = best_dev_wer(run_copy)
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
        "the source does not change"
    )


def test_a_fine_tune_without_a_better_wer_keeps_the_loaded_model(
    execute_run, run_copy, monkeypatch, capsys
):
    validate, calls = training.trainer.validate, []

    def worse_after_training(*inputs, **options):  # the first call evaluates the loaded model
        result = validate(*inputs, **options)
        calls.append(1)
        return result if len(calls) == 1 else replace(result, score=Score(99, 0, 0, 100, 4))

    monkeypatch.setattr(training.trainer, "validate", worse_after_training)
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
    assert "fine-tuning is not better than the loaded model" in capsys.readouterr().out
    page = (run_copy.with_name("copy_finetune") / "report.html").read_text(encoding="utf-8")
    assert ", the loaded model, greedy decoder</p>" in page and "model of the best" not in page


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


def test_a_continued_fine_tune_still_has_the_wer_of_the_loaded_model(execute_run, run_copy):
    overrides = {
        "training": {
            "learning_rate": 0.001,
            "epochs": 2,
            "output_dir": str(run_copy.with_name("tuned")),
        }
    }

    def stop(*_):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "update", stop)
        execute_run(overrides, run_copy / "best_model.pth")
    _, result = execute_run({"training": {"output_dir": str(run_copy.with_name("tuned"))}}, "auto")
    assert result["loaded_dev_wer"] == pytest.approx(best_dev_wer(run_copy))


@pytest.mark.parametrize(
    "path", ["best_model.pth", "../copy/best_model.pth", "a/../best_model.pth"]
)
def test_a_checkpoint_in_the_current_folder_can_be_fine_tuned(run_copy, monkeypatch, path):
    (run_copy / "a").mkdir()
    monkeypatch.chdir(run_copy)
    options = ["--learning_rate", "0.001", "--epochs", "1"]
    assert train_teacher.main(["--resume", path, *options]) == 0
    assert not (run_copy / "a_finetune").exists()
    assert (run_copy.with_name("copy_finetune") / "result.json").is_file()


def test_another_corpus_makes_a_fine_tune_in_its_own_folder(
    make_corpus, execute_run, run_copy, tmp_path
):
    known = {"train": ["SUN RAIN", "RAIN"], "dev": ["RAIN SUN"]}
    corpus = make_corpus(tmp_path / "other", known, seed=5)
    overrides = {"training": {"data_dir": str(corpus)}}
    run, result = execute_run(overrides, run_copy / "last.pth")
    assert run.start.kind == "fine-tune" and "corpus is not the one" in run.start.reason
    assert run.folder == run_copy.with_name("copy_finetune") and result["epochs_run"] == 3
    assert len(run.trainer.vocabulary.glosses) == 5, "the vocabulary of the checkpoint"
    assert len((run_copy / "metrics.jsonl").read_text().splitlines()) == 3


def test_new_glosses_are_refused_without_extend_vocabulary(
    make_corpus, execute_run, run_copy, tmp_path
):
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


@pytest.mark.parametrize("older", [False, True])
def test_a_corpus_of_another_frame_rate_is_refused(run_copy, tiny_corpus, tmp_path, older):
    """An older checkpoint does not store its rate: the corpus that it was trained on gives it."""
    resample_corpus(tiny_corpus, tmp_path / "fast", 50)
    if older:
        checkpoint = load_checkpoint(run_copy / "best_model.pth")
        del checkpoint["corpus"]["fps"]
        save_checkpoint(run_copy / "best_model.pth", checkpoint)
    overrides = {"training": {"data_dir": str(tmp_path / "fast"), "epochs": 1}}
    with pytest.raises(DataError, match=r"fast has 50 frames/s, but .*best_model\.pth was trained"):
        prepare_run(plan_start(str(run_copy / "best_model.pth"), overrides))
