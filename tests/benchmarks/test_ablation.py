"""The ablation's arithmetic, and a complete table of a corpus that trains in seconds."""

import contextlib
import json
import signal
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
import yaml

from benchmarks import ablation
from benchmarks.unseen import trained_runs
from data.corpus import Corpus
from data.pipeline import FeaturePipeline
from errors import DataError, UsageError
from training.config import Config
from training.stop_signals import InterruptedRunError

ROOT = Path(__file__).resolve().parents[2]


def counts(wer: float, substitutions=1, deletions=2, insertions=3) -> dict:
    return {
        "wer": wer,
        "substitutions": substitutions,
        "deletions": deletions,
        "insertions": insertions,
        "reference_glosses": 50,
    }


def test_the_table_by_hand():
    runs = [
        {"columns": {"mine": counts(rate)}, "seconds": 10 * rate, "parameters": 3_456_789}
        for rate in (4.0, 6.0)
    ]
    other = [
        {
            "columns": {"mine": counts(9.5), "others": counts(50.0)},
            "seconds": 3,
            "parameters": 1_000_000,
        }
    ]
    other[0]["columns"]["mine"]["substitutions"] = 7
    lines = ablation.table(
        {"head": [runs[0] | {"columns": runs[0]["columns"] | {"others": counts(1.0)}}], "b": other}
    )
    assert lines.splitlines()[0] == (
        "| variant | WER % mine | WER % others | S/D/I mine | seconds | parameters | seeds |"
    )
    assert lines.splitlines()[2:] == [
        "| head | 4.00 | 1.00 | 1/2/3 | 40 | 3.46 M | 1 |",
        "| b | 9.50 | 50.00 | 7/2/3 | 3 | 1.00 M | 1 |",
    ]
    # mean and standard deviation: (4 + 6) / 2 and sqrt(((4 - 5)^2 + (6 - 5)^2) / 1); errors are
    # summed over the seeds
    assert (
        ablation.table({"head": runs}).splitlines()[2]
        == "| head | 5.00 ± 1.41 | 2/4/6 | 50 ± 14 | 3.46 M | 2 |"
    )


@pytest.mark.parametrize(
    "path",
    [ROOT / "benchmarks" / "variants" / name for name in ("ablation.yaml", "sweep.yaml")],
    ids=lambda path: path.name,
)
def test_every_row_of_a_shipped_file_is_a_different_configuration(path):
    rows = {
        name: (Config().updated(overrides), patch)
        for name, (overrides, patch) in ablation.read_variants(path).items()
    }
    assert len(rows) > 4
    assert len({(json.dumps(config.to_dict()), patch) for config, patch in rows.values()}) == len(
        rows
    )


def test_the_sweep_has_these_variants():
    rows = {
        name: Config().updated(o)
        for name, (o, _) in ablation.read_variants(ROOT / "benchmarks/variants/sweep.yaml").items()
    }
    found = {
        name: (c.model.dropout, c.training.learning_rate, c.training.batch_size)
        for name, c in rows.items()
    }
    assert set(found.values()) == {
        (0.3, 3e-4, 8),
        (0.2, 3e-4, 8),
        (0.4, 3e-4, 8),
        (0.3, 5e-4, 8),
        (0.3, 3e-4, 12),
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("rows: {a: {}}", "expected the keys 'base' and 'rows'"),
        ("base: {}\nrows: {a: {model: {dropuot: 0.2}}}", "did you mean 'dropout'"),
        ("base: {}\nrows: {a: {patch: plain}}", "unknown patch 'plain'"),
        ("base: {", "cannot be read"),
    ],
)
def test_a_bad_variants_file_is_refused_in_one_line(tmp_path, content, message):
    (tmp_path / "rows.yaml").write_text(content)
    with pytest.raises(UsageError, match=message) as caught:
        ablation.read_variants(tmp_path / "rows.yaml")
    assert "rows.yaml" in str(caught.value) and "\n" not in str(caught.value)


def test_clip_centred_by_hand():
    landmarks, detected = torch.zeros(1, 4, 543, 3), torch.ones(1, 4, 4, dtype=torch.bool)
    landmarks[0, :3, 11], landmarks[0, :3, 12] = (
        torch.tensor([0.6, 0.5, 0.0]),
        torch.tensor([0.4, 0.5, 0.0]),
    )
    landmarks[0, :3, 501] = torch.tensor([0.8, 0.2, 0.3])
    detected[0, 1, 2] = False
    body = ablation.clip_centred(landmarks, detected, torch.tensor([3]), 2.0)
    # in image heights the middle of the shoulders is (1.0, 0.5); the unit is 0.3 image heights
    assert body[0, 0, 501].tolist() == pytest.approx([0.6 / 0.3, -0.3 / 0.3, 0.6 / 0.3])
    assert body[0, 1, 501].tolist() == [0.0, 0.0, 0.0], "lost parts stay zero"
    assert torch.equal(body[0, 3], body[0, 2]), "frames behind the end hold the last one"


