"""Exported soft targets have the right values, and an interrupted export can continue."""

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import distillation.export
from data.augmentation.config import AugmentationConfig
from data.augmentation.draws import draw_augmentation
from data.corpus import Corpus
from data.handedness.leading_hand_rules import BY_SENTENCE
from data.output_place import BeingWrittenError, WritingLock
from distillation.config import DistillationConfig, SoftTargetExportRequest
from distillation.soft_targets import SoftTargets
from errors import DataError, UsageError
from inference.model_on_corpus import open_model_on_corpus
from models.checkpoint import load_checkpoint, save_checkpoint

# ---------------------------------------------------------------- values


def test_they_are_the_teachers_log_posteriors_at_the_temperature(exported, finished_run):
    targets = SoftTargets(exported)
    teacher = open_model_on_corpus(finished_run / "best_model.pth", None, "cpu")
    for split in ("train", "dev"):
        sentences = teacher.corpus.split(split).sentences
        for index, expected in teacher.posteriors(split):
            stored = targets.read(split, sentences[index].id, 0)
            assert torch.allclose(stored, (expected / 3).log_softmax(-1), atol=0.01)
            assert torch.allclose(stored.exp().sum(-1), torch.ones(len(expected)), atol=0.01)
    assert targets.description.corpus["fingerprint"] == teacher.corpus.fingerprint


def test_a_view_has_the_augmentation_of_its_epoch(export, tmp_path, tiny_corpus, capsys):
    facts = export(tmp_path / "views", views=2, temperature=1.0)
    rows = [facts["splits"][name]["rows"] for name in ("train", "dev")]
    assert f": train {rows[0]:,}, dev {rows[1]:,} steps, 6 classes" in capsys.readouterr().out
    targets = SoftTargets(tmp_path / "views")
    sentences = Corpus(tiny_corpus).split("train").sentences
    for sentence in sentences:
        for view in (1, 2):
            times = draw_augmentation(
                AugmentationConfig(), 5, view, sentence.id, sentence.frames, 1
            ).times
            steps = len(targets.read("train", sentence.id, view))
            assert abs(steps - math.ceil(len(times) / 4)) <= 1
    assert facts["splits"]["train"]["sentences"] == 2 * len(sentences)
    assert targets.read("dev", "dev-00", 0).shape[1] == 6, "dev is never augmented"
    with pytest.raises(DataError, match="no view 0 of train sentence train-00"):
        targets.read("train", "train-00", 0)


def assert_equal_to_the_posteriors(folder: Path, checkpoint: Path) -> None:
    """The stored dev sentences, at temperature 1, are what an evaluation of the model predicts."""
    targets, model = SoftTargets(folder), open_model_on_corpus(checkpoint, None, "cpu")
    sentences = model.corpus.split("dev").sentences
    for index, sentence in enumerate(sentences):
        expected = model.posteriors_of("dev", index).log_softmax(-1)
        stored = targets.read("dev", sentence.id, 0)
        assert torch.allclose(stored, expected, rtol=0.001), "float16 has 11 bits"


def test_a_causal_model_gets_causal_features(export, settings, prepare, tmp_path):
    trainer = prepare(settings(model={"causal": True})).trainer
    trainer.model.feature_std.fill_(0.001)  # so that small differences of features matter
    save_checkpoint(tmp_path / "causal.pth", trainer.state())
    folder = tmp_path / "soft"
    export(folder, checkpoint=tmp_path / "causal.pth", splits=("dev",), temperature=1.0)
    assert_equal_to_the_posteriors(folder, tmp_path / "causal.pth")


def test_a_model_with_the_earlier_rule_for_the_leading_hand_keeps_it(
    export, run_copy, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        "data.features.left_hand_higher_and_moving",
        lambda body, inside, selection: torch.ones(len(body), dtype=torch.bool),
    )
    checkpoint = load_checkpoint(run_copy / "best_model.pth")
    del checkpoint["format_version"]
    checkpoint["config"]["model"]["leading_hand"] = BY_SENTENCE
    save_checkpoint(tmp_path / "earlier.pth", checkpoint)
    folder = tmp_path / "soft"
    export(folder, checkpoint=tmp_path / "earlier.pth", splits=("dev",), temperature=1.0)
    assert_equal_to_the_posteriors(folder, tmp_path / "earlier.pth")


