"""Exported ONNX files: their metadata, running them, and files that are refused."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from data.corpus import Corpus
from data.vocabulary import Vocabulary
from decoding.decoders import decoder_entry, read_decoder_entry
from decoding.language_model import train_language_model
from errors import DataError
from inference.model_export import export_model
from inference.onnx_model import ExportedModel, pack_decoder, unpack_decoder
from inference.requests import ExportRequest
from models.checkpoint import load_checkpoint, save_checkpoint


def test_the_metadata_of_a_file(checkpoints, exported, tiny_corpus):
    corpus, checkpoint = Corpus(tiny_corpus), load_checkpoint(checkpoints["causal"])
    file = ExportedModel(exported("causal"), threads=1)
    assert list(file.vocabulary) == checkpoint["vocabulary"]
    assert (file.fps, file.aspect_ratio, file.corpus) == (corpus.fps, corpus.aspect_ratio, "tiny")
    assert (file.kind, file.lookahead, file.simulated, file.composed) == (
        "student",
        11,
        False,
        False,
    )
    assert file.decoder == checkpoint["decoder"] and read_decoder_entry(file.decoder)
    assert file.facts["versions"]["torch"] == torch.__version__ and not file.facts["int8"]
    teacher = ExportedModel(exported("teacher"), threads=1)
    assert (teacher.kind, teacher.lookahead) == ("teacher", None)


def test_frame_rate_and_aspect_ratio_are_those_of_the_checkpoint(
    checkpoints, make_corpus, tmp_path
):
    """Other values than in all other tests: 50 frames/s and pictures of 3:2."""
    own = {"fps": 50.0, "aspect_ratio": 1.5}
    corpus = make_corpus(tmp_path / "own", {"train": ["SUN RAIN"], "dev": ["RAIN SUN"]}, **own)
    content = load_checkpoint(checkpoints["causal"])
    content.pop("format_version")
    entry = {
        **content["corpus"],
        **own,
        "path": str(corpus),
        "fingerprint": Corpus(corpus).fingerprint,
    }
    save_checkpoint(tmp_path / "c.pth", {**content, "corpus": entry})
    export_model(ExportRequest(checkpoint=tmp_path / "c.pth", output=tmp_path / "c.onnx"))
    exported = ExportedModel(tmp_path / "c.onnx", threads=1)
    assert {"fps": exported.fps, "aspect_ratio": exported.aspect_ratio} == own


def test_the_metadata_has_that_the_corpus_is_simulated(checkpoints, tmp_path):
    content = load_checkpoint(checkpoints["student"])
    content.pop("format_version")
    save_checkpoint(
        tmp_path / "s.pth", {**content, "corpus": {**content["corpus"], "simulated": True}}
    )
    export_model(ExportRequest(checkpoint=tmp_path / "s.pth", output=tmp_path / "s.onnx"))
    assert ExportedModel(tmp_path / "s.onnx", threads=1).simulated


def test_a_language_model_is_packed_and_unpacked():
    vocabulary = Vocabulary(["A", "B", "C", "D"])
    model = train_language_model([("A", "B"), ("A", "B", "C"), ("C", "A"), ("B",)], vocabulary)
    settings, _, _ = read_decoder_entry({"steps_per_gloss": 4.0, "lm_weight": 0.5})
    entry = decoder_entry(settings, model, "dev")
    text = json.dumps(pack_decoder(entry))
    back = unpack_decoder(json.loads(text), 5)
    for name in ("table", "unigram", "backoff"):
        assert torch.allclose(
            back["language_model"][name], entry["language_model"][name], atol=2e-5
        )
    assert read_decoder_entry(back)[0] == settings
    with pytest.raises(ValueError, match="not of 6 classes"):
        unpack_decoder(json.loads(text), 6)
    broken = json.loads(text)
    broken["language_model"]["bigrams"] = "%"
    with pytest.raises(ValueError, match="language model"):
        unpack_decoder(broken, 5)


def test_an_image_of_another_aspect_ratio_has_the_same_outputs(exported, tiny_corpus):
    """The same body in an image of twice the width: fractions of the width are halved."""
    file = ExportedModel(exported("student"), threads=1)
    landmarks, detected = (part[None] for part in Corpus(tiny_corpus).split("dev").read(0))
    wide = landmarks.astype(np.float32) * np.array([0.5, 1, 0.5], np.float32)
    lengths = np.array([landmarks.shape[1]])
    same, _ = file(wide, detected, lengths, aspect_ratio=2 * file.aspect_ratio)
    expected, _ = file(landmarks, detected, lengths)
    assert np.allclose(same, expected, atol=1e-4)
    assert not np.allclose(file(wide, detected, lengths)[0], expected, atol=1e-2)


def test_exported_files_are_no_checkpoints(exported):
    with pytest.raises(DataError, match=r"is an exported model: only transcribe\.py can use it"):
        load_checkpoint(exported("student"))
    with pytest.raises(DataError, match="is a TorchScript file"):
        load_checkpoint(exported("student", "torchscript"))
    with pytest.raises(DataError, match="is a folder: expected a file such as best_model"):
        load_checkpoint(exported("student").parent)


def changed(path: Path, target: Path, **facts) -> Path:
    graph = onnx.load(path)
    for entry in graph.metadata_props:
        if entry.key in facts:
            entry.value = facts[entry.key]
    onnx.save(graph, target)
    return target


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"format_version": "7"}, "format 7"),
        ({"layout": '"openpose"'}, "layout openpose"),
        ({"vocabulary": "{"}, "metadata cannot be read"),
        ({"vocabulary": "[1, 2]"}, "'vocabulary' of its metadata"),
        ({"fps": '"fast"'}, "'fps' of its metadata"),
        ({"decoder": '{"language_model": {"unigram": "AAAA"}}'}, "its metadata holds"),
    ],
)
def test_metadata_that_does_not_fit(exported, tmp_path, facts, message):
    with pytest.raises(DataError, match=message):
        ExportedModel(changed(exported("student"), tmp_path / "x.onnx", **facts), threads=1)


def test_files_that_are_no_exported_models(exported, tmp_path):
    other, file = tmp_path / "other.onnx", exported("student")
    with pytest.raises(DataError, match=r"other.onnx does not exist: expected an .onnx file"):
        ExportedModel(other)
    other.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(DataError, match=r"other.onnx is not a readable ONNX file"):
        ExportedModel(other)
    graph = onnx.load(file)
    del graph.metadata_props[:]
    onnx.save(graph, other)
    with pytest.raises(DataError, match=r"not one of export_model.py"):
        ExportedModel(other)
