"""Exported files have the outputs of torch, for inputs of any shape."""

import json
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from data.corpus import Corpus
from data.features import body_coordinates, frame_mask
from data.landmarks import MIRRORED
from data.leading_hand import left_hand_leads
from errors import DataError
from inference.model_on_corpus import open_model_on_corpus
from inference.onnx_export import LandmarkModel, export_model
from inference.onnx_model import ExportedModel
from inference.requests import OnnxExportRequest
from models.checkpoint import load_checkpoint, save_checkpoint


def landmark_model(path: Path) -> LandmarkModel:
    opened = open_model_on_corpus(path, None, "cpu")
    return LandmarkModel(opened.model, opened.corpus.aspect_ratio).eval()


def inputs(
    batch: int, frames: int, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Landmarks with gaps, detected, and lengths; nothing is detected in the last sentence."""
    random = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, frames + 1, (batch,), generator=random)
    lengths[0] = frames
    detected = torch.rand(batch, frames, 4, generator=random) > 0.4
    detected[batch - 1] = detected[batch - 1] & (batch == 1)
    return torch.rand(batch, frames, 543, 3, generator=random), detected, lengths


def left_hands(
    landmarks: torch.Tensor, detected: torch.Tensor, lengths: torch.Tensor, aspect_ratio: float
) -> list[bool]:
    """Whether the left hand leads in each sentence."""
    body = body_coordinates(landmarks, detected, lengths, aspect_ratio)
    return left_hand_leads(body, detected, frame_mask(lengths, body.shape[1])).tolist()


@pytest.mark.parametrize("name", ["teacher", "student", "causal"])
def test_onnx_outputs_are_those_of_torch_for_any_batch_and_length(checkpoints, exported, name):
    model, file = landmark_model(checkpoints[name]), ExportedModel(exported(name), threads=1)
    left = []
    for seed, (batch, frames) in enumerate([(1, 1), (1, 2), (2, 9), (3, 40), (5, 7), (1, 133)]):
        given = inputs(batch, frames, seed)
        left += left_hands(*given, model.aspect_ratio)
        with torch.inference_mode():
            log_probs, steps = model(*given)
        found, found_steps = file(*(tensor.numpy() for tensor in given))
        assert found.dtype == np.float32 and found.shape == (batch, -(-frames // 4), 6)
        assert found_steps.tolist() == steps.tolist()
        inside = np.arange(found.shape[1]) < found_steps[:, None]
        assert np.abs(found - log_probs.numpy())[inside].max() < 1e-4
    assert any(left) and not all(left), "sentences of both hands were among them"


@pytest.mark.parametrize("name", ["teacher", "student"])
def test_torchscript_outputs_are_those_of_torch(checkpoints, exported, name):
    extra = {"metadata.json": ""}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        file = torch.jit.load(exported(name, "torchscript"), _extra_files=extra)
    model = landmark_model(checkpoints[name])
    left = []
    for batch, frames in ((1, 1), (2, 9), (3, 40), (5, 7), (1, 133)):
        given = inputs(batch, frames, seed=4)
        left += left_hands(*given, model.aspect_ratio)
        with torch.inference_mode():
            log_probs, steps = model(*given)
            found, found_steps = file(*given)
        inside = torch.arange(found.shape[1]) < steps[:, None]
        assert torch.equal(found_steps, steps)
        assert torch.allclose(found[inside], log_probs[inside], atol=1e-5)
    assert any(left) and not all(left), "sentences of both hands were among them"
    assert (
        json.loads(extra["metadata.json"])["vocabulary"]
        == load_checkpoint(checkpoints[name])["vocabulary"]
    )


def test_onnx_outputs_are_the_posteriors_that_evaluate_scores(checkpoints, exported, tiny_corpus):
    """From the corpus's own float16 landmarks, against the posteriors that evaluate.py scores."""
    opened = open_model_on_corpus(checkpoints["student"], None, "cpu")
    split, file = Corpus(tiny_corpus).split("dev"), ExportedModel(exported("student"), threads=1)
    for index, own in enumerate(opened.posteriors("dev")):
        landmarks, detected = split.read(index)
        found, _ = file(landmarks[None], detected[None], np.array([len(landmarks)]))
        assert np.abs(found[0] - own.numpy()).max() < 1e-4


@pytest.mark.parametrize("name", ["teacher", "student"])
def test_a_mirrored_recording_has_the_outputs_of_the_recording(exported, tiny_corpus, name):
    """A mirrored camera: x counts from the other side, left and right have changed places."""
    file = ExportedModel(exported(name), threads=1)
    split, compared = Corpus(tiny_corpus).split("train"), 0
    for index in range(len(split)):
        landmarks, detected = (np.array(part) for part in split.read(index))
        mirrored = landmarks.astype(np.float32)[:, MIRRORED]
        mirrored[..., 0] = 1 - mirrored[..., 0]
        seen = detected[:, [0, 1, 3, 2]]
        given, other = (landmarks[None], detected[None]), (mirrored[None], seen[None])
        lengths = np.array([len(landmarks)])
        # In others both hands do about as much
        tensors = map(torch.from_numpy, (*other, lengths))
        if left_hands(*tensors, file.aspect_ratio) == [True]:
            assert np.abs(file(*given, lengths)[0] - file(*other, lengths)[0]).max() < 1e-3
            compared += 1
    assert compared


def test_int8_is_smaller_and_its_cost_is_printed(checkpoints, exported, capsys):
    file = exported("student", int8=True)
    said = capsys.readouterr().out
    assert "as int8" in said
    floats, all_floats = (
        sum(
            np.prod(t.dims)
            for t in onnx.load(path).graph.initializer
            if t.data_type == onnx.TensorProto.FLOAT
        )
        for path in (file, exported("student"))
    )
    # The statistics (6516 each) stay; of the weights a few scales and vectors do.
    assert floats - 2 * 6516 < 0.25 * (all_floats - 2 * 6516)
    assert ExportedModel(file, threads=1).facts["int8"]


def test_a_file_that_differs_from_torch_is_a_failed_check(checkpoints, tmp_path, monkeypatch):
    monkeypatch.setattr("inference.onnx_export.TOLERANCE", -1.0)
    for int8, agrees in ((False, False), (True, True)):  # int8 differs by intent
        file = tmp_path / f"{int8}.onnx"
        assert (
            export_model(
                OnnxExportRequest(checkpoint=checkpoints["student"], output=file, int8=int8)
            )
            == agrees
        )


def test_a_simulated_corpus_is_printed_as_simulated(checkpoints, tmp_path, capsys):
    content = load_checkpoint(checkpoints["student"])
    content.pop("format_version")
    save_checkpoint(
        tmp_path / "s.pth", {**content, "corpus": {**content["corpus"], "simulated": True}}
    )
    export_model(OnnxExportRequest(checkpoint=tmp_path / "s.pth", output=tmp_path / "s.onnx"))
    assert (
        f"student trained on {content['corpus']['name']} (simulated signers)"
        in capsys.readouterr().out
    )


def test_a_missing_corpus(checkpoints, tmp_path):
    content = load_checkpoint(checkpoints["student"])
    content.pop("format_version")
    save_checkpoint(
        tmp_path / "s.pth", {**content, "corpus": {**content["corpus"], "path": "/gone"}}
    )
    with pytest.raises(DataError, match="/gone, which does not exist here"):
        export_model(OnnxExportRequest(checkpoint=tmp_path / "s.pth", output=tmp_path / "s.onnx"))
    assert not (tmp_path / "s.onnx").exists()


def test_the_unit_is_the_median_of_the_detected_frames():
    """The export needs a median by sorting; torch's own nanmedian is the reference."""
    landmarks, detected, lengths = inputs(4, 9)
    body = body_coordinates(landmarks, detected, lengths, 1.0)
    for row in range(3):
        seen = detected[row, : lengths[row], 0]
        if not seen.any():
            continue
        points = landmarks[row, : lengths[row]][seen]
        unit = (points[:, 11] - points[:, 12])[:, :2].norm(dim=-1).median()
        wide = (body[row, : lengths[row], 11] - body[row, : lengths[row], 12])[seen][:, :2].norm(
            dim=-1
        )
        expected = (points[:, 11] - points[:, 12])[:, :2].norm(dim=-1) / unit.clamp(min=0.02)
        assert torch.allclose(wide, expected, atol=1e-4)
