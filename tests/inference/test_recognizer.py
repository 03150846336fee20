"""Recognizers: which model, decoder and frame format transcription gets from a checkpoint."""

import json

import numpy as np
import pytest
import torch

from data.corpus import Corpus
from data.landmarks import MIRRORED
from errors import DataError, UsageError
from inference.recognizer import open_recognizer
from models.checkpoint import load_checkpoint, save_checkpoint
from models.student import Student


@pytest.fixture(scope="module")
def hypotheses(
    run_evaluate, checkpoint, tmp_path_factory
) -> dict[str, list[tuple[str, str, float, float]]]:
    """Gloss, begin and duration of evaluate.py's hypothesis for each dev sentence."""
    output = tmp_path_factory.mktemp("transcribe") / "evaluation"
    run_evaluate(checkpoint, output)
    found: dict[str, list] = {}
    for line in (output / "hypotheses.ctm").read_text().splitlines():
        id, _, begin, duration, gloss = line.split()
        found.setdefault(id, []).extend(
            [] if gloss == "@" else [(gloss, float(begin), float(duration))]
        )
    return found


def test_a_recording_has_the_glosses_of_its_evaluation(
    run_transcribe, checkpoint, sentences, hypotheses, capsys
):
    assert run_transcribe(checkpoint, sentences, "--format", "json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["name"] for row in rows} == set(hypotheses) and len(rows) == 4
    assert any(row["glosses"] for row in rows)
    for row in rows:
        expected = hypotheses[row["name"]]
        assert [gloss["gloss"] for gloss in row["glosses"]] == [gloss for gloss, _, _ in expected]
        for gloss, (_, begin, duration) in zip(row["glosses"], expected, strict=True):
            assert gloss["start"] == pytest.approx(begin, abs=0.002)
            assert gloss["end"] == pytest.approx(min(begin + duration, row["seconds"]), abs=0.002)
            assert 0 < gloss["confidence"] <= 1
        assert (
            row["frames"]
            == len(np.load(sentences / f"{row['name']}.npy"))
            == round(25 * row["seconds"])
        )
        assert (row["fps"], row["read"], row["simulated"], row["trained_on"]) == (
            25.0,
            "whole",
            False,
            "tiny",
        )
        assert "(chosen on dev of tiny)" in row["decoder"]


@pytest.mark.parametrize("decoder", ["greedy", "beam", "adaptive"])
def test_decoders_are_those_of_evaluate(run_transcribe, decoder, checkpoint, sentences, capsys):
    assert (
        run_transcribe(
            checkpoint, sentences / "dev-00.npy", "--decoder", decoder, "--format", "json"
        )
        == 0
    )
    assert (
        json.loads(capsys.readouterr().out)["decoder"]
        == open_recognizer(checkpoint, decoder, "cpu").decoder_description
    )


def test_without_a_tuned_decoder_greedy_is_the_default(
    run_transcribe, finished_run, sentences, capsys
):
    assert run_transcribe(finished_run / "best_model.pth", sentences / "dev-00.npy") == 0
    assert "decoder: greedy\n" in capsys.readouterr().err


def test_frame_rate_and_shape_of_an_older_checkpoint_come_from_its_corpus_or_are_assumed(
    run_transcribe, checkpoint, tiny_corpus, sentences, tmp_path, capsys
):
    content = load_checkpoint(checkpoint)
    for name, value in (("fps", 25.0), ("aspect_ratio", 0.8)):
        assert content["corpus"].pop(name) == value
    save_checkpoint(tmp_path / "older.pth", content)
    found = open_recognizer(tmp_path / "older.pth", None, "cpu")
    assert (found.fps, found.aspect_ratio, found.format_is_assumed) == (25.0, 0.8, False)
    content["corpus"]["path"] = str(tmp_path / "gone")
    save_checkpoint(tmp_path / "older.pth", content)
    assert run_transcribe(tmp_path / "older.pth", sentences / "dev-00.npy") == 0
    assert "25 frames/s and width/height 1.333 are assumed" in capsys.readouterr().err
    content["corpus"] |= {"fps": 30.0, "aspect_ratio": 0.75}  # as a checkpoint tells them now
    save_checkpoint(tmp_path / "newer.pth", content)
    found = open_recognizer(tmp_path / "newer.pth", None, "cpu")
    assert (found.fps, found.aspect_ratio, found.format_is_assumed) == (30.0, 0.75, False)


def test_a_missing_or_damaged_checkpoint(run_transcribe, checkpoint, sentences, tmp_path):
    with pytest.raises(DataError, match=r"gone\.pth does not exist"):
        run_transcribe(tmp_path / "gone.pth", sentences)
    for number, text in enumerate(["training:\n  epochs: 1\n", "id|signer\n", "{}", "\0\1"]):
        (tmp_path / f"{number}.pth").write_text(text)
        with pytest.raises(DataError, match=rf"{number}\.pth cannot be read"):
            run_transcribe(tmp_path / f"{number}.pth", sentences)
    content = load_checkpoint(checkpoint)
    content["model"]["head.weight"] = torch.full_like(content["model"]["head.weight"], float("nan"))
    save_checkpoint(tmp_path / "nan.pth", content)
    with pytest.raises(DataError, match="log-probabilities are not finite"):
        run_transcribe(tmp_path / "nan.pth", sentences / "dev-00.npy")


@pytest.mark.parametrize("name", ["teacher", "student", "causal"])
def test_an_exported_file_transcribes_like_its_checkpoint(checkpoints, exported, tiny_corpus, name):
    split = Corpus(tiny_corpus).split("dev")
    own, other = (
        open_recognizer(path, None, "cpu") for path in (checkpoints[name], exported(name))
    )
    for index in range(len(split)):
        one, two = (each.transcribe(*split.read(index), 25) for each in (own, other))
        assert [(g.gloss, g.start, g.end) for g in one] == [(g.gloss, g.start, g.end) for g in two]
        assert [g.confidence for g in one] == pytest.approx([g.confidence for g in two], abs=1e-4)
    for fact in ("fps", "aspect_ratio", "trained_on", "simulated", "decoder_description"):
        assert getattr(own, fact) == getattr(other, fact)


def test_an_exported_file_runs_on_the_cpu_only(exported):
    with pytest.raises(UsageError, match=r"--device cuda:0: .*student.* runs on the CPU"):
        open_recognizer(exported("student"), None, "cuda:0")


def test_a_causal_student_streams_with_greedy_decoding_only(checkpoints, exported, tmp_path):
    for name in ("teacher", "student"):
        found = open_recognizer(checkpoints[name], None, "cpu")
        assert (found.streaming_student, found.streaming_obstacle) == (None, None)
    for decoder in (None, "greedy"):
        found = open_recognizer(checkpoints["causal"], decoder, "cpu")
        assert isinstance(found.streaming_student, Student) and found.streaming_obstacle is None
    for decoder in ("beam", "adaptive"):
        found = open_recognizer(checkpoints["causal"], decoder, "cpu")
        assert found.streaming_student is None
        assert f"the {decoder} decoder needs the whole window" in found.streaming_obstacle
    found = open_recognizer(exported("causal"), None, "cpu")
    assert found.streaming_student is None
    assert "an exported file predicts whole windows" in found.streaming_obstacle


def test_an_adaptive_decoder_that_was_tuned_to_greedy_streams(checkpoints, tmp_path):
    content = load_checkpoint(checkpoints["causal"])
    for readings, streams in (("greedy", True), ("filtered", False)):
        content["decoder"] |= {"readings": readings, "tuned_on": "dev of tiny"}
        save_checkpoint(tmp_path / f"{readings}.pth", content)
        found = open_recognizer(tmp_path / f"{readings}.pth", None, "cpu")
        assert (found.streaming_student is not None) == streams


def test_a_recording_can_decide_which_hand_leads(checkpoint, sentences):
    """With the decision, the landmarks and their mirror image have the same log-probabilities."""
    recognizer = open_recognizer(checkpoint, None, "cpu")
    assert recognizer.recording_decides
    # Multiples of 1/1024: their mirror images are exact in float16, too
    landmarks = np.round(np.load(sorted(sentences.glob("*.npy"))[0]) * 1024) / 1024
    landmarks = landmarks.astype(np.float16)
    detected = np.ones((len(landmarks), 4), dtype=bool)
    mirrored = landmarks[:, MIRRORED]
    mirrored[..., 0] = 1 - mirrored[..., 0]
    found = {left: recognizer.log_probs(landmarks, detected, left) for left in (None, True, False)}
    assert not torch.allclose(found[True], found[False], atol=1e-3)
    assert any(torch.equal(found[None], found[left]) for left in (True, False))
    other = recognizer.log_probs(mirrored, detected, True)
    torch.testing.assert_close(other, found[False], atol=1e-3, rtol=0)


def test_models_that_decide_otherwise_take_no_decision(checkpoints, checkpoint, tmp_path):
    """A causal student never mirrors; an older checkpoint has the rule that it was trained with."""
    assert not open_recognizer(checkpoints["causal"], None, "cpu").recording_decides
    content = load_checkpoint(checkpoint)
    content = {key: value for key, value in content.items() if key != "format_version"}
    content["config"]["model"].pop("leading_hand")
    save_checkpoint(tmp_path / "older.pth", content)
    assert not open_recognizer(tmp_path / "older.pth", None, "cpu").recording_decides
