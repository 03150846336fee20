"""Everything that decodes a checkpoint joins its heads in the way that was chosen on dev."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import training.final_evaluation
from inference.model_export import export_model
from inference.model_on_corpus import ModelOnCorpus, open_model_on_corpus
from inference.onnx_model import ExportedModel
from inference.posteriors import model_outputs
from inference.recognizer import open_recognizer
from inference.requests import ExportRequest
from models.checkpoint import load_checkpoint
from models.devices import Precision
from models.prediction import SEQUENCE_ALONE, JoinedHeads, join_heads, log_prior_of
from training.head_tuning import TunedHeads
from training.resume import plan_start
from training.setup import prepare_run

HEADS = JoinedHeads(0.7, 0.25)


@pytest.fixture(scope="module")
def run(make_settings, execute_run, tmp_path_factory):
    """Folder and result of a run that chose HEADS on dev, and what it printed."""
    folder = tmp_path_factory.mktemp("joined") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            training.final_evaluation, "tune_heads", lambda *_: TunedHeads(HEADS, 40.0, 50.0)
        )
        _, result = execute_run(make_settings(folder, decoder="adaptive"))
    return folder, result


@pytest.fixture(scope="module")
def opened(run) -> ModelOnCorpus:
    return open_model_on_corpus(run[0] / "best_model.pth", None, "cpu")


@pytest.fixture(scope="module")
def expected(opened) -> dict[int, torch.Tensor]:
    """Log-probabilities (T', V) of each dev sentence, joined here from both heads."""
    train = [gloss for s in opened.corpus.split("train").sentences for gloss in s.glosses]
    glosses = opened.vocabulary.glosses
    prior = log_prior_of(torch.tensor([0, *(train.count(gloss) for gloss in glosses)]))
    split, found = opened.corpus.split("dev"), {}
    plan = [np.array([index]) for index in range(len(split))]
    outputs = model_outputs(
        opened.model, opened.pipeline, split, Precision("fp32", opened.device), plan
    )
    for (index,), output, _ in outputs:
        heads = output.log_probs, output.conv_log_probs
        found[int(index)] = join_heads(*heads, HEADS, prior)[0]
        assert not torch.allclose(found[int(index)], output.log_probs[0], atol=1e-2)
    return found


def test_a_run_stores_how_its_heads_are_joined(run):
    folder, result = run
    entry = load_checkpoint(folder / "best_model.pth")["heads"]
    assert (entry["conv_share"], entry["prior_scale"]) == (0.7, 0.25)
    assert result["heads"] == str(HEADS)
    assert result["decoder_settings"].endswith(f"; tuned on this dev split; heads: {HEADS}")
    assert result["greedy_dev_wer_heads"] == "sequence head alone"
    assert "heads" not in load_checkpoint(folder / "last.pth"), "only the best model is tuned"


def test_an_evaluation_decodes_the_joined_heads(opened, expected):
    found = dict(opened.posteriors("dev"))
    assert found.keys() == expected.keys()
    for index, log_probs in found.items():
        torch.testing.assert_close(log_probs, expected[index], atol=1e-5, rtol=1e-5)
    assert opened.make_or_tune_decoder("greedy", None)[1] == f"greedy; heads: {HEADS}"


def test_the_report_of_the_run_has_the_hypotheses_of_the_joined_heads(run, opened, expected):
    adaptive, _ = opened.make_or_tune_decoder("adaptive", None)
    lines = (run[0] / "dev_hypotheses.csv").read_text(encoding="utf-8").splitlines()[1:]
    for index, line in enumerate(lines):
        steps = torch.tensor([len(expected[index])])
        (classes,) = adaptive(expected[index][None], steps)
        assert line.rsplit("|", 1)[1] == " ".join(opened.vocabulary.decode(classes))


def test_the_reports_name_the_heads_of_each_rate(run, run_evaluate, tmp_path):
    run_evaluate(run[0] / "best_model.pth", tmp_path / "out", "--decoder", "beam")
    for page in (run[0] / "report.html", tmp_path / "out" / "report.html"):
        text = page.read_text(encoding="utf-8")
        rows = re.findall(r"<tr>.*?</tr>", text, re.S)
        decoders = [row for row in rows if "the best path" in row or "greedy, without" in row]
        decoders += [row for row in rows if "(used above)" in row or ">beam<" in row]
        assert len(decoders) >= 3 and all(f"heads: {HEADS}" in row for row in decoders)
        assert "greedy, sequence head alone" in text
    of_run = (run[0] / "report.html").read_text(encoding="utf-8")
    assert f"<b>{run[1]['greedy_dev_wer']:.2f} %</b><span>greedy dev WER, sequence" in of_run
    assert "model of the best epoch" in of_run


def test_a_transcription_decodes_the_joined_heads(run, opened, expected):
    recognizer = open_recognizer(run[0] / "best_model.pth", "greedy", "cpu")
    assert recognizer.decoder_description.endswith(f"heads: {HEADS}")
    found = recognizer.log_probs(*opened.corpus.split("dev").read(0), None)
    torch.testing.assert_close(found, expected[0], atol=1e-4, rtol=1e-4)


def test_an_exported_model_has_the_joined_heads(run, opened, expected, tmp_path):
    request = ExportRequest(checkpoint=run[0] / "best_model.pth", output=tmp_path / "model.onnx")
    assert export_model(request)
    landmarks, detected = opened.corpus.split("dev").read(0)
    found, steps = ExportedModel(tmp_path / "model.onnx")(
        landmarks[None], detected[None], np.array([len(landmarks)])
    )
    assert int(steps[0]) == len(expected[0])
    np.testing.assert_allclose(found[0], expected[0].numpy(), atol=1e-4)


def test_a_complete_run_that_is_continued_does_not_write_its_best_model_again(
    run, execute_run, tmp_path, monkeypatch
):
    folder = Path(shutil.copytree(run[0], tmp_path / "copy"))
    monkeypatch.setattr(
        training.final_evaluation, "tune_heads", lambda *_: TunedHeads(HEADS, 40.0, 50.0)
    )
    before = (folder / "best_model.pth").stat()
    execute_run({"training": {"output_dir": str(folder)}}, folder / "last.pth")
    after = (folder / "best_model.pth").stat()
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)


def test_a_fine_tune_begins_with_the_sequence_head_alone(run, tmp_path):
    """Its epochs are compared by that head, and it chooses again at its end."""
    settings = {"training": {"epochs": 1, "output_dir": str(tmp_path / "fine")}}
    prepared = prepare_run(plan_start(str(run[0] / "best_model.pth"), settings))
    assert prepared.start.kind == "fine-tune"
    assert prepared.trainer.model.prediction.heads == SEQUENCE_ALONE


def test_the_greedy_decoder_in_training_chooses_nothing(
    make_settings, execute_run, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        training.final_evaluation, "tune_heads", lambda *_: pytest.fail("nothing is tuned")
    )
    _, result = execute_run(make_settings(tmp_path / "run", epochs=1, decoder="greedy"))
    assert result["heads"] == "sequence head alone"
    assert "heads" not in load_checkpoint(tmp_path / "run" / "best_model.pth")
