"""The folds over people, and a complete table of a corpus that trains in seconds."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from benchmarks import strangers
from benchmarks.ablation import read_variants
from benchmarks.unseen import trained_runs
from data.corpus import Corpus
from data.sources.composer import IsolatedRecording
from errors import DataError
from settings import read_overrides
from tests.data.signers import mp_data_vectors, standing_signer
from training.config import Config

ROOT = Path(__file__).resolve().parents[2]


def recordings_of(known: dict[str, str], each: int = 2) -> list[IsolatedRecording]:
    """`each` recordings of every gloss that a person knows; known: {"p1": "A B"}."""
    rows = [(p, gloss) for p, glosses in known.items() for gloss in glosses.split()] * each
    return [IsolatedRecording(n, gloss, n, person, 0) for n, (person, gloss) in enumerate(rows)]


def vectors_in(order: tuple[str, ...], landmarks: np.ndarray) -> np.ndarray:
    """The mp_data vectors of a signer with the parts in another order."""
    usual = mp_data_vectors(landmarks, face=True)
    ends = np.cumsum(list(strangers.WIDTHS.values()))
    parts = dict(zip(strangers.WIDTHS, np.split(usual, ends[:-1], axis=1), strict=True))
    return np.concatenate([parts[part] for part in order], axis=1)


@pytest.mark.parametrize("order", itertools.permutations(strangers.WIDTHS))
def test_every_order_of_the_parts_is_found(order):
    landmarks = standing_signer(6)
    vectors = vectors_in(order, landmarks)
    assert strangers.part_order(vectors) == order
    np.testing.assert_allclose(strangers.in_order(vectors, order), landmarks)


def test_a_person_without_a_face_or_hands_keeps_the_usual_order():
    vectors = mp_data_vectors(standing_signer(6), face=True)
    face = slice(33 * 4, 33 * 4 + 468 * 3)
    vectors[:, face] = 0
    assert strangers.part_order(vectors) == tuple(strangers.WIDTHS)
    vectors[:, face.stop :] = 0
    assert strangers.part_order(vectors) == tuple(strangers.WIDTHS)


def test_people_who_share_a_rare_gloss_are_in_different_folds():
    known = {"p1": "A RARE", "p2": "A RARE", "p3": "A B", "p4": "A B", "p5": "A", "p6": "A"}
    folds = strangers.assign_folds(recordings_of(known), folds=2)
    assert folds["p1"] != folds["p2"] and folds["p3"] != folds["p4"]
    assert sorted(folds.values()) == [0, 0, 0, 1, 1, 1]
    assert strangers.assign_folds(recordings_of(known)[::-1], folds=2) == folds


def test_each_person_signs_equally_many_sentences_of_the_glosses_they_know():
    known = {"p1": "A B C", "p2": "A B", "p3": "C", "p4": "A B"}
    plans = strangers.sentence_plans(recordings_of(known, each=9), {"p2", "p3"})
    people = {
        split: [{recording.signer for recording in sentence} for sentence in sentences]
        for split, sentences in plans.items()
    }
    # p3 has one gloss, so each sentence is one of its recordings
    assert people["train"] == [{"p1"}] * 14 + [{"p4"}] * 14
    assert people["dev"] == [{"p2"}] * 8 + [{"p3"}] * 8
    assert all(len(sentence) == 1 for sentence in plans["dev"][8:])
    assert all(2 <= len(sentence) <= 7 for sentence in plans["train"])
    for sentence in plans["train"] + plans["dev"]:
        assert {r.gloss for r in sentence} <= set(known[sentence[0].signer].split())


def run_of(name: str, fold: int, hypotheses: list[list[str]]) -> dict:
    return {
        "variant": name,
        "fold": fold,
        "seed": 0,
        "splits": {
            "dev": {
                "references": [["A", "B"], ["A", "A"]],
                "hypotheses": hypotheses,
                "signers": ["p1", "p2"],
            }
        },
        "train_wer": 5.0,
        "seconds": 60.0,
    }


def test_the_table_by_hand():
    right, half = [["A", "B"], ["A", "A"]], [["A"], ["A"]]
    rows = {
        "today": [run_of("today", 0, half), run_of("today", 3, half)],
        "new": [run_of("new", 0, right), run_of("new", 3, half)],
    }
    lines = strangers.table(rows).splitlines()
    assert lines[0].startswith("| variant | fold 0 | fold 3 | mean ± deviation | all sentences |")
    assert lines[2] == "| today | 50.0 | 50.0 | 50.0 ± 0.0 | 50.0 | 5.0 | 60 | - |"
    # fold 0 has no error, fold 3 two of four: mean 25, sqrt(25^2 + 25^2) = 35.4
    assert lines[3].startswith("| new | 0.0 | 50.0 | 25.0 ± 35.4 | 25.0 | 5.0 | 60 | 0.")
    assert strangers.people_line([run_of("new", 0, [["A"], ["A", "A"]])]) == "p1 50 p2 0"


def test_a_file_of_another_kind_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", landmarks=np.zeros((3, 1662)))
    with pytest.raises(DataError, match=r"a\.npz cannot be read: .*frames"):
        strangers.read_people(tmp_path / "a.npz")


def test_from_the_npz_to_the_table(tmp_path, read_figures, capsys, monkeypatch):
    """Four people, two folds, an epoch: dev has people whom train lacks; a second call trains
    nothing."""
    monkeypatch.setattr(strangers, "FOLDS", 2)
    monkeypatch.setattr(strangers, "SENTENCES", {"train": 3, "dev": 2})
    monkeypatch.setattr(strangers.assign_folds, "__defaults__", (2,))
    orders = {"p1": ("face", "pose", "left_hand", "right_hand")}
    people = [(person, gloss) for person in ("p1", "p2", "p3", "p4") for gloss in ("no", "yes")] * 2
    vectors = [
        vectors_in(orders.get(person, tuple(strangers.WIDTHS)), standing_signer(8, seed))
        for seed, (person, _) in enumerate(people)
    ]
    arrays = {"landmarks": np.concatenate(vectors), "frames": np.full(len(people), 8)}
    arrays |= {"person": [person for person, _ in people], "gloss": [gloss for _, gloss in people]}
    np.savez(tmp_path / "people.npz", **arrays)
    sizes = {"pose_width": 8, "face_width": 8, "hand_width": 8, "fusion_width": 8}
    sizes |= {"inception_widths": [8, 8], "conformer_width": 8, "conformer_blocks": 1}
    variants = {"base": {"training": {"epochs": 1}, "model": sizes}, "rows": {"today": None}}
    (tmp_path / "variants.yaml").write_text(yaml.safe_dump(variants), encoding="utf-8")
    words = ["--input", tmp_path / "people.npz", "--output", tmp_path / "out", "--json"]
    words += [tmp_path / "figures.json", "--variants", tmp_path / "variants.yaml", "--folds", 0, 1]
    assert strangers.main([str(word) for word in words]) == 0
    assert "p1: the file has face, pose, left_hand, right_hand" in capsys.readouterr().out
    for fold in (0, 1):
        corpus = Corpus(tmp_path / "out" / f"fold{fold}")
        signers = {
            name: {sentence.signer for sentence in corpus.split(name).sentences}
            for name in ("train", "dev")
        }
        assert len(signers["train"]) == len(signers["dev"]) == 2
        assert not signers["train"] & signers["dev"]
    table = (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
    assert len(table.splitlines()) == 3 and table.splitlines()[2].startswith("| today | ")
    figures = read_figures(tmp_path / "figures.json", "strangers")
    assert 0 <= figures["wer_today"] <= 200
    runs = (tmp_path / "out" / "runs.jsonl").read_text(encoding="utf-8")
    assert len([json.loads(line) for line in runs.splitlines()]) == 2
    words[5] = tmp_path / "again.json"
    monkeypatch.setattr(trained_runs, "train_and_decode", None)
    assert strangers.main([str(word) for word in words]) == 0
    assert (tmp_path / "out" / "table.md").read_text(encoding="utf-8") == table


def test_the_shipped_variants_begin_with_the_demo_recipe():
    demo = Config().updated(read_overrides(ROOT / "configs" / "demo.yaml", Config)).to_dict()
    rows = {
        name: Config().updated(o).to_dict()
        for name, (o, _) in read_variants(strangers.VARIANTS).items()
    }
    demo["training"]["output_dir"] = rows["today"]["training"]["output_dir"]
    assert rows["today"] == demo
