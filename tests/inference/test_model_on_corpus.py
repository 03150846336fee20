"""A checkpoint's model with a corpus: its decoders, their settings and language models."""

import json
import re
import shutil

import pytest
import torch

from data.corpus import Corpus
from data.sources.corpus_resampling import resample_corpus
from data.vocabulary import Vocabulary
from decoding.language_model import train_language_model
from decoding.length_normalization import LengthNormalization
from errors import DataError
from inference.model_export import export_model
from inference.model_on_corpus import open_model_on_corpus
from inference.opened_checkpoint import corpus_of_training
from inference.requests import ExportRequest
from models.checkpoint import load_checkpoint, save_checkpoint
from tests.decoding.arpa_files import write_arpa


def test_settings_tuned_on_dev_are_stored_and_used(run_evaluate, adaptive_run, tmp_path, capsys):
    entry = load_checkpoint(adaptive_run / "best_model.pth")["decoder"]
    assert entry["tuned_on"] == "dev of tiny" and entry["readings"] in (
        "greedy",
        "filtered",
        "beam",
    )
    of_run = json.loads((adaptive_run / "result.json").read_text())
    assert of_run["best_dev_wer"] <= of_run["greedy_dev_wer"]
    result = run_evaluate(adaptive_run / "best_model.pth", tmp_path / "out")
    assert (
        result["wer"] == of_run["best_dev_wer"]
        and result["wer_interval"] == of_run["best_dev_wer_interval"]
    )
    assert "(chosen on dev of tiny)" in result["decoder_settings"]
    assert f"decoder: {result['decoder_settings']}" in capsys.readouterr().out


def test_stored_settings_are_not_tuned_again(run_evaluate, adaptive_run, tmp_path):
    checkpoint = load_checkpoint(adaptive_run / "best_model.pth")
    checkpoint["decoder"] |= {
        "readings": "beam",
        "strength": 0.0,
        "gloss_bonus": 30.0,
        "lm_weight": 0.0,
        "language_model": None,
    }
    save_checkpoint(tmp_path / "talkative.pth", checkpoint)
    talkative = run_evaluate(tmp_path / "talkative.pth", tmp_path / "out")
    assert "gloss bonus 30" in talkative["decoder_settings"]
    assert (
        talkative["insertions"]
        > run_evaluate(tmp_path / "talkative.pth", tmp_path / "g", "--decoder", "greedy")[
            "insertions"
        ]
    )


def test_without_stored_settings_the_decoder_is_tuned_on_dev(run_evaluate, finished_run, tmp_path):
    result = run_evaluate(finished_run / "best_model.pth", tmp_path / "out", "--split", "train")
    assert (
        "(chosen on dev of tiny, now)" in result["decoder_settings"] and result["sentences"] == 12
    )
    greedy = run_evaluate(
        finished_run / "best_model.pth", tmp_path / "greedy", "--decoder", "greedy"
    )
    assert run_evaluate(finished_run / "best_model.pth", tmp_path / "dev")["wer"] <= greedy["wer"]


def test_a_decoder_that_must_be_tuned_needs_a_dev_split(
    run_evaluate, finished_run, adaptive_run, make_corpus, tmp_path
):
    without_dev = make_corpus(tmp_path / "one", {"train": ["SUN"], "test": ["SUN RAIN"]})
    splits = {"train": ["SUN"], "dev": ["SUN"], "test": ["SUN RAIN"]}
    without_glosses = make_corpus(tmp_path / "two", splits)
    table = without_glosses / "dev.csv"
    table.write_text(table.read_text("utf-8").replace("|SUN", "|"), "utf-8")
    untuned, tuned = (run / "best_model.pth" for run in (finished_run, adaptive_run))
    for checkpoint, options, advice in (
        (untuned, (), "give --decoder greedy, or give a corpus with dev"),
        (tuned, ("--lm", "none"), "leave --lm out, or give a corpus with dev"),
    ):
        for corpus in (without_dev, without_glosses):
            words = ("--split", "test", "--data_dir", corpus, *options)
            with pytest.raises(
                DataError, match=rf"must be tuned on dev first, and {corpus} has no .*: {advice}"
            ):
                run_evaluate(checkpoint, tmp_path / "out", *words)
    run_evaluate(tuned, tmp_path / "tuned", "--split", "test", "--data_dir", without_dev)


