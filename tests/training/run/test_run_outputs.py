"""The files that a run leaves and the lines that it prints."""

import json
import math
import signal

import pytest
import torch
import yaml

import train_teacher
from data.corpus import Corpus
from data.pipeline import FeaturePipeline, feature_statistics
from decoding.scoring import score
from errors import DivergenceError, StoppedError
from inference.posteriors import NotFiniteError
from models.checkpoint import load_checkpoint
from training.config import Config
from training.resume import plan_start
from training.setup import prepare_run


def test_all_files_of_a_run_are_there(finished_run):
    names = {path.name for path in finished_run.iterdir()}
    assert names == {
        "best_model.pth",
        "best_model.pth.sha256",
        "last.pth",
        "last.pth.sha256",
        "previous.pth",
        "previous.pth.sha256",
        "config.yaml",
        "metrics.jsonl",
        "result.json",
        "dev_hypotheses.csv",
        "tensorboard",
        "environment.json",
        "MODEL_CARD.md",
        "report.html",
    }


def test_result_json(finished_run, tiny_corpus, run_copy, execute_run):
    result = json.loads((finished_run / "result.json").read_text())
    keys = "best_dev_wer best_epoch epochs_run parameters seconds frames_per_second decoder"
    assert {*keys.split(), "corpus", "simulated"} <= set(result)
    rows = [json.loads(line) for line in (finished_run / "metrics.jsonl").read_text().splitlines()]
    wers = [row["dev_wer"] for row in rows]
    assert result["best_epoch"] == 1 + wers.index(min(wers)) and result["epochs_run"] == 3
    assert result["best_dev_wer"] == pytest.approx(min(wers)), "this run uses the greedy decoder"
    model = load_checkpoint(finished_run / "best_model.pth")["model"]
    buffers = ("feature_mean", "feature_std", "running_mean", "running_var", "num_batches_tracked")
    assert result["parameters"] == sum(
        t.numel() for name, t in model.items() if not name.endswith(buffers)
    )
    assert result["seconds"] > 0 and result["frames_per_second"] > 0
    assert result["peak_memory_gb"] == max(
        json.loads(line)["peak_memory_gb"]
        for line in (finished_run / "metrics.jsonl").read_text().splitlines()
    )
    assert (result["decoder"], result["corpus"], result["simulated"]) == ("greedy", "tiny", False)
    assert result["corpus_fingerprint"] == Corpus(tiny_corpus).fingerprint