@pytest.mark.parametrize(
    "train",
    [
        lambda corpus: trained_runs.train_and_decode({}, 0, corpus),
        lambda corpus: ablation.train_and_evaluate({}, None, 0, str(corpus), []),
    ],
    ids=["trained_runs", "ablation"],
)
def test_a_training_that_a_signal_stops_ends_the_benchmark_like_ctrl_c(
    train, tiny_corpus, monkeypatch
):
    def stopped(_):
        raise InterruptedRunError(signal.SIGTERM)

    monkeypatch.setattr("training.run.execute", stopped)
    monkeypatch.setattr("training.setup.prepare_run", lambda _: None)
    with pytest.raises(KeyboardInterrupt):
        train(tiny_corpus)


def test_a_patch_changes_the_features_of_a_training(tiny_corpus):
    split = Corpus(tiny_corpus).split("train")

    def features() -> torch.Tensor:
        (batch,) = FeaturePipeline(0.8, torch.device("cpu")).batches(split, [np.arange(4)])
        return batch.features

    usual = features()
    with contextlib.ExitStack() as stack:
        for step, other in ablation.PATCHES["clip_centred"].items():
            stack.enter_context(mock.patch(f"data.features.{step}", other))
        assert (features() - usual).abs().max() > 0.1
    assert torch.equal(features(), usual)


def test_an_interrupted_table_continues(tmp_path, tiny_corpus, make_corpus, make_settings, capsys):
    settings = make_settings(tmp_path / "unused", epochs=2)
    for key in ("data_dir", "output_dir", "decoder"):
        settings["training"].pop(key)
    rows = {
        "small": None,
        "wider": {"model": {"hand_width": 24}},
        "plain": {"patch": "clip_centred"},
    }
    (tmp_path / "rows.yaml").write_text(
        yaml.safe_dump({"base": settings, "rows": rows}, sort_keys=False)
    )
    others = make_corpus(
        tmp_path / "others", {"train": ["SUN"], "test": ["RAIN SUN", "WIND HOUSE"]}
    )
    command = [
        "--variants",
        str(tmp_path / "rows.yaml"),
        "--data_dir",
        str(tiny_corpus),
        "--also",
        f"{others}:test",
    ]
    command += ["--output", str(tmp_path / "out")]
    assert ablation.main([*command, "--only", "wider"]) == 0
    first = (tmp_path / "out" / "runs.jsonl").read_text().splitlines()
    assert len(first) == 1
    assert ablation.main(command) == 0
    runs = [json.loads(line) for line in (tmp_path / "out" / "runs.jsonl").read_text().splitlines()]
    assert [run["variant"] for run in runs] == ["wider", "small", "plain"], (
        "finished runs are not repeated"
    )
    assert runs[0]["parameters"] > runs[1]["parameters"] == runs[2]["parameters"]
    assert runs[1]["columns"].keys() == {"tiny", "others test"}
    printed = capsys.readouterr().out
    table = (tmp_path / "out" / "table.md").read_text()
    assert (
        table.count("\n| ") == 4
        and "| wider |" in table
        and printed.splitlines()[-1].startswith("best_variant_wer: ")
    )
    assert (tmp_path / "out" / "table.png").stat().st_size > 5000


def test_a_broken_line_and_another_corpus_are_noticed_before_training(
    tmp_path, tiny_corpus, monkeypatch
):
    def trained(*_):
        raise InterruptedError

    monkeypatch.setattr(ablation, "train_and_evaluate", trained)
    (tmp_path / "out").mkdir()
    command = [
        "--data_dir",
        str(tiny_corpus),
        "--output",
        str(tmp_path / "out"),
        "--only",
        "default recipe",
    ]
    with pytest.raises(DataError, match="nowhere does not exist"):
        ablation.main([*command, "--also", f"{tmp_path / 'nowhere'}:dev"])
    log = tmp_path / "out" / "runs.jsonl"
    log.write_text('{"variant": "a"}\n{"varia')
    with pytest.raises(
        DataError, match=r"runs\.jsonl line 2 is not a complete run: remove the line"
    ):
        ablation.main(command)
    overrides, _ = ablation.read_variants(ablation.VARIANTS)["default recipe"]
    same = {
        "variant": "default recipe",
        "seed": 0,
        "settings": json.loads(json.dumps(overrides)),
        "patch": None,
    }
    same |= {
        "data_dir": str(tiny_corpus),
        "also": [],
        "seconds": 1.0,
        "parameters": 1,
        "best_epoch": 1,
    }
    same["columns"] = {"tiny": counts(5.0)}
    log.write_text(json.dumps(same | {"corpus_fingerprint": "of another"}) + "\n")
    with pytest.raises(InterruptedError):
        ablation.main(command)
    log.write_text(
        json.dumps(same | {"corpus_fingerprint": Corpus(tiny_corpus).fingerprint}) + "\n"
    )
    assert ablation.main(command) == 0, "nothing left to train"
