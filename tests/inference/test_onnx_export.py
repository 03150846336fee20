"""Exported files say what torch says, whatever is put in, and know what they are."""

import json
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from data.corpus import Corpus
from data.features import body_coordinates, left_hand_leads
from data.landmarks import MIRRORED
from data.vocabulary import Vocabulary
from decoding.decoders import decoder_entry, read_decoder_entry
from decoding.language_model import train_language_model
from distillation.config import StudentConfig
from errors import DataError, UsageError
from inference.onnx_export import LandmarkModel, OnnxExportRequest, export_model
from inference.onnx_model import ExportedModel, read_decoder, write_decoder
from inference.opened_checkpoint import open_checkpoint_on_corpus
from inference.recognizer import open_recognizer
from models.checkpoint import load_checkpoint, save_checkpoint
from models.student import Student


@pytest.fixture(scope="module")
def checkpoints(finished_run, tiny_corpus, tmp_path_factory) -> dict[str, Path]:
    """A teacher's, a student's and a causal student's checkpoint on the tiny corpus. Read them
    only."""
    folder = tmp_path_factory.mktemp("checkpoints")
    found = {"teacher": finished_run / "best_model.pth"}
    content = load_checkpoint(found["teacher"])
    content.pop("format_version")
    statistics = {name: content["model"][name] for name in ("feature_mean", "feature_std")}
    for name, causal in (("student", False), ("causal", True)):
        sizes = {
            "pose_width": 8,
            "face_width": 4,
            "hand_width": 8,
            "widths": [12, 16, 20],
            "conformer_width": 8,
            "lstm_hidden": 8,
        }
        config = StudentConfig().updated({"model": {**sizes, "causal": causal}})
        torch.manual_seed(0)
        model = Student(config.model, len(content["vocabulary"]) + 1)
        model.load_state_dict(statistics, strict=False)
        model.train()(torch.randn(3, 40, 6516), torch.tensor([40, 31, 22]))
        found[name] = folder / f"{name}.pth"
        save_checkpoint(
            found[name],
            {**content, "kind": "student", "model": model.state_dict(), "config": config.to_dict()},
        )
    return found


@pytest.fixture(scope="module")
def exported(checkpoints, tmp_path_factory):
    """exported(name, format, int8) -> file, made once."""
    folder, made = tmp_path_factory.mktemp("exported"), {}

    def make(name: str, format: str = "onnx", int8: bool = False) -> Path:
        if (name, format, int8) not in made:
            made[name, format, int8] = folder / f"{name}.{int8}.{format}"
            assert export_model(
                OnnxExportRequest(checkpoints[name], format, made[name, format, int8], int8, None)
            )
        return made[name, format, int8]

    return make


def whole(path: Path) -> LandmarkModel:
    judged = open_checkpoint_on_corpus(path, None, "cpu")
    return LandmarkModel(judged.model, judged.corpus.aspect_ratio).eval()


