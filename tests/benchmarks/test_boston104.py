"""The folds of RWTH-BOSTON-104's train sentences, and a complete table of an epoch."""

from pathlib import Path

import yaml

from benchmarks.ablation import read_variants
from benchmarks.unseen import boston104
from data.corpus import Corpus
from settings import read_overrides
from tests.data.sources.corpora.test_boston104 import write_tables
from training.config import Config

ROOT = Path(__file__).resolve().parents[2]


def test_from_the_tables_to_the_table(tmp_path, read_figures, monkeypatch):
    """Two train sentences, two folds: each is dev once; the test sentence is in no fold."""
    monkeypatch.setattr(boston104, "FOLDS", 2)
    write_tables(tmp_path / "boston104", frames=24)
    sizes = {"pose_width": 8, "face_width": 8, "hand_width": 8, "fusion_width": 8}
    sizes |= {"inception_widths": [8, 8], "conformer_width": 8, "conformer_blocks": 1}
    variants = {"base": {"training": {"epochs": 1}, "model": sizes}, "rows": {"today": None}}
    (tmp_path / "variants.yaml").write_text(yaml.safe_dump(variants), encoding="utf-8")
    words = ["--input", tmp_path / "boston104", "--output", tmp_path / "out", "--folds", 0, 1]
    words += ["--variants", tmp_path / "variants.yaml", "--json", tmp_path / "figures.json"]
    assert boston104.main([str(word) for word in words]) == 0
    whole = Corpus(tmp_path / "out" / "all").split("train")
    for fold, (train, dev) in enumerate([("v010", "v001"), ("v001", "v010")]):
        corpus = Corpus(tmp_path / "out" / f"fold{fold}")
        assert {name: len(split) for name, split in corpus.splits.items()} == {"train": 1, "dev": 1}
        ids = [corpus.split(name).sentences[0].id for name in ("train", "dev")]
        assert ids == [train, dev]
        index = [sentence.id for sentence in whole.sentences].index(dev)
        assert (corpus.split("dev").times_of(0) == whole.times_of(index)).all()
    table = (tmp_path / "out" / "table.md").read_text(encoding="utf-8").splitlines()
    assert table[0].startswith("| variant | fold 0 | fold 1 |") and table[2].startswith("| today |")
    assert 0 <= read_figures(tmp_path / "figures.json", "boston104")["wer_today"] <= 200


def test_the_shipped_variants_begin_with_the_small_recipe():
    small = Config().updated(read_overrides(ROOT / "configs" / "small.yaml", Config)).to_dict()
    variants = read_variants(boston104.VARIANTS)
    today = Config().updated(variants["today"][0]).to_dict()
    small["training"]["output_dir"] = today["training"]["output_dir"]
    assert today == small