def test_the_beam_with_each_language_model(run_evaluate, adaptive_run, tiny_corpus, tmp_path):
    best = adaptive_run / "best_model.pth"
    vocabulary = Vocabulary(load_checkpoint(best)["vocabulary"])
    train = [sentence.glosses for sentence in Corpus(tiny_corpus).split("train").sentences]
    write_arpa(train_language_model(train, vocabulary), vocabulary, tmp_path / "train.arpa")
    results = {}
    for name in ("none", "train", tmp_path / "train.arpa"):
        folder = tmp_path / f"out{len(results)}"
        results[name] = run_evaluate(best, folder, "--decoder", "beam", "--lm", name)
        results[name]["text"] = (folder / "hypotheses.csv").read_text()
    assert results["none"]["decoder_settings"] == "beam, no language model"
    assert results["train"]["decoder_settings"].startswith("beam, language model weight 0.")
    assert results["train"]["text"] == results[tmp_path / "train.arpa"]["text"]


def test_the_beam_uses_a_language_model_that_was_not_tuned_on_dev(
    run_evaluate, finished_run, tmp_path, capsys
):
    checkpoint = load_checkpoint(finished_run / "best_model.pth")
    texts = {}
    for name in ("none", "train"):
        options = ("--decoder", "beam", "--split", "train", "--lm", name)
        result = run_evaluate(finished_run / "best_model.pth", tmp_path / name, *options)
        texts[name] = (tmp_path / name / "hypotheses.csv").read_text()
    assert (
        result["decoder_settings"] == "beam, language model weight 0.25, gloss bonus 1.5 (default)"
    )
    assert texts["none"] != texts["train"]
    checkpoint["decoder"] |= {
        "tuned_on": "dev of elsewhere",
        "readings": "beam",
        "gloss_bonus": 2.0,
        "lm_weight": 0.5,
    }
    save_checkpoint(tmp_path / "tuned.pth", checkpoint)
    result = run_evaluate(
        tmp_path / "tuned.pth", tmp_path / "out", "--decoder", "beam", "--lm", "train"
    )
    described = "beam, language model weight 0.5, gloss bonus 2 (tuned on dev of elsewhere)"
    assert (
        result["decoder_settings"] == described
        and f"decoder: {described}\n" in capsys.readouterr().out
    )


def test_with_another_language_model_adaptive_is_tuned_again(run_evaluate, adaptive_run, tmp_path):
    for name in ("none", "train"):
        result = run_evaluate(adaptive_run / "best_model.pth", tmp_path / name, "--lm", name)
        assert "(chosen on dev of tiny, now)" in result["decoder_settings"]


def test_a_run_keeps_the_language_model_of_its_train_split(
    make_settings, execute_run, tiny_corpus, tmp_path, monkeypatch
):
    def chosen(posteriors, references, vocabulary, steps_per_gloss, language_model):
        return LengthNormalization(steps_per_gloss, lm_weight=0.5)

    monkeypatch.setattr("training.final_evaluation.tune", chosen)
    execute_run(make_settings(tmp_path / "run", decoder="adaptive", epochs=1))
    checkpoint = load_checkpoint(tmp_path / "run" / "best_model.pth")
    train = [sentence.glosses for sentence in Corpus(tiny_corpus).split("train").sentences]
    expected = train_language_model(train, Vocabulary(checkpoint["vocabulary"]))
    stored = checkpoint["decoder"]["language_model"]
    assert (
        all(torch.equal(stored[name], value) for name, value in vars(expected).items())
        and len(stored) == 3
    )


def test_train_sentences_with_unknown_glosses_are_counted(
    run_evaluate, finished_run, make_corpus, tmp_path, capsys
):
    path = make_corpus(
        tmp_path / "corpus", {"train": ["SUN RAIN", "FOG SUN", "RAIN", "ICE"], "dev": ["SUN"]}
    )
    run_evaluate(
        finished_run / "best_model.pth",
        tmp_path / "out",
        "--data_dir",
        path,
        "--decoder",
        "beam",
        "--lm",
        "train",
    )
    expected = (
        "language model: 2 of 4 train sentences have glosses outside the vocabulary and are left "
        "out\n"
    )
    assert expected in capsys.readouterr().out


def test_a_missing_corpus_is_named_with_the_checkpoint_and_a_remedy(
    run_evaluate, finished_run, tmp_path
):
    checkpoint = load_checkpoint(finished_run / "best_model.pth")
    checkpoint["corpus"]["path"] = str(tmp_path / "gone")
    save_checkpoint(tmp_path / "moved.pth", checkpoint)
    with pytest.raises(
        DataError, match=r"moved\.pth was trained on the corpus .*gone.* not exist here.*--data_dir"
    ):
        run_evaluate(tmp_path / "moved.pth", tmp_path / "out")