def test_a_dev_split_of_one_sentence_gives_no_interval(
    make_corpus, make_settings, execute_run, tmp_path, capsys
):
    splits = {"train": ["SUN RAIN", "HOUSE WIND", "RAIN SUN"], "dev": ["SUN RAIN"]}
    corpus = make_corpus(tmp_path / "corpus", splits)
    execute_run(make_settings(tmp_path / "run", data_dir=str(corpus), epochs=1))
    (line,) = [one for one in capsys.readouterr().out.splitlines() if "over 1 sentences" in one][:1]
    assert line.startswith("dev of corpus") and line.endswith("no interval of one sentence")
    card = (tmp_path / "run" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "% (no interval of one sentence) |" in card


def test_rows_of_metrics(finished_run):
    rows = [json.loads(line) for line in (finished_run / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    keys = {
        "epoch",
        "train_loss",
        "dev_loss",
        "train_wer",
        "dev_wer",
        "learning_rate",
        "frames_per_second",
    }
    assert all(0.1 < row["peak_memory_gb"] < 100 for row in rows)
    for row in rows:
        assert keys <= set(row) and all(math.isfinite(row[key]) for key in keys)
        errors = row["dev_substitutions"] + row["dev_deletions"] + row["dev_insertions"]
        assert row["dev_wer"] == pytest.approx(100 * errors / 11)
    # Two updates per epoch. One epoch of warm-up: 1/2 and 1 of the peak. Then the cosine's 4 steps
    # down to the minimum
    cosine = [1e-6 + (0.01 - 1e-6) * 0.5 * (1 + math.cos(math.pi * step / 3)) for step in range(4)]
    assert [row["learning_rate"] for row in rows] == pytest.approx([0.01, cosine[1], 1e-6])


def test_tensorboard_has_the_same_rows(finished_run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(finished_run / "tensorboard"))
    board.Reload()
    rows = [json.loads(line) for line in (finished_run / "metrics.jsonl").read_text().splitlines()]
    for key in (
        "train_loss",
        "dev_loss",
        "train_wer",
        "dev_wer",
        "learning_rate",
        "frames_per_second",
    ):
        events = board.Scalars(key)
        assert [event.step for event in events] == [1, 2, 3]
        assert [event.value for event in events] == pytest.approx(
            [row[key] for row in rows], rel=1e-5
        )


def test_the_config_that_was_used_is_kept(finished_run, make_settings):
    kept = Config().updated(yaml.safe_load((finished_run / "config.yaml").read_text()))
    assert kept == Config().updated(make_settings(finished_run))
    assert Config().updated(load_checkpoint(finished_run / "best_model.pth")["config"]) == kept


def test_the_hypotheses_give_the_wer_of_the_result(finished_run, tiny_corpus):
    lines = (finished_run / "dev_hypotheses.csv").read_text().splitlines()
    assert lines[0] == "id|signer|reference|hypothesis"
    rows = [line.split("|") for line in lines[1:]]
    dev = Corpus(tiny_corpus).split("dev").sentences
    assert [row[:3] for row in rows] == [[s.id, s.signer, " ".join(s.glosses)] for s in dev]
    result = json.loads((finished_run / "result.json").read_text())
    assert (
        score([row[2].split() for row in rows], [row[3].split() for row in rows]).wer
        == result["best_dev_wer"]
    )


def test_the_checkpoint_has_vocabulary_statistics_and_corpus(finished_run, tiny_corpus):
    checkpoint = load_checkpoint(finished_run / "best_model.pth")
    corpus = Corpus(tiny_corpus)
    assert checkpoint["vocabulary"] == ["HOUSE", "RAIN", "SUN", "TOMORROW", "WIND"]
    mean, std = feature_statistics(FeaturePipeline(0.8, torch.device("cpu")), corpus.split("train"))
    model = prepare_run(plan_start(str(finished_run / "best_model.pth"), {})).trainer.model
    read = torch.cat([encoder.columns for encoder in model.parts])
    torch.testing.assert_close(model.feature_mean[read], mean[read])
    torch.testing.assert_close(model.feature_std[read], std[read])
    assert torch.equal(model.feature_std, checkpoint["model"]["feature_std"])
    assert (
        checkpoint["corpus"]["fingerprint"] == corpus.fingerprint
        and checkpoint["corpus"]["name"] == "tiny"
    )
    steps = sum(-(-sentence.frames // 4) for sentence in corpus.split("train").sentences)
    glosses = sum(len(sentence.glosses) for sentence in corpus.split("train").sentences)
    assert checkpoint["decoder"]["steps_per_gloss"] == pytest.approx(steps / glosses)


def test_every_output_says_that_a_corpus_is_simulated(
    make_corpus, tiny_settings, execute_run, tmp_path, capsys
):
    splits = {"train": ["SUN RAIN", "RAIN SUN", "SUN"], "dev": ["RAIN SUN"]}
    corpus = make_corpus(tmp_path / "corpus", splits, simulated=True)
    tiny_settings["training"] |= {"data_dir": str(corpus), "epochs": 1}
    _, result = execute_run(tiny_settings)
    assert result["simulated"] is True
    output = capsys.readouterr().out
    assert (
        "corpus corpus (simulated signers)" in output
        and "dev of corpus (simulated signers)" in output
    )
    assert load_checkpoint(tmp_path / "run" / "last.pth")["corpus"]["simulated"] is True


def test_the_last_lines_of_the_output(tiny_settings, execute_run, capsys, tmp_path):
    _, result = execute_run(tiny_settings)
    output = capsys.readouterr().out
    assert f"WER {result['best_dev_wer']:.2f} %" in output
    assert output.count("    reference   ") == output.count("    hypothesis  ") == 3
    assert output.rstrip().endswith(f"run folder: {tmp_path / 'run'}")


def test_a_run_tells_known_and_new_dev_sentences_apart(finished_run, tiny_corpus):
    result = json.loads((finished_run / "result.json").read_text())
    train, dev = (
        [sentence.glosses for sentence in Corpus(tiny_corpus).split(name).sentences]
        for name in ("train", "dev")
    )
    groups = result["novelty"]["sentences"]
    assert groups["known"]["sentences"] == sum(glosses in set(train) for glosses in dev)
    assert groups["known"]["sentences"] + groups["new"]["sentences"] == len(dev)
    errors = [result[kind] for kind in ("substitutions", "deletions", "insertions")]
    assert errors == [
        groups["known"][kind] + groups["new"][kind]
        for kind in ("substitutions", "deletions", "insertions")
    ]
    page = (finished_run / "report.html").read_text(encoding="utf-8")
    assert "Known and new" in page and "glosses never in train" in page


def test_a_diverged_model_in_the_final_evaluation_has_the_exit_code_of_divergence(
    tiny_settings, execute_run, monkeypatch
):
    def not_finite(*_):
        raise NotFiniteError("dev sentence dev-00: not finite")

    monkeypatch.setattr("training.run.evaluate_best_model", not_finite)
    with pytest.raises(DivergenceError, match=r"the best model in .* lower --learning_rate \(now"):
        execute_run(tiny_settings)


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), StoppedError(signal.SIGTERM)])
def test_a_stop_in_the_final_evaluation_says_that_the_training_is_complete(
    tiny_yaml, tmp_path, monkeypatch, capsys, stop
):
    def interrupted(*_):
        raise stop

    monkeypatch.setattr("training.run.evaluate_best_model", interrupted)
    words = ["--config", str(tiny_yaml), "--output_dir", str(tmp_path / "my run"), "--epochs", "1"]
    with pytest.raises(KeyboardInterrupt):
        train_teacher.main(words)
    folder = f"'{tmp_path / 'my run'}'"
    expected = (
        f"complete; evaluate it with: python train_teacher.py --resume auto --output_dir {folder}"
    )
    assert expected in capsys.readouterr().err