def test_the_size_is_printed(export, tmp_path, capsys):
    facts = export(tmp_path / "dev", splits=("dev",))
    printed = capsys.readouterr().out
    rows = facts["splits"]["dev"]["rows"]
    assert f"dev {rows:,} steps, 6 classes: {rows * 6 * 2 / 2**10:,.1f} KiB" in printed
    assert (tmp_path / "dev" / "dev.log_probs.npy").stat().st_size - 128 == rows * 6 * 2


def test_soft_targets_tell_of_which_corpus_they_are(export, make_corpus, tmp_path):
    corpus = make_corpus(tmp_path / "made", {"dev": ["SUN RAIN"]}, simulated=True)
    facts = export(tmp_path / "soft", data_dir=str(corpus), splits=("dev",))
    fingerprint = Corpus(corpus).fingerprint
    assert facts["corpus"] == {
        "name": "made",
        "path": str(corpus),
        "fingerprint": fingerprint,
        "simulated": True,
        "composed": False,
    }


# ---------------------------------------------------------------- interrupted exports


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def stop_after_five(export, path: Path, monkeypatch) -> None:
    """Export, and stop after five sentences."""
    predict = distillation.export._predict

    def interrupted(*args):
        for number, values in enumerate(predict(*args)):
            if number == 5:
                raise KeyboardInterrupt
            yield values

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(distillation.export, "_predict", interrupted)
        export(path)


@pytest.mark.parametrize("damage", ["none", "incomplete line", "incomplete rows", "more rows"])
def test_an_interrupted_export_continues_and_gives_the_same_files(
    export, tmp_path, monkeypatch, exported, damage, capsys
):
    path = tmp_path / "killed"
    partial = tmp_path / "killed.partial"
    stop_after_five(export, path, monkeypatch)
    index, rows = partial / "train.index.csv", partial / "train.log_probs.npy"
    if damage == "incomplete line":
        index.write_bytes(index.read_bytes()[:-3])
    elif damage == "incomplete rows":
        rows.write_bytes(rows.read_bytes()[:-7])
    elif damage == "more rows":
        rows.write_bytes(rows.read_bytes() + b"\1" * 30)
    assert not path.exists()
    capsys.readouterr()
    lock = WritingLock(partial, path)
    with pytest.raises(BeingWrittenError, match=r"killed .*: wait for it"):
        export(path)
    lock.release()
    capsys.readouterr()
    export(path)
    complete = 4 if damage.startswith("incomplete") else 5
    assert f"continuing {partial}: {complete} sentences" in capsys.readouterr().out
    assert content(path) == content(exported)
    assert not partial.exists()


