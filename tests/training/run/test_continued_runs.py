"""Runs that are continued: complete ones, damaged checkpoints, other folders."""

import errno
import json
import shutil
from pathlib import Path

import pytest
import torch

import train_teacher
from decoding.greedy import greedy_decode
from decoding.scoring import score
from errors import DataError
from inference.model_on_corpus import open_model_on_corpus
from models.checkpoint import load_checkpoint, save_checkpoint
from models.prediction import JoinedHeads
from training.config import Config
from training.run_files.run_log import RunLog, write_config


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


@pytest.mark.parametrize("best_epoch", [1, 2])
def test_a_lone_checkpoint_without_its_best_model_is_refused_before_training(
    run_copy, execute_run, tmp_path, best_epoch
):
    """The checkpoint is of an update in epoch 3: it is not the model of epoch 2 either."""
    checkpoint = load_checkpoint(run_copy / "last.pth")
    checkpoint["training"]["progress"] |= {"finished": False, "epoch": 3, "group": 1}
    checkpoint["training"]["progress"]["history"] = checkpoint["training"]["progress"]["history"][
        :2
    ]
    # A WER of 0 stays the best
    checkpoint["training"]["stopping"] |= {"best_epoch": best_epoch, "best_wer": 0.0}
    (tmp_path / "alone").mkdir()
    save_checkpoint(tmp_path / "alone" / "teacher.pth", checkpoint)
    with pytest.raises(DataError, match=rf"best model so far \(epoch {best_epoch}\) is not beside"):
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


def test_a_decoder_that_is_not_tuned_keeps_the_joined_heads_of_the_best_model(
    run_copy, execute_run
):
    """evaluate.py reads them from the checkpoint, so result.json must not be of other heads."""
    best = run_copy / "best_model.pth"
    content = load_checkpoint(best)
    log_prior = torch.linspace(0, 9, len(content["vocabulary"]) + 1)
    heads = {"conv_share": 1.0, "prior_scale": 1.0, "log_prior": log_prior}
    save_checkpoint(best, content | {"heads": heads})
    changes = {"training": {"decoder": "greedy", "output_dir": str(run_copy)}}
    _, result = execute_run(changes, run_copy / "last.pth")
    opened = open_model_on_corpus(best, None, "cpu")
    found = {
        index: greedy_decode(one[None], torch.tensor([len(one)]))[0]
        for index, one in opened.posteriors("dev")
    }
    hypotheses = [opened.vocabulary.decode(found[index]) for index in sorted(found)]
    assert result["heads"] == str(JoinedHeads(1.0, 1.0))
    assert result["best_dev_wer"] == score(opened.prepared("dev").references, hypotheses).wer
    assert result["best_dev_wer"] != result["greedy_dev_wer"], "the heads make a difference"


def test_a_file_in_place_of_the_folder_of_tensorboard_is_refused_at_the_start(
    make_settings, execute_run, tmp_path
):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "tensorboard").write_text("my notes")
    with pytest.raises(DataError, match=r"tensorboard is a file: expected a folder"):
        execute_run(make_settings(tmp_path / "run", epochs=1))
    assert (tmp_path / "run" / "tensorboard").read_text() == "my notes"


def test_a_full_disk_cuts_neither_settings_nor_metrics_of_a_run(run_copy, monkeypatch):
    log = {name: (run_copy / name).read_bytes() for name in ("config.yaml", "metrics.jsonl")}

    def cut(path, text, **_):
        path.write_bytes(text.encode()[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", cut)
    with pytest.raises(OSError, match="No space"):
        write_config(run_copy, Config().to_dict())
    with pytest.raises(DataError, match="No space"):
        RunLog(run_copy, [{"epoch": 1}])
    assert {name: (run_copy / name).read_bytes() for name in log} == log
