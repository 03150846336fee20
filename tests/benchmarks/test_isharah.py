"""The rehearsal of Isharah's tasks on lists of a few sentences, and its table by hand."""

import json
from pathlib import Path

import pytest
import yaml

from benchmarks import strangers
from benchmarks.ablation import read_variants
from benchmarks.unseen import isharah, trained_runs
from data.corpus import Corpus
from data.ctc_lengths import min_frames
from data.sources.annotations.transcripts import TranscribedSentence
from decoding.novelty import TrainText
from errors import UsageError
from settings import read_overrides
from training.config import Config

ROOT = Path(__file__).resolve().parents[2]
SENTENCES = ["سوال هو", "هو معلم لغه", "انا رغبه اكل", "انا هو"]


@pytest.fixture
def lists(tmp_path):
    """Four sentences by three signers; dev of us has a new one, dev of si a new signer."""
    folder = tmp_path / "lists"
    folder.mkdir()
    rows = [
        f"{signer:02d}_{n:04d}|{text}" for signer in range(3) for n, text in enumerate(SENTENCES)
    ]
    dev = {"us": ["01_0900|هو اكل"], "si": ["09_0000|سوال هو", "09_0901|هو اكل"]}
    for task, of_dev in dev.items():
        (folder / f"{task}_train.csv").write_text("\n".join(["id|gloss", *rows, ""]), "utf-8")
        (folder / f"{task}_dev.csv").write_text("\n".join(["id|gloss", *of_dev, ""]), "utf-8")
    phoenix = tmp_path / "phoenix"
    phoenix.mkdir()
    (phoenix / "train.corpus.csv").write_text(
        "id|folder|signer|annotation\np1|p1/1/*.png|Signer01|A B\np2|p2/1/*.png|Signer01|A\n"
    )
    (phoenix / "train.frames.csv").write_text("id|frames\np1|20\np2|14\n")
    return folder, phoenix


def test_the_splits_of_a_task(lists, monkeypatch):
    monkeypatch.setattr(isharah, "SIZES", {"train": 9, "dev": 5, "test": 2})
    for task, dev_signers in (("us", {"01"}), ("si", {"09"})):
        chosen = isharah.choose_sentences(lists[0], task)
        assert [len(chosen[split]) for split in ("train", "test")] == [9, 2]
        assert {s.signer for s in chosen["dev"]} == dev_signers
        ids = [s.id for split in chosen.values() for s in split]
        assert len(set(ids)) == len(ids)
        known = {s.glosses for s in chosen["train"]}
        assert all(s.glosses in known for s in chosen["test"])
    monkeypatch.setattr(isharah, "SIZES", {"train": 5, "dev": 5, "test": 2})
    fewer = {s.id for s in isharah.choose_sentences(lists[0], "si")["train"]}
    assert fewer < {s.id for s in chosen["train"]}, "a smaller share is a part of a larger one"
    monkeypatch.setattr(isharah, "SIZES", {"train": 1, "dev": 5, "test": 9})
    alone = isharah.choose_sentences(lists[0], "us")
    assert {s.glosses for s in alone["test"]} <= {alone["train"][0].glosses}


@pytest.mark.parametrize("script", [isharah, strangers])
def test_a_row_that_does_not_exist_is_refused(script, tmp_path):
    words = ["--output", tmp_path / "out", "--only", "todday"]
    words += ["--lists", tmp_path, "--phoenix", tmp_path] if script is isharah else ["--input", "x"]
    with pytest.raises(UsageError, match=r"--only 'todday': .*\.yaml has the rows today"):
        script.main([str(word) for word in words])


def test_lengths_are_those_of_phoenix(lists):
    assert isharah.frames_per_gloss(lists[1]) == [10, 14]
    sentences = [TranscribedSentence(f"s{n}", "00", ("A",) * 4) for n in range(40)]
    frames = {isharah.with_frames(s, [10.0, 14.0]).frames for s in sentences}
    assert frames == {40, 56}
    (short,) = {isharah.with_frames(s, [1.0]).frames for s in sentences}
    assert short == min_frames(("A",) * 4)  # four equal glosses need blanks between them