def test_an_interrupted_export_of_views_continues_in_the_view(
    export, stored, tmp_path, monkeypatch
):
    predict, calls = distillation.export._predict, []

    def interrupted(*args):
        calls.append(args)
        for number, values in enumerate(predict(*args)):
            if len(calls) == 2 and number == 3:
                raise KeyboardInterrupt
            yield values

    options = {"splits": ("train",), "temperature": 2.0, "views": 2, "seed": 7}
    monkeypatch.setattr(distillation.export, "_predict", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export(tmp_path / "killed", **options)
    monkeypatch.setattr(distillation.export, "_predict", predict)
    export(tmp_path / "killed", **options)
    assert content(tmp_path / "killed") == content(stored(2))


def test_an_export_with_other_options_does_not_replace_an_interrupted_one(export, tmp_path):
    partial = tmp_path / "other.partial"
    partial.mkdir()
    (partial / "request.json").write_text("{}")
    (partial / "dev.index.csv").write_text("id|view|steps\ndev-00|0|9\n")
    with pytest.raises(UsageError, match=r"other\.partial was started with other options"):
        export(tmp_path / "other", splits=("dev",))
    assert (partial / "dev.index.csv").read_text() == "id|view|steps\ndev-00|0|9\n"


def test_a_folder_with_other_files_is_not_removed(export, tmp_path):
    partial = tmp_path / "other.partial"
    partial.mkdir()
    (partial / "thesis.txt").write_text("x")
    with pytest.raises(UsageError, match=r"other\.partial already exists and is not from an"):
        export(tmp_path / "other", splits=("dev",))
    assert (partial / "thesis.txt").exists()


# ---------------------------------------------------------------- refused options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "--temperature 0.0: expected a number above 0"),
        ({"views": -1}, "--views -1: expected 0 to 10000"),
    ],
)
def test_impossible_options_are_refused(export, tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        export(tmp_path / "x", **options)


def test_without_the_option_the_temperature_is_that_of_a_student():
    request = SoftTargetExportRequest(checkpoint=Path("t.pth"), output_dir=Path("soft"))
    assert request.temperature == DistillationConfig().temperature


def test_nothing_is_overwritten(export, exported):
    with pytest.raises(UsageError, match="already exists"):
        export(exported)


def test_a_disk_that_is_too_small_is_found_before_the_export(export, tmp_path, monkeypatch):
    usage = SimpleNamespace(free=100)
    monkeypatch.setattr(distillation.export.shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(distillation.export, "_predict", None)
    with pytest.raises(DataError, match=r"soft needs 0\.3 KiB, but only 0\.1 KiB are free "):
        export(tmp_path / "soft", splits=("dev",))


def test_an_export_that_continues_needs_only_the_rest_of_its_size(
    export, exported, tmp_path, monkeypatch, capsys
):
    stop_after_five(export, tmp_path / "soft", monkeypatch)
    whole = sum(2 * np.load(file).size for file in exported.glob("*.npy"))
    written = sum(file.stat().st_size - 128 for file in tmp_path.glob("soft.partial/*.npy"))
    usage = SimpleNamespace(free=whole - written - 1)
    monkeypatch.setattr(distillation.export.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DataError, match="are free there"):
        export(tmp_path / "soft")
    usage.free += 1
    export(tmp_path / "soft")
    assert 0 < written < whole and content(tmp_path / "soft") == content(exported)


def test_predictions_that_are_not_finite_are_not_stored(export, tmp_path, monkeypatch):
    broken = torch.zeros(5, 6)
    broken[3, 2] = torch.nan
    monkeypatch.setattr(distillation.export, "_predict", lambda *_: iter([(1, broken)]))
    with pytest.raises(DataError, match="dev sentence dev-01: the log-probabilities are not fin"):
        export(tmp_path / "soft", splits=("dev",))


def test_glosses_that_the_teacher_does_not_know_are_found_before_the_export(
    export, make_corpus, tmp_path
):
    """distill_student.py refuses such soft targets. Other splits may have such glosses."""
    splits = {"train": ["HOUSE RAIN", "SUN SNOW"], "dev": ["SUN RAIN SNOW"]}
    corpus = str(make_corpus(tmp_path / "other", splits))
    message = r"1 gloss that the teacher .*best_model\.pth does not know \(SNOW\): fine-tune the"
    with pytest.raises(DataError, match=message):
        export(tmp_path / "soft", data_dir=corpus)
    assert [path.name for path in tmp_path.iterdir()] == ["other"]
    export(tmp_path / "soft", data_dir=corpus, splits=("dev",))


def test_another_corpus_in_the_folder_of_the_training_is_refused(export, other_in_place, tmp_path):
    checkpoint, corpus = other_in_place
    message = r"same is not the corpus that .*best_model\.pth was trained on: .* with --data_dir"
    with pytest.raises(DataError, match=message):
        export(tmp_path / "soft", checkpoint=checkpoint)
    assert not (tmp_path / "soft.partial").exists()
    export(tmp_path / "soft", checkpoint=checkpoint, data_dir=str(corpus))