def test_another_corpus_in_the_folder_of_the_training_is_told(
    finished_run, make_corpus, tmp_path, capsys
):
    """The stored folder may be relative: the same name can be another corpus elsewhere."""
    corpus = make_corpus(tmp_path / "same", {"train": ["SUN RAIN", "HOUSE"], "dev": ["SUN"]})
    checkpoint = load_checkpoint(finished_run / "best_model.pth")
    path = tmp_path / "best_model.pth"
    for stored, other in ((checkpoint["corpus"]["path"], False), (str(corpus), True)):
        checkpoint["corpus"]["path"] = stored
        save_checkpoint(path, checkpoint)
        open_model_on_corpus(path, None, "cpu")
        export_model(ExportRequest(checkpoint=path, output=tmp_path / f"{other}.onnx"))
        told = capsys.readouterr().out.count(
            f"warning: {corpus} is not the corpus that {path} was trained on: another corpus is in "
        )
        assert told == 2 * other
    open_model_on_corpus(path, str(corpus), "cpu")
    assert "is not the corpus" not in capsys.readouterr().out


@pytest.mark.parametrize("older", ["", "fps", "aspect_ratio"])
def test_a_corpus_of_another_frame_rate_is_refused(
    run_evaluate, finished_run, tiny_corpus, tmp_path, older
):
    resample_corpus(tiny_corpus, tmp_path / "fast", 50)
    checkpoint = load_checkpoint(finished_run / "best_model.pth")
    if older:  # what it does not store, the corpus that it was trained on gives
        del checkpoint["corpus"][older]
    if older == "aspect_ratio":
        checkpoint["corpus"]["path"] = str(tmp_path / "gone")
    save_checkpoint(tmp_path / "best_model.pth", checkpoint)
    with pytest.raises(DataError, match=r"fast has 50 frames/s, but .*best_model\.pth was trained"):
        run_evaluate(tmp_path / "best_model.pth", tmp_path / "out", "--data_dir", tmp_path / "fast")
    assert not (tmp_path / "out").exists()


def test_a_rate_that_nothing_tells_is_told(
    run_evaluate, finished_run, tiny_corpus, tmp_path, capsys
):
    checkpoint = load_checkpoint(finished_run / "best_model.pth")
    del checkpoint["corpus"]["fps"]
    checkpoint["corpus"]["path"] = str(tmp_path / "gone")
    save_checkpoint(tmp_path / "older.pth", checkpoint)
    resample_corpus(tiny_corpus, tmp_path / "fast", 50)
    run_evaluate(tmp_path / "older.pth", tmp_path / "out", "--data_dir", tmp_path / "fast")
    assert re.search(
        r"warning: .*older\.pth is of an older version .*fast, 50 frames/s, is taken for right",
        capsys.readouterr().out,
    )


def test_changed_files_are_told_and_give_the_corpus_another_fingerprint(
    finished_run, make_corpus, tmp_path, capsys
):
    """As in a training. The files of test leave the fingerprint as it is."""
    splits = {"train": ["SUN RAIN", "HOUSE"], "dev": ["SUN"], "test": ["RAIN SUN"]}
    corpus = make_corpus(tmp_path / "corpus", splits)
    before = Corpus(corpus).fingerprint
    checkpoint = finished_run / "best_model.pth"
    assert open_model_on_corpus(checkpoint, str(corpus), "cpu").corpus.fingerprint == before
    assert "was changed" not in capsys.readouterr().out
    for name, same in (("test", True), ("dev", False)):
        table = corpus / f"{name}.csv"
        table.write_text(table.read_text("utf-8").replace("SUN", "RAIN"), "utf-8")
        opened = open_model_on_corpus(checkpoint, str(corpus), "cpu")
        assert f"{table} was changed: its SHA-256 differs" in capsys.readouterr().out
        assert (opened.corpus.fingerprint == before) == same


def test_a_corpus_that_was_edited_before_the_training_is_that_of_the_training(
    make_settings, execute_run, run_evaluate, tiny_corpus, tmp_path, capsys
):
    corpus = tmp_path / "edited"
    shutil.copytree(tiny_corpus, corpus)
    for name in ("train", "dev"):
        table = corpus / f"{name}.csv"
        table.write_text(table.read_text("utf-8").replace("SUN", "MOON"), "utf-8")
    execute_run(make_settings(tmp_path / "run", epochs=1, data_dir=str(corpus)))
    capsys.readouterr()
    run_evaluate(tmp_path / "run" / "best_model.pth", tmp_path / "out")
    printed = capsys.readouterr().out
    assert "is not here" not in printed and "known sentences" in printed
    checkpoint = load_checkpoint(tmp_path / "run" / "best_model.pth")
    assert corpus_of_training(checkpoint) is not None
    (corpus / "train.csv").write_text(
        (corpus / "train.csv").read_text("utf-8").replace("MOON", "STAR"), "utf-8"
    )
    assert corpus_of_training(checkpoint) is None, "it was edited again, after the training"
