"""Checks of a corpus before a run: bad sentences and changed files."""

import math
import shutil
from pathlib import Path

import numpy as np
import pytest

import train_teacher
from data.batching import load_batch
from data.corpus import Corpus, Split
from data.landmarks import PART_SLICES, PARTS
from data.pipeline import FeaturePipeline, feature_statistics
from data.sentences import Sentence
from errors import DataError
from inference.evaluation import evaluate_checkpoint
from inference.requests import EvaluationRequest
from models.checkpoint import load_checkpoint
from tests.data.small_corpus import in_format_1
from training.corpus_checks import find_bad_sentences


@pytest.fixture
def corpus(tiny_corpus, tmp_path) -> Path:
    """A copy of the tiny corpus."""
    return Path(shutil.copytree(tiny_corpus, tmp_path / "corpus"))


def overwrite(corpus: Path, split: str, index: int, frame: int, value: float) -> None:
    """Change a value. The corpus gets format 1, which can hold NaN."""
    if Corpus(corpus).facts["format_version"] != 1:
        in_format_1(corpus)
    landmarks = np.load(corpus / f"{split}.landmarks.npy")
    landmarks[int(Corpus(corpus).split(split).offsets[index]) + frame, 501, 1] = value
    np.save(corpus / f"{split}.landmarks.npy", landmarks)


def edit_row(corpus: Path, split: str, index: int, edit) -> None:
    path = corpus / f"{split}.csv"
    lines = path.read_text().splitlines()
    lines[index + 1] = edit(lines[index + 1])
    path.write_text("\n".join([*lines, ""]))


@pytest.fixture
def bad_corpus(corpus) -> Path:
    """Train sentences 1 and 3 have NaN and infinity, 5 has no glosses, 7 cannot be aligned."""
    overwrite(corpus, "train", 1, 4, np.nan)
    overwrite(corpus, "train", 3, 0, -np.inf)
    edit_row(corpus, "train", 5, lambda row: row.rsplit("|", 1)[0] + "|")
    edit_row(corpus, "train", 7, lambda row: row + " RAIN" * 40)
    return corpus


def test_each_kind_of_bad_sentence_by_hand():
    rows = [(5, "A B"), (0, "A"), (8, ""), (4, "A A"), (4, "A"), (3, "A"), (3, "A")]
    sentences = [
        Sentence(f"s{i}", "anna", frames, tuple(text.split()))
        for i, (frames, text) in enumerate(rows)
    ]
    landmarks = np.zeros((sum(frames for frames, _ in rows), 543, 3), np.float16)
    # 65504 is the largest float16
    landmarks[21 + 2, 0, 0], landmarks[24, 542, 2], landmarks[:5] = np.nan, np.inf, 65504
    found = find_bad_sentences(
        Split("train", sentences, landmarks, np.ones((len(landmarks), 4), bool))
    )
    assert [(one.index, one.reason, one.unreadable) for one in found] == [
        (1, "has no frames", True),
        (2, "has no glosses", False),
        (3, "CTC cannot align it: it has 1 step (4 frames), its 2 glosses need 3", False),
        (5, "landmarks have NaN or infinite values (first in frame 2)", True),
        (6, "landmarks have NaN or infinite values (first in frame 0)", True),
    ]


@pytest.mark.parametrize("split", ["train", "dev"])
def test_nan_in_the_landmarks_is_refused_and_its_sentence_is_named(
    split, tiny_corpus, tiny_yaml, tmp_path
):
    corpus = Path(shutil.copytree(tiny_corpus, tmp_path / "corpus"))
    overwrite(corpus, split, 1, 0, np.nan)
    with pytest.raises(
        DataError, match=f"{split} sentence {split}-01: landmarks have NaN or infinite values"
    ):
        train_teacher.main(["--config", str(tiny_yaml), "--data_dir", str(corpus)])
    opened = Corpus(corpus).split(split)
    load_batch(opened, np.array([0, 2, 3]))


def test_bad_train_sentences_are_listed_once_and_refused(bad_corpus, tiny_yaml, tmp_path, capsys):
    with pytest.raises(
        DataError,
        match=r"train sentence train-01: landmarks have .*\(and 3 more of train.*--skip_bad",
    ):
        train_teacher.main(["--config", str(tiny_yaml), "--data_dir", str(bad_corpus)])
    listed = [
        line for line in capsys.readouterr().out.splitlines() if line.startswith("bad sentence: ")
    ]
    assert [line.split(": ")[1] for line in listed] == [
        f"train sentence train-{n:02d}" for n in (1, 3, 5, 7)
    ]
    for line, reason in zip(
        listed, ("frame 4", "frame 0", "has no glosses", "CTC cannot align it"), strict=True
    ):
        assert reason in line
    assert not (tmp_path / "run").exists()


