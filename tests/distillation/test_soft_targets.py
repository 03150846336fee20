"""Soft targets on disk: what comes back, what it costs, what is refused, and that a killed export
goes on."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import distillation.export
from data.augmentation import draw_augmentation
from data.augmentation_config import AugmentationConfig
from data.corpus import Corpus
from distillation.export import SoftTargetExportRequest, export_soft_targets
from distillation.soft_targets import SoftTargets, lost_information, pack, unpack
from errors import DataError, UsageError
from inference.model_on_corpus import open_model_on_corpus


@pytest.fixture(scope="module")
def export(finished_run):
    """export(output_dir, **options) -> soft_targets.json's content."""

    def run(output: Path, **options) -> dict:
        given = {
            "checkpoint": finished_run / "best_model.pth",
            "data_dir": None,
            "splits": ("train", "dev"),
            "temperature": 3.0,
            "top_k": None,
            "views": 0,
            "seed": 5,
            "output_dir": output,
            "device": "cpu",
        }
        return export_soft_targets(SoftTargetExportRequest(**{**given, **options}))

    return run


@pytest.fixture(scope="module")
def dense(export, tmp_path_factory) -> Path:
    """Read it only."""
    path = tmp_path_factory.mktemp("soft") / "dense"
    export(path)
    return path


# ---------------------------------------------------------------- values


def test_top_k_and_what_is_left_by_hand():
    probabilities = torch.tensor([[0.5, 0.02, 0.3, 0.1, 0.08]])
    rows = pack(probabilities.log(), 2)
    assert rows["classes"].tolist() == [[0, 2]]
    assert np.exp(rows["top"]).tolist() == [pytest.approx([0.5, 0.3], rel=1e-3)]
    assert math.exp(rows["rest"][0, 0]) == pytest.approx(0.2, rel=1e-3)
    stored = unpack(rows, 5)
    assert stored.exp().tolist() == [pytest.approx([0.5, 0.2 / 3, 0.3, 0.2 / 3, 0.2 / 3], rel=1e-3)]
    by_hand = sum(p * math.log(p / (0.2 / 3)) for p in (0.02, 0.1, 0.08))
    assert lost_information(probabilities.log(), stored) == pytest.approx(by_hand, rel=0.02)


def test_dense_is_exact_to_float16_and_certain_teachers_are_finite():
    log_probs = torch.tensor([[0.0, -torch.inf, -5.0]]).log_softmax(-1)
    for top_k in (None, 1, 2):
        stored = unpack(pack(log_probs, top_k), 3)
        assert stored.isfinite().all()
    torch.manual_seed(0)
    log_probs = (3 * torch.randn(50, 20)).log_softmax(-1)
    stored = unpack(pack(log_probs, None), 20)
    assert (
        torch.allclose(stored, log_probs, rtol=1e-3)
        and 0 <= lost_information(log_probs, stored) < 1e-4
    )
    losses = [lost_information(log_probs, unpack(pack(log_probs, k), 20)) for k in (2, 5, 10, 19)]
    assert losses == sorted(losses, reverse=True) and losses[-1] < 1e-4


def test_they_are_the_teachers_log_posteriors_at_the_temperature(dense, finished_run):
    targets = SoftTargets(dense)
    judged = open_model_on_corpus(finished_run / "best_model.pth", None, "cpu")
    for split in ("train", "dev"):
        posteriors = judged.posteriors(split)
        for sentence, own in zip(judged.corpus.split(split).sentences, posteriors, strict=True):
            stored = targets.read(split, sentence.id, 0)
            assert torch.allclose(stored, (own / 3).log_softmax(-1), atol=0.01)
            assert torch.allclose(stored.exp().sum(-1), torch.ones(len(own)), atol=0.01)
    assert targets.request.corpus["fingerprint"] == judged.corpus.fingerprint


def test_views_are_the_augmentation_of_their_epoch(export, tmp_path, tiny_corpus):
    facts = export(tmp_path / "views", views=2, temperature=1.0)
    targets = SoftTargets(tmp_path / "views")
    sentences = Corpus(tiny_corpus).split("train").sentences
    for sentence in sentences:
        for view in (1, 2):
            times = draw_augmentation(
                AugmentationConfig(), 5, view, sentence.id, sentence.frames, 1
            ).times
            assert (
                abs(len(targets.read("train", sentence.id, view)) - math.ceil(len(times) / 4)) <= 1
            )
    assert facts["splits"]["train"]["sentences"] == 2 * len(sentences)
    assert targets.read("dev", "dev-00", 0).shape[1] == 6, "dev is never augmented"
    with pytest.raises(DataError, match="no view 0 of train sentence train-00"):
        targets.read("train", "train-00", 0)


def test_size_and_loss_are_printed(export, tmp_path, capsys):
    facts = export(tmp_path / "top", top_k=2, splits=("dev",))
    said = capsys.readouterr().out
    rows = facts["splits"]["dev"]["rows"]
    assert (
        f"dev {rows:,} steps, 2 of 6 classes: {rows * (2 * 2 + 2 * 2 + 2) / 2**20:,.1f} MiB" in said
    )
    assert f"storing lost {facts['splits']['dev']['lost_nats_per_step']:.2g} nats" in said
    sizes = [path.stat().st_size - 128 for path in (tmp_path / "top").glob("*.npy")]
    assert sum(sizes) == rows * 10