def run_of(name: str, dev: list[str], test: list[str], seed: int = 0) -> dict:
    splits = {
        "dev": {"references": [["A", "B"], ["B", "A"]], "hypotheses": dev, "signers": ["1", "1"]},
        "test": {"references": [["A", "B"]], "hypotheses": test, "signers": ["2"]},
    }
    splits = {
        name: {**one, "hypotheses": [text.split() for text in one["hypotheses"]]}
        for name, one in splits.items()
    }
    run = {"variant": name, "task": "si", "seed": seed, "splits": splits}
    return {**run, "train_wer": 5.0, "seconds": 60.0}


def test_the_table_by_hand():
    train = {"si": TrainText.of([("A", "B")], "tiny")}
    rows = {
        ("si", "today"): [
            run_of("today", ["A B", ""], ["A"]),
            run_of("today", ["A", "B A"], ["A B"], 1),
        ],
        ("si", "new"): [run_of("new", ["A B", "B A"], ["A B"])],
    }
    lines = isharah.table(rows, train).splitlines()
    # test: 50 and 0 %; known: 0 and 50 %; new: 100 and 0 %
    assert lines[2] == "| si | today | 25.0 ± 35.4 | 25.0 ± 35.4 | 50.0 ± 70.7 | 5.0 | 60 | - |"
    # one sentence differs, so either sign is as extreme
    assert lines[3] == "| si | new | 0.0 | 0.0 | 0.0 | 5.0 | 60 | 1.0000 |"


def test_from_the_lists_to_the_table(lists, tmp_path, read_figures, monkeypatch):
    """One epoch of a tiny model on both tasks; a second call trains nothing."""
    monkeypatch.setattr(isharah, "SIZES", {"train": 9, "dev": 2, "test": 2})
    sizes = {"pose_width": 8, "face_width": 8, "hand_width": 8, "fusion_width": 8}
    sizes |= {"inception_widths": [8, 8], "conformer_width": 8, "conformer_blocks": 1}
    variants = {"base": {"training": {"epochs": 1}, "model": sizes}, "rows": {"today": None}}
    (tmp_path / "variants.yaml").write_text(yaml.safe_dump(variants), encoding="utf-8")
    output = tmp_path / "out"
    words = ["--lists", lists[0], "--phoenix", lists[1], "--output", output]
    words += ["--variants", tmp_path / "variants.yaml", "--json", tmp_path / "figures.json"]
    assert isharah.main([str(word) for word in words]) == 0
    corpus = Corpus(output / "us")
    assert corpus.simulated and len(corpus.split("test")) == 2
    table = (output / "table.md").read_text(encoding="utf-8")
    assert [line.split(" | ")[0] for line in table.splitlines()[-2:]] == ["| us", "| si"]
    assert 0 <= read_figures(tmp_path / "figures.json", "isharah")["us_today_dev"] <= 300
    runs = [json.loads(line) for line in (output / "runs.jsonl").read_text("utf-8").splitlines()]
    assert [run["task"] for run in runs] == ["us", "si"]
    words[-1] = tmp_path / "again.json"
    monkeypatch.setattr(trained_runs, "train_and_decode", None)
    assert isharah.main([str(word) for word in words]) == 0
    assert (output / "table.md").read_text(encoding="utf-8") == table


def test_the_shipped_variants_begin_with_the_demo_sizes_and_isharahs_inputs():
    rows = read_variants(isharah.VARIANTS)
    today = Config().updated(rows["today"][0]).to_dict()
    expected = Config()
    for name in ("demo", "isharah"):
        given = {"model": read_overrides(ROOT / "configs" / f"{name}.yaml", Config)["model"]}
        expected = expected.updated(given)
    assert today["model"] == expected.to_dict()["model"]
    configurations = [Config().updated(overrides) for overrides, _ in rows.values()]
    assert all(one not in configurations[:place] for place, one in enumerate(configurations))