def test_with_skip_bad_the_good_sentences_are_trained_on(
    bad_corpus, tiny_settings, execute_run, tmp_path
):
    tiny_settings["training"] |= {"data_dir": str(bad_corpus), "skip_bad": True, "epochs": 2}
    run, result = execute_run(tiny_settings)
    assert run.trainer.plan.trainable.tolist() == [0, 2, 4, 6, 8, 9, 10, 11]
    assert result["train_sentences_left_out"] == 4
    model = load_checkpoint(tmp_path / "run" / "last.pth")["model"]
    assert all(tensor.isfinite().all() for tensor in model.values()), (
        "also in the feature statistics"
    )
    train, pipeline = (
        Corpus(bad_corpus).split("train"),
        FeaturePipeline(0.8, run.trainer.device, selection=run.trainer.pipeline.selection),
    )
    mean, _ = feature_statistics(pipeline, train.subset([0, 2, 4, 6, 8, 9, 10, 11]))
    assert model["feature_mean"].allclose(mean, atol=1e-6)
    run, _ = execute_run({"training": {"output_dir": str(tmp_path / "run")}}, "auto")
    assert run.start.kind == "continue", "continuing needs no second --skip_bad"


def test_with_skip_bad_a_train_sentence_that_cannot_be_aligned_is_named_and_left_out(
    make_corpus, tiny_settings, execute_run, tmp_path, capsys
):
    train = ["SUN RAIN", ("RAIN RAIN SUN", 9), "RAIN SUN", "SUN"]
    splits = {"train": train, "dev": ["RAIN SUN", "RAIN RAIN SUN"]}
    corpus = make_corpus(tmp_path / "corpus", splits)
    tiny_settings["training"] |= {"data_dir": str(corpus), "epochs": 2, "skip_bad": True}
    run, result = execute_run(tiny_settings)
    output = capsys.readouterr().out
    assert (
        "train sentence train-01: CTC cannot align it: it has 3 steps (9 frames), "
        "its 3 glosses need 4" in output
    )
    assert "1 of 4 train sentences are left out" in output
    assert result["train_sentences_left_out"] == 1
    assert run.trainer.plan.trainable.tolist() == [0, 2, 3]
    assert all(math.isfinite(row["train_loss"]) for row in run.trainer.progress.history)
    # The sentence that is left out is new to the model
    evaluated = evaluate_checkpoint(
        EvaluationRequest(checkpoint=run.folder / "last.pth", decoder="greedy", device="cpu")
    )
    for found in (result["novelty"], evaluated["novelty"]):
        assert found["sentences"]["known"]["sentences"] == 1


def test_a_corpus_without_a_good_train_sentence_is_refused_with_advice(
    corpus, tiny_settings, execute_run
):
    for number in range(len(Corpus(corpus).split("train"))):
        edit_row(corpus, "train", number, lambda row: row + " RAIN" * 40)
    tiny_settings["training"] |= {"data_dir": str(corpus), "skip_bad": True, "epochs": 1}
    with pytest.raises(DataError, match=r"none of the \d+ train .* listed above: repair or"):
        execute_run(tiny_settings)


@pytest.mark.parametrize("skip", [False, True])
def test_every_dev_sentence_counts(skip, corpus, tiny_settings, execute_run, capsys):
    edit_row(corpus, "dev", 0, lambda row: row.rsplit("|", 1)[0] + "|")
    edit_row(corpus, "dev", 2, lambda row: row + " RAIN" * 40)
    tiny_settings["training"] |= {"data_dir": str(corpus), "skip_bad": skip, "epochs": 1}
    _, result = execute_run(tiny_settings)
    assert result["reference_glosses"] == sum(
        len(one.glosses) for one in Corpus(corpus).split("dev").sentences
    )
    output = capsys.readouterr().out
    assert "dev sentence dev-00: has no glosses; it is still scored" in output
    assert "dev sentence dev-02: CTC cannot align it" in output
    overwrite(corpus, "dev", 1, 0, np.nan)
    with pytest.raises(
        DataError, match=r"dev sentence dev-01: landmarks have NaN .*; every dev sentence counts"
    ):
        execute_run(tiny_settings)


