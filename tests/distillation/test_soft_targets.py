"""The reader of soft targets refuses damaged folders and folders of other inputs."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from data.checks.file_hash import sha256_of
from data.corpus import Corpus
from distillation.soft_targets import SoftTargets
from errors import DataError
from models.checkpoint import load_checkpoint, save_checkpoint


def damaged(exported: Path, tmp_path: Path, name: str, change) -> Path:
    """A copy of the folder with one file changed, or removed where `change` is None."""
    folder = Path(shutil.copytree(exported, tmp_path / "damaged"))
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
        ("train.index.csv", lambda b: b + b.splitlines()[1] + b"\n", "occurs twice"),
        ("train.index.csv", lambda b: b + b"new|0|3\n", "rows"),
        ("train.index.csv", lambda b: b.replace(b"train-00", b"train-99"), "damaged: its SHA-256"),
        ("train.index.csv", lambda b: b[: b.rindex(b"\n", 0, -1) + 1], "rows, but"),
        ("train.index.csv", lambda b: b.replace(b"view|steps", b"steps|view"), "line 1: expected"),
        ("soft_targets.json", None, "has no soft_targets.json"),
        ("soft_targets.json", lambda b: b[:-9], "not a readable description"),
        ("soft_targets.json", edited(format_version=9), "format 9"),
        ("soft_targets.json", edited(format_version=0), "format 0"),
        ("soft_targets.json", edited(views="all"), "'views' has the wrong type"),
        ("soft_targets.json", edited(temperature=0), "temperature .* is out of range"),
        ("soft_targets.json", edited(temperature=np.inf), "temperature .* is out of range"),
        ("soft_targets.json", edited(views=-1), "number of views is out of range"),
        ("soft_targets.json", edited(vocabulary=[1]), "'vocabulary' has the wrong type"),
        ("soft_targets.json", edited(splits={"../x": {}}), "the split '../x' is not valid"),
        ("soft_targets.json", edited(splits={"train": []}), "the split 'train' is not valid"),
        ("soft_targets.json", edited(splits={"train": {}}), "damaged: its SHA-256"),
        ("soft_targets.json", edited(corpus={}), "'corpus' lacks path"),
        ("soft_targets.json", edited(checkpoint={"path": "x"}), "'checkpoint' lacks path or sha"),
    ],
)
def test_the_error_names_the_damaged_file(exported, tmp_path, name, change, message):
    with pytest.raises(DataError, match=message) as error:
        SoftTargets(damaged(exported, tmp_path, name, change))
    assert "damaged" in str(error.value) and "\n" not in str(error.value)


def test_values_that_are_not_finite_are_refused(exported):
    targets = SoftTargets(exported)
    values, places = targets._splits["train"]
    (id, view), rows = next(iter(places.items()))
    broken = np.array(values)
    broken[rows.start, 2] = np.nan
    targets._splits["train"] = broken, places
    with pytest.raises(DataError, match=f"train sentence {id} has values that are not finite"):
        targets.read("train", id, view)


def test_every_view_of_every_sentence_is_required(stored):
    targets = SoftTargets(stored(2))
    ids = list(dict.fromkeys(id for id, _ in targets._splits["train"][1]))
    targets.require("train", ids, (1, 2))
    del targets._splits["train"][1][ids[-1], 2]
    with pytest.raises(DataError, match=f"has no view 2 of train sentence {ids[-1]}: export it"):
        targets.require("train", ids, (1, 2))


def of_format_1(exported: Path, folder: Path, top_k: int | None) -> Path:
    """The folder as format 1 stored it: with `top_k` and a fourth column in the index."""
    shutil.copytree(exported, folder)
    facts = json.loads((folder / "soft_targets.json").read_bytes())
    facts |= {"format_version": 1, "top_k": top_k}
    for split, entry in facts["splits"].items():
        index = folder / f"{split}.index.csv"
        _, *lines = index.read_text(encoding="utf-8").splitlines()
        lines = ["id|view|steps|lost", *(f"{line}|1.2e-05" for line in lines), ""]
        index.write_text("\n".join(lines), encoding="utf-8")
        entry["sha256"][index.name] = sha256_of(index)
        entry["lost_nats_per_step"] = 1.2e-05
    (folder / "soft_targets.json").write_text(json.dumps(facts), encoding="utf-8")
    return folder


def test_a_folder_of_format_1_is_still_readable(exported, tmp_path):
    new, old = SoftTargets(exported), SoftTargets(of_format_1(exported, tmp_path / "old", None))
    assert old.description == new.description
    assert (old.read("dev", "dev-01", 0) == new.read("dev", "dev-01", 0)).all()


@pytest.mark.parametrize("version", [1, 2])
def test_augmented_views_of_an_earlier_version_are_refused(exported, tmp_path, version):
    """The student would see other sentences than the targets describe."""
    change = edited(format_version=version, views=2)
    message = r"augmented views of an earlier version.*: export .* again"
    (tmp_path / "views").mkdir()
    with pytest.raises(DataError, match=message):
        SoftTargets(damaged(exported, tmp_path / "views", "soft_targets.json", change))
    plain = damaged(exported, tmp_path, "soft_targets.json", edited(format_version=2, views=0))
    assert SoftTargets(plain).description.views == 0


def test_a_folder_exported_with_top_k_is_refused(exported, tmp_path):
    with pytest.raises(DataError, match=r"exported with --top_k.*: export the soft targets again"):
        SoftTargets(of_format_1(exported, tmp_path / "old", 2))


def test_another_corpus_vocabulary_or_checkpoint_is_refused(exported, tiny_corpus, run_copy):
    targets = SoftTargets(exported)
    corpus = Corpus(tiny_corpus)
    glosses = targets.description.vocabulary
    targets.check(corpus.path, corpus.fingerprint, glosses)
    with pytest.raises(DataError, match=r"from an earlier state of .*tiny: export .* again"):
        targets.check(corpus.path, "0" * 64, glosses)
    with pytest.raises(DataError, match=r"tiny, not from other: leave out --data_dir, or export"):
        targets.check(Path("other"), "0" * 64, glosses)
    with pytest.raises(DataError, match="other glosses"):
        targets.check(corpus.path, corpus.fingerprint, glosses[::-1])
    best = run_copy / "best_model.pth"
    changed = load_checkpoint(best)
    changed["decoder"]["steps_per_gloss"] += 1
    save_checkpoint(best, changed)
    targets.description.checkpoint["path"] = str(best)
    targets.check(corpus.path, corpus.fingerprint, glosses)  # it predicts as it did
    del targets.description.checkpoint["model_sha256"]  # a folder of an earlier version
    with pytest.raises(DataError, match=r"best_model\.pth has changed since"):
        targets.check(corpus.path, corpus.fingerprint, glosses)
    targets = SoftTargets(exported)
    targets.description.checkpoint["path"] = str(best)
    changed["model"]["head.weight"] += 1
    save_checkpoint(best, changed)
    with pytest.raises(DataError, match=r"best_model\.pth has changed since"):
        targets.check(corpus.path, corpus.fingerprint, glosses)
    targets.description.checkpoint["path"] = "/gone/best_model.pth"
    targets.check(corpus.path, corpus.fingerprint, glosses)


def test_files_that_have_not_changed_are_hashed_once(exported, tmp_path, monkeypatch):
    folder = tmp_path / "copy"
    shutil.copytree(exported, folder)
    monkeypatch.setattr("data.folder_memory._SETTLED_NS", -1)
    hashed = []
    monkeypatch.setattr(
        "data.corpus.sha256_of", lambda path: (hashed.append(path.name), sha256_of(path))[1]
    )
    SoftTargets(folder)
    assert sorted(hashed) == sorted(
        f"{split}.{kind}" for split in ("dev", "train") for kind in ("index.csv", "log_probs.npy")
    )
    hashed.clear()
    assert SoftTargets(folder).read("dev", "dev-01", 0).shape[1] > 1
    assert not hashed
    values = folder / "dev.log_probs.npy"
    content = bytearray(values.read_bytes())
    content[-1] ^= 1
    values.write_bytes(content)
    with pytest.raises(DataError, match=r"dev\.log_probs\.npy is damaged"):
        SoftTargets(folder)