# ---------------------------------------------------------------- killed


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("damage", ["none", "torn line", "torn rows", "rows ahead"])
def test_a_killed_export_goes_on_and_ends_the_same(
    export, tmp_path, monkeypatch, dense, damage, capsys
):
    path = tmp_path / "killed"
    read, partial = distillation.export._log_probs, tmp_path / "killed.partial"

    def killed(*args):
        for number, values in enumerate(read(*args)):
            if number == 5:
                raise KeyboardInterrupt
            yield values

    monkeypatch.setattr(distillation.export, "_log_probs", killed)
    with pytest.raises(KeyboardInterrupt):
        export(path)
    monkeypatch.setattr(distillation.export, "_log_probs", read)
    index, rows = partial / "train.index.csv", partial / "train.log_probs.npy"
    if damage == "torn line":
        index.write_bytes(index.read_bytes()[:-3])
    elif damage == "torn rows":
        rows.write_bytes(rows.read_bytes()[:-7])
    elif damage == "rows ahead":
        rows.write_bytes(rows.read_bytes() + b"\1" * 30)
    assert not path.exists()
    capsys.readouterr()
    export(path)
    there = 4 if damage.startswith("torn") else 5
    assert f"going on with {partial}: {there} sentences" in capsys.readouterr().out
    assert content(path) == content(dense)
    assert not partial.exists()


def test_what_another_request_left_is_not_taken_up(export, tmp_path, capsys):
    partial = tmp_path / "other.partial"
    partial.mkdir()
    (partial / "request.json").write_text("{}")
    (partial / "dev.index.csv").write_text("id|view|steps|lost\ndev-00|0|9|0\n")
    export(tmp_path / "other", splits=("dev",))
    said = capsys.readouterr().out
    assert "going on" not in said and "other.partial was begun with other options" in said


def test_a_folder_of_someone_else_is_not_removed(export, tmp_path):
    partial = tmp_path / "other.partial"
    partial.mkdir()
    (partial / "thesis.txt").write_text("x")
    with pytest.raises(DataError, match=r"other\.partial is in the way"):
        export(tmp_path / "other", splits=("dev",))
    assert (partial / "thesis.txt").exists()


# ---------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "--temperature 0.0: expected a number above 0"),
        ({"top_k": 6}, "--top_k 6: expected 1 to 5"),
        ({"views": -1}, "--views -1: expected 0"),
    ],
)
def test_impossible_requests(export, tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        export(tmp_path / "x", **options)


def test_nothing_is_overwritten(export, dense):
    with pytest.raises(UsageError, match="already exists"):
        export(dense)


def damaged(dense: Path, tmp_path: Path, name: str, change) -> Path:
    folder = Path(shutil.copytree(dense, tmp_path / "damaged"))
    if change is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(change((folder / name).read_bytes()))
    return folder


def edited(**values):
    return lambda text: json.dumps({**json.loads(text), **values}).encode()


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("train.log_probs.npy", lambda b: b[:-2], "truncated"),
        ("train.log_probs.npy", lambda b: b[:-2] + b"\0\1", "damaged: its SHA-256"),
        ("train.log_probs.npy", None, "is missing"),
        ("train.index.csv", lambda b: b.replace(b"|0|", b"|x|", 1), "line 2: expected id"),
        ("train.index.csv", lambda b: b + b.splitlines()[1] + b"\n", "stands there twice"),
        ("train.index.csv", lambda b: b + b"new|0|3|0\n", "rows"),
        ("train.index.csv", lambda b: b.replace(b"train-00", b"train-99"), "damaged: its SHA-256"),
        ("soft_targets.json", None, "has no soft_targets.json"),
        ("soft_targets.json", lambda b: b[:-9], "not a readable description"),
        ("soft_targets.json", edited(format_version=9), "format 9"),
        ("soft_targets.json", edited(top_k="all"), "'top_k' is not of its kind"),
        ("soft_targets.json", edited(vocabulary=[1]), "'vocabulary' is not of its kind"),
        ("soft_targets.json", edited(splits={"../x": {}}), "a split's name"),
        ("soft_targets.json", edited(corpus={}), "'corpus' lacks path"),
    ],
)
def test_damaged_files_are_named(dense, tmp_path, name, change, message):
    with pytest.raises(DataError, match=message) as error:
        SoftTargets(damaged(dense, tmp_path, name, change))
    assert "damaged" in str(error.value) and "\n" not in str(error.value)


def test_another_corpus_vocabulary_or_checkpoint_is_refused(dense, tiny_corpus, run_copy):
    targets = SoftTargets(dense)
    corpus = Corpus(tiny_corpus)
    glosses = targets.request.vocabulary
    targets.check(corpus.path, corpus.fingerprint, glosses)
    with pytest.raises(DataError, match="is another: export them again"):
        targets.check(corpus.path, "0" * 64, glosses)
    with pytest.raises(DataError, match="other glosses"):
        targets.check(corpus.path, corpus.fingerprint, glosses[::-1])
    targets.request.checkpoint["path"] = str(run_copy / "result.json")
    with pytest.raises(DataError, match="has changed since"):
        targets.check(corpus.path, corpus.fingerprint, glosses)
    targets.request.checkpoint["path"] = "/gone/best_model.pth"
    targets.check(corpus.path, corpus.fingerprint, glosses)
