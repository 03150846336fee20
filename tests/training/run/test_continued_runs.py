"""Runs that are continued: complete ones, damaged checkpoints, other folders."""

import json
import shutil

import pytest
import torch

import train_teacher
from errors import DataError
from models.checkpoint import load_checkpoint, save_checkpoint


def test_a_complete_run_that_is_continued_reports_it_and_changes_nothing(
    execute_run, run_copy, capsys
):
    before = {path.name: path.read_bytes() for path in run_copy.glob("*.pth*")}
    earlier = json.loads((run_copy / "result.json").read_text())
    run, result = execute_run({"training": {"output_dir": str(run_copy)}}, "auto")
    assert run.start.kind == "continue"
    assert "this run is complete (3 epochs): nothing left to train" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in run_copy.glob("*.pth*")} == before
    assert result == earlier == json.loads((run_copy / "result.json").read_text())


def test_a_complete_run_continued_in_another_folder_is_complete_there(
    execute_run, run_copy, tmp_path
):
    execute_run({"training": {"output_dir": str(tmp_path / "other")}}, run_copy / "last.pth")
    names = {path.name for path in run_copy.iterdir() if not path.name.startswith("previous.pth")}
    names.remove("tensorboard")  # no epoch was trained here that it could show
    assert {path.name for path in (tmp_path / "other").iterdir()} == names
    assert (tmp_path / "other" / "metrics.jsonl").read_text() == (
        run_copy / "metrics.jsonl"
    ).read_text()


def test_auto_continues_from_the_newest_good_checkpoint_when_the_last_is_damaged(
    execute_run, run_copy, capsys
):
    good = [run_copy / name for name in ("previous.pth", "best_model.pth")]
    epochs = {path: len(load_checkpoint(path)["training"]["progress"]["history"]) for path in good}
    data = bytearray((run_copy / "last.pth").read_bytes())
    data[-200] ^= 255
    (run_copy / "last.pth").write_bytes(data)
    run, result = execute_run({"training": {"output_dir": str(run_copy)}}, "auto")
    output = capsys.readouterr().out
    assert "last.pth is damaged" in output
    assert run.start.kind == "continue" and epochs[run.start.path] == max(epochs.values()) > 0
    assert result["epochs_run"] == 3


def test_auto_without_a_checkpoint_trains_from_the_start(tiny_settings, execute_run):
    tiny_settings["training"]["epochs"] = 1
    run, result = execute_run(tiny_settings, "auto")
    assert run.start.kind == "fresh" and result["epochs_run"] == 1


def test_the_same_corpus_in_another_place_continues_the_run(
    tiny_corpus, execute_run, run_copy, tmp_path
):
    moved = tmp_path / "moved"
    moved.symlink_to(tiny_corpus)
    run, _ = execute_run({"training": {"data_dir": str(moved)}}, run_copy / "last.pth")
    assert run.start.kind == "continue"


def test_a_lone_checkpoint_without_its_best_model_is_refused_before_training(
    run_copy, execute_run, tmp_path
):
    checkpoint = load_checkpoint(run_copy / "last.pth")
    checkpoint["training"]["progress"] |= {"finished": False, "epoch": 3, "group": 1}
    checkpoint["training"]["progress"]["history"] = checkpoint["training"]["progress"]["history"][
        :2
    ]
    # A WER of 0 stays the best
    checkpoint["training"]["stopping"] |= {"best_epoch": 1, "best_wer": 0.0}
    (tmp_path / "alone").mkdir()
    save_checkpoint(tmp_path / "alone" / "teacher.pth", checkpoint)
    with pytest.raises(DataError, match=r"its best model so far \(epoch 1\) is not beside it"):
        execute_run({}, tmp_path / "alone" / "teacher.pth")


def test_a_lone_checkpoint_that_is_the_best_model_can_be_continued(run_copy, execute_run, tmp_path):
    best = load_checkpoint(run_copy / "best_model.pth")["training"]
    (tmp_path / "alone").mkdir()
    shutil.copy(run_copy / "best_model.pth", tmp_path / "alone" / "teacher_v1.pth")
    assert best["stopping"]["best_epoch"] == len(best["progress"]["history"])
    _, result = execute_run({}, tmp_path / "alone" / "teacher_v1.pth")
    assert result["epochs_run"] == 3


def test_a_best_model_of_the_last_epoch_keeps_its_tuned_decoder(run_copy, execute_run):
    last = load_checkpoint(run_copy / "last.pth")
    last["training"]["stopping"]["best_epoch"] = len(last["training"]["progress"]["history"])
    save_checkpoint(run_copy / "last.pth", last)
    tuned = {**last["decoder"], "tuned_on": "dev of another corpus"}
    save_checkpoint(run_copy / "best_model.pth", {**last, "decoder": tuned})
    execute_run({"training": {"decoder": "greedy"}}, run_copy / "last.pth")
    best = load_checkpoint(run_copy / "best_model.pth")
    assert best["decoder"]["tuned_on"] == "dev of another corpus"


def test_a_best_model_that_a_kill_did_not_copy_is_copied(run_copy, execute_run):
    """last.pth names its own epoch as the best. best_model.pth is still from the epoch before."""
    last = load_checkpoint(run_copy / "last.pth")
    progress = last["training"]["progress"]
    before = {**progress, "history": progress["history"][:-1]}
    earlier = {**last, "training": {**last["training"], "progress": before}}
    save_checkpoint(run_copy / "best_model.pth", earlier)
    last["training"]["stopping"]["best_epoch"] = 3
    last["model"]["head.weight"] = last["model"]["head.weight"] + 1
    save_checkpoint(run_copy / "last.pth", last)
    execute_run({}, run_copy / "last.pth")
    assert torch.equal(
        load_checkpoint(run_copy / "best_model.pth")["model"]["head.weight"],
        last["model"]["head.weight"],
    )


def test_a_training_state_of_another_version_cannot_be_continued(run_copy, capsys):
    checkpoint = load_checkpoint(run_copy / "last.pth")
    checkpoint.pop("format_version")
    known = checkpoint["training"]["progress"]
    for progress in (
        {**known, "laps": 3},
        {name: value for name, value in known.items() if name != "skipped_updates"},
    ):
        changed = {**checkpoint, "training": {**checkpoint["training"], "progress": progress}}
        save_checkpoint(run_copy / "last.pth", changed)
        with pytest.raises(DataError, match=r"can fine-tune from it.*but not continue it"):
            train_teacher.main(["--resume", str(run_copy / "last.pth")])


def test_a_run_of_an_earlier_version_without_peak_memory_can_be_finished(run_copy, execute_run):
    checkpoint = load_checkpoint(run_copy / "last.pth")
    for row in checkpoint["training"]["progress"]["history"][:2]:
        del row["peak_memory_gb"]
    save_checkpoint(run_copy / "last.pth", checkpoint)
    _, result = execute_run({"training": {"output_dir": str(run_copy)}}, resume="auto")
    assert (
        result["peak_memory_gb"]
        == checkpoint["training"]["progress"]["history"][2]["peak_memory_gb"]
    )