def inputs(
    batch: int, frames: int, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Landmarks with gaps, with a sentence in which nothing is seen, padded with anything."""
    random = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, frames + 1, (batch,), generator=random)
    lengths[0] = frames
    detected = torch.rand(batch, frames, 4, generator=random) > 0.4
    detected[batch - 1] = detected[batch - 1] & (batch == 1)
    return torch.rand(batch, frames, 543, 3, generator=random), detected, lengths


@pytest.mark.parametrize("name", ["teacher", "student", "causal"])
def test_onnx_says_what_torch_says_for_any_batch_and_time(checkpoints, exported, name):
    model, file = whole(checkpoints[name]), ExportedModel(exported(name), threads=1)
    left = []
    for seed, (batch, frames) in enumerate([(1, 1), (1, 2), (2, 9), (3, 40), (5, 7), (1, 133)]):
        given = inputs(batch, frames, seed)
        left += left_hand_leads(body_coordinates(*given, model.aspect_ratio), given[2]).tolist()
        with torch.inference_mode():
            log_probs, steps = model(*given)
        found, found_steps = file(*(tensor.numpy() for tensor in given))
        assert found.dtype == np.float32 and found.shape == (batch, -(-frames // 4), 6)
        assert found_steps.tolist() == steps.tolist()
        inside = np.arange(found.shape[1]) < found_steps[:, None]
        assert np.abs(found - log_probs.numpy())[inside].max() < 1e-4
    assert any(left) and not all(left), "sentences of both hands were among them"


@pytest.mark.parametrize("name", ["teacher", "student"])
def test_torchscript_says_what_torch_says(checkpoints, exported, name):
    extra = {"metadata.json": ""}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        file = torch.jit.load(exported(name, "torchscript"), _extra_files=extra)
    model = whole(checkpoints[name])
    left = []
    for batch, frames in ((1, 1), (2, 9), (3, 40), (5, 7), (1, 133)):
        given = inputs(batch, frames, seed=4)
        left += left_hand_leads(body_coordinates(*given, model.aspect_ratio), given[2]).tolist()
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


def test_it_says_what_evaluate_sees(checkpoints, exported, tiny_corpus):
    """From the corpus's own float16 landmarks, against the posteriors that evaluate.py scores."""
    judged = open_checkpoint_on_corpus(checkpoints["student"], None, "cpu")
    split, file = Corpus(tiny_corpus).split("dev"), ExportedModel(exported("student"), threads=1)
    for index, own in enumerate(judged.posteriors("dev")):
        landmarks, detected = split.read(index)
        found, _ = file(landmarks[None], detected[None], np.array([len(landmarks)]))
        assert np.abs(found[0] - own.numpy()).max() < 1e-4


def test_another_aspect_ratio_is_another_image_of_the_same_body(exported, tiny_corpus):
    """The same body in an image of twice the width: fractions of the width are halved."""
    file = ExportedModel(exported("student"), threads=1)
    landmarks, detected = (part[None] for part in Corpus(tiny_corpus).split("dev").read(0))
    wide = landmarks.astype(np.float32) * np.array([0.5, 1, 0.5], np.float32)
    lengths = np.array([landmarks.shape[1]])
    same, _ = file(wide, detected, lengths, aspect_ratio=2 * file.aspect_ratio)
    expected, _ = file(landmarks, detected, lengths)
    assert np.allclose(same, expected, atol=1e-4)
    assert not np.allclose(file(wide, detected, lengths)[0], expected, atol=1e-2)


def test_what_the_file_knows(checkpoints, exported, tiny_corpus):
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


def test_a_simulated_corpus_is_said_to_be(checkpoints, tmp_path):
    content = load_checkpoint(checkpoints["student"])
    content.pop("format_version")
    save_checkpoint(
        tmp_path / "s.pth", {**content, "corpus": {**content["corpus"], "simulated": True}}
    )
    export_model(OnnxExportRequest(tmp_path / "s.pth", "onnx", tmp_path / "s.onnx", False, None))
    assert ExportedModel(tmp_path / "s.onnx", threads=1).simulated


def test_a_language_model_travels():
    vocabulary = Vocabulary(["A", "B", "C", "D"])
    model = train_language_model([("A", "B"), ("A", "B", "C"), ("C", "A"), ("B",)], vocabulary)
    settings, _, _ = read_decoder_entry({"steps_per_gloss": 4.0, "lm_weight": 0.5})
    entry = decoder_entry(settings, model, "dev")
    text = json.dumps(write_decoder(entry))
    back = read_decoder(json.loads(text), 5)
    for name in ("table", "unigram", "backoff"):
        assert torch.allclose(
            back["language_model"][name], entry["language_model"][name], atol=2e-5
        )
    assert read_decoder_entry(back)[0] == settings
    with pytest.raises(ValueError, match="not of 6 classes"):
        read_decoder(json.loads(text), 6)
    broken = json.loads(text)
    broken["language_model"]["bigrams"] = "%"
    with pytest.raises(ValueError, match="language model"):
        read_decoder(broken, 5)


def test_int8_is_smaller_and_says_what_it_costs(checkpoints, exported, capsys):
    file = exported("student", int8=True)
    said = capsys.readouterr().out
    assert "as int8" in said
    floats, whole_floats = (
        sum(
            np.prod(t.dims)
            for t in onnx.load(path).graph.initializer
            if t.data_type == onnx.TensorProto.FLOAT
        )
        for path in (file, exported("student"))
    )
    # The statistics (6516 each) stay; of the weights a few scales and vectors do.
    assert floats - 2 * 6516 < 0.25 * (whole_floats - 2 * 6516)
    assert ExportedModel(file, threads=1).facts["int8"]


@pytest.mark.parametrize("name", ["teacher", "student", "causal"])
def test_transcription_reads_the_file_like_the_checkpoint(checkpoints, exported, tiny_corpus, name):
    split = Corpus(tiny_corpus).split("dev")
    own, other = (
        open_recognizer(path, None, "cpu") for path in (checkpoints[name], exported(name))
    )
    for index in range(len(split)):
        one, two = (each.read(*split.read(index), 25) for each in (own, other))
        assert [(g.gloss, g.start, g.end) for g in one] == [(g.gloss, g.start, g.end) for g in two]
        assert [g.confidence for g in one] == pytest.approx([g.confidence for g in two], abs=1e-4)
    for fact in ("fps", "aspect_ratio", "corpus", "simulated", "decoder_description"):
        assert getattr(own, fact) == getattr(other, fact)


@pytest.mark.parametrize("name", ["teacher", "student"])
def test_a_mirrored_recording_is_read_like_the_recording_by_the_file_too(
    exported, tiny_corpus, name
):
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
        bodies = [
            body_coordinates(*map(torch.from_numpy, (*one, lengths)), file.aspect_ratio)
            for one in (given, other)
        ]
        # In others both hands do about as much
        if left_hand_leads(bodies[1], torch.from_numpy(lengths)).item():
            assert np.abs(file(*given, lengths)[0] - file(*other, lengths)[0]).max() < 1e-3
            compared += 1
    assert compared


def test_a_file_runs_on_the_cpu_and_says_so(exported):
    with pytest.raises(UsageError, match=r"--device cuda:0: .*student.* runs on the CPU"):
        open_recognizer(exported("student"), None, "cuda:0")


def test_a_file_that_differs_from_torch_is_a_failed_check(checkpoints, tmp_path, monkeypatch):
    monkeypatch.setattr("inference.onnx_export.TOLERANCE", -1.0)
    for int8, agrees in ((False, False), (True, True)):  # int8 differs by intent
        file = tmp_path / f"{int8}.onnx"
        assert (
            export_model(OnnxExportRequest(checkpoints["student"], "onnx", file, int8, None))
            == agrees
        )


def test_exported_files_are_no_checkpoints(exported):
    with pytest.raises(DataError, match=r"is an exported model: only transcribe\.py can use it"):
        load_checkpoint(exported("student"))
    with pytest.raises(DataError, match="is a TorchScript file"):
        load_checkpoint(exported("student", "torchscript"))
    with pytest.raises(DataError, match="is a folder: expected a file such as best_model"):
        load_checkpoint(exported("student").parent)


def test_what_is_printed_of_a_simulated_corpus_says_so(checkpoints, tmp_path, capsys):
    content = load_checkpoint(checkpoints["student"])
    content.pop("format_version")
    save_checkpoint(
        tmp_path / "s.pth", {**content, "corpus": {**content["corpus"], "simulated": True}}
    )
    export_model(OnnxExportRequest(tmp_path / "s.pth", "onnx", tmp_path / "s.onnx", False, None))
    assert (
        f"student trained on {content['corpus']['name']} (simulated signers)"
        in capsys.readouterr().out
    )


# ---------------------------------------------------------------- refused


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
    with pytest.raises(DataError, match=r"other.onnx does not exist"):
        ExportedModel(other)
    other.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(DataError, match=r"other.onnx is not a readable ONNX file"):
        ExportedModel(other)
    graph = onnx.load(file)
    del graph.metadata_props[:]
    onnx.save(graph, other)
    with pytest.raises(DataError, match=r"not one of export_model.py"):
        ExportedModel(other)


def test_a_corpus_that_is_gone(checkpoints, tmp_path):
    content = load_checkpoint(checkpoints["student"])
    content.pop("format_version")
    save_checkpoint(
        tmp_path / "s.pth", {**content, "corpus": {**content["corpus"], "path": "/gone"}}
    )
    with pytest.raises(DataError, match="/gone, which does not exist here"):
        export_model(
            OnnxExportRequest(tmp_path / "s.pth", "onnx", tmp_path / "s.onnx", False, None)
        )
    assert not (tmp_path / "s.onnx").exists()


def test_the_unit_is_the_median_of_the_seen_frames():
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