def test_a_dev_gloss_that_is_not_in_train_counts_as_an_error(
    make_corpus, tiny_settings, execute_run, tmp_path, capsys
):
    corpus = make_corpus(
        tmp_path / "corpus", {"train": ["SUN RAIN", "RAIN"], "dev": ["RAIN MOON", "SUN"]}
    )
    tiny_settings["training"] |= {"data_dir": str(corpus), "epochs": 1}
    run, result = execute_run(tiny_settings)
    assert (
        "dev: 1 occurrence of 1 gloss outside the vocabulary, scored as errors: MOON"
        in capsys.readouterr().out
    )
    assert result["reference_glosses"] == 3 and result["best_dev_wer"] >= 100 / 3
    assert "MOON" not in run.trainer.vocabulary


def test_sentences_without_pose_or_hands_are_warned_about_and_trained_on(
    corpus, tiny_settings, execute_run, capsys
):
    for split, index, parts in (("train", 1, [0, 1]), ("train", 2, [2, 3]), ("dev", 0, [])):
        opened = Corpus(corpus).split(split)
        rows = slice(*opened.offsets[index : index + 2])
        detected, landmarks = np.array(opened.detected), np.array(opened.landmarks)
        unseen = [column for column in range(4) if column not in parts]
        detected[rows, unseen] = False
        for column in unseen:
            landmarks[rows, PART_SLICES[PARTS[column]]] = 0
        np.save(corpus / f"{split}.detected.npy", detected)
        np.save(corpus / f"{split}.landmarks.npy", landmarks)
    tiny_settings["training"] |= {"data_dir": str(corpus), "epochs": 1}
    run, _ = execute_run(tiny_settings)
    output = capsys.readouterr().out
    assert "warning: train: no hand was detected in any frame of 1 of 12 sentences (train-01);" in (
        output
    )
    assert (
        "warning: train: hands or face were detected, but no pose in any frame of 1 of 12 "
        "sentences (train-02); features are measured from the pose" in output
    )
    assert "warning: dev: nothing was detected in any frame of 1 of" in output
    assert len(run.trainer.plan.trainable) == 12


def test_a_sentence_without_frames(corpus, tiny_settings, execute_run):
    """Its row has 0 frames. The next row has the frames of both."""
    lengths = Corpus(corpus).split("train").lengths
    edit_row(corpus, "train", 2, lambda row: row.replace(f"|{lengths[2]}|", "|0|"))
    edit_row(
        corpus,
        "train",
        3,
        lambda row: row.replace(f"|{lengths[3]}|", f"|{lengths[2] + lengths[3]}|"),
    )
    tiny_settings["training"] |= {"data_dir": str(corpus), "epochs": 1}
    with pytest.raises(
        DataError, match=r"train sentence train-02: has no frames; repair it, or give --skip_bad"
    ):
        execute_run(tiny_settings)
    tiny_settings["training"]["skip_bad"] = True
    run, _ = execute_run(tiny_settings)
    assert 2 not in run.trainer.plan.trainable


def test_a_corpus_that_changed_since_the_checkpoint_is_reported(
    corpus, tiny_settings, execute_run, capsys, tmp_path
):
    """corpus.json stays the same. One changed coordinate of one frame is enough."""
    tiny_settings["training"] |= {"data_dir": str(corpus), "epochs": 1}
    in_format_1(corpus)
    execute_run(tiny_settings)
    assert "was changed" not in capsys.readouterr().out
    overrides = {"training": {"output_dir": str(tmp_path / "run")}}
    overwrite(corpus, "train", 1, 0, 0.25)
    with pytest.raises(DataError, match=r"has changed since .*json: train\.landmarks\.npy\): rest"):
        execute_run(overrides, "auto")
    capsys.readouterr()
    run, _ = execute_run(overrides, tmp_path / "run" / "last.pth")
    assert (
        "train.landmarks.npy was changed: its SHA-256 differs from the one"
        in capsys.readouterr().out
    )
    assert run.start.kind == "fine-tune" and "has changed since the checkpoint" in run.start.reason
    again, _ = execute_run({"training": {"output_dir": str(run.folder)}}, "auto")
    assert again.start.kind == "continue", "the changed corpus is the one of the second run"
