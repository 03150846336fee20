"""Exported files have the outputs of torch, for inputs of any shape."""

import errno
import json
import math
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from data.corpus import Corpus
from data.features import body_coordinates, frame_mask
from data.handedness.leading_hand import left_hand_leads
from data.landmarks import MIRRORED
from errors import DataError, UsageError
from inference import model_export
from inference.model_export import LandmarkModel, _difference, export_model
from inference.model_on_corpus import open_model_on_corpus
from inference.onnx_model import ExportedModel
from inference.requests import EXPORT_ENDINGS, ExportRequest
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
    for index, own in opened.posteriors("dev"):
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


def test_the_difference_is_that_of_probabilities_and_little_of_logarithms():
    expected = torch.tensor([0.5, 0.5 - 1e-6, 1e-6]).log()
    shifted = torch.tensor([0.5002, 0.4998 - 1e-6, 1e-6]).log()
    assert _difference(expected, shifted) == pytest.approx(2e-4, rel=1e-2)
    rounded = expected + torch.tensor([0.0, 0.0, 0.005])  # of a class that is almost impossible
    assert _difference(expected, rounded) == pytest.approx(5e-5, rel=1e-2)
    assert _difference(expected, expected * math.nan) == math.inf


def test_torchscript_is_written_in_one_piece(checkpoints, tmp_path, monkeypatch):
    """torch's own writer ends the process on a full disk. A write that fails is one line."""

    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    request = ExportRequest(
        checkpoint=checkpoints["student"], output=tmp_path / "s.pt", format="torchscript"
    )
    with pytest.raises(DataError, match=r"cannot write .*s\.pt: No space left on device"):
        export_model(request)
    assert not list(tmp_path.iterdir())


def test_a_file_that_differs_from_torch_is_a_failed_check(
    checkpoints, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("inference.model_export.TOLERANCE", -1.0)
    for int8, agrees in ((False, False), (True, True)):  # int8 differs by intent
        file = tmp_path / f"{int8}.onnx"
        assert (
            export_model(ExportRequest(checkpoint=checkpoints["student"], output=file, int8=int8))
            == agrees
        )
        told = f"error: {file} differs from torch by " in capsys.readouterr().err
        assert told == (not agrees)


@pytest.mark.parametrize("int8", [False, True])
def test_values_that_are_not_numbers_are_a_failed_check(
    checkpoints, tmp_path, monkeypatch, int8, capsys
):
    monkeypatch.setattr(
        "inference.model_export._difference",
        lambda expected, found: _difference(expected, found * math.nan),
    )
    request = ExportRequest(
        checkpoint=checkpoints["student"], output=tmp_path / "x.onnx", int8=int8
    )
    assert not export_model(request)
    assert "predicts values that are not numbers: do not use it" in capsys.readouterr().err


@pytest.mark.parametrize("format", ["onnx", "torchscript"])
def test_a_checkpoint_that_diverged_is_refused(checkpoints, tmp_path, format):
    content = load_checkpoint(checkpoints["student"])
    content.pop("format_version")
    content["model"]["head.weight"] = content["model"]["head.weight"] * math.nan
    save_checkpoint(tmp_path / "s.pth", content)
    output = tmp_path / f"s{EXPORT_ENDINGS[format][0]}"
    request = ExportRequest(checkpoint=tmp_path / "s.pth", output=output, format=format)
    with pytest.raises(DataError, match="log-probabilities are not finite"):
        export_model(request)


def test_a_simulated_corpus_is_printed_as_simulated(checkpoints, tmp_path, capsys):
    content = load_checkpoint(checkpoints["student"])
    content.pop("format_version")
    save_checkpoint(
        tmp_path / "s.pth", {**content, "corpus": {**content["corpus"], "simulated": True}}
    )
    export_model(ExportRequest(checkpoint=tmp_path / "s.pth", output=tmp_path / "s.onnx"))
    assert (
        f"student trained on {content['corpus']['name']} (simulated signers)"
        in capsys.readouterr().out
    )


def changed(target: Path, source: Path, without: tuple[str, ...] = (), **corpus) -> Path:
    """A copy of a checkpoint with changes in its `corpus`, such as an older version wrote it."""
    content = load_checkpoint(source)
    content.pop("format_version")
    entry = {name: value for name, value in content["corpus"].items() if name not in without}
    save_checkpoint(target, {**content, "corpus": {**entry, **corpus}})
    return target


@pytest.fixture(scope="module")
def other_corpus(make_corpus, tmp_path_factory) -> Path:
    """The glosses of the tiny corpus, at another frame rate and aspect ratio."""
    path = tmp_path_factory.mktemp("corpora") / "other"
    annotations = {"train": ["HOUSE RAIN"], "dev": ["SUN WIND", "RAIN HOUSE"]}
    return make_corpus(path, annotations, fps=50, aspect_ratio=1.5)


def test_glosses_that_the_model_does_not_know_are_errors_of_both(
    checkpoints, exported, make_corpus, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(model_export, "_CHECKED", 2)
    corpus = make_corpus(tmp_path / "c", {"dev": ["NEW SUN NEW", "NEWER RAIN", "NEWEST"]})
    output, data_dir = tmp_path / "s.onnx", str(corpus)
    checkpoint = checkpoints["student"]
    assert export_model(ExportRequest(checkpoint=checkpoint, output=output, data_dir=data_dir))
    out = capsys.readouterr().out
    assert "note: 3 occurrences of 2 glosses outside the model's vocabulary, scored as" in out
    assert "greedy WER on the first 2 sentences of dev: " in out and "no WER" not in out


@pytest.mark.parametrize("format", ["onnx", "torchscript"])
def test_another_corpus_changes_nothing_in_the_file(
    checkpoints, exported, other_corpus, tmp_path, capsys, format
):
    request = ExportRequest(
        checkpoint=checkpoints["student"],
        output=tmp_path / f"s{EXPORT_ENDINGS[format][0]}",
        data_dir=str(other_corpus),
        format=format,
    )
    own = exported("student", format)
    capsys.readouterr()
    assert export_model(request)
    out = capsys.readouterr().out
    assert "the 2 sentences of dev of other: largest difference to torch" in out
    assert "no WER: the corpus has 50 frames/s and the model 25" in out
    if format == "onnx":
        files = [ExportedModel(path, threads=1) for path in (tmp_path / "s.onnx", own)]
        facts, given = files[0].facts, [tensor.numpy() for tensor in inputs(2, 9)]
        assert facts == files[1].facts
        assert np.array_equal(files[0](*given)[0], files[1](*given)[0])
    else:
        extra = {"metadata.json": ""}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            torch.jit.load(tmp_path / "s.pt", _extra_files=extra)
        facts = json.loads(extra["metadata.json"])
    assert (facts["fps"], facts["aspect_ratio"]) == (25, 0.8)


def test_recordings_of_another_aspect_ratio_are_converted(checkpoints, make_corpus, tmp_path):
    """A corpus of wide pictures: the model of its own aspect ratio is the reference."""
    model = landmark_model(checkpoints["student"])
    split = Corpus(make_corpus(tmp_path / "wide", {"dev": ["SUN"]}, aspect_ratio=1.6)).split("dev")
    landmarks, detected, lengths = map(torch.from_numpy, model_export._inputs(split, 0, 1.6 / 0.8))
    wide = LandmarkModel(model.model, 1.6)
    own = torch.from_numpy(split.read(0)[0].astype(np.float32))[None]
    with torch.inference_mode():
        expected, _ = wide(own, detected, lengths)
        found, _ = model(landmarks, detected, lengths)
    assert torch.allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("format", ["onnx", "torchscript"])
def test_without_a_corpus_made_up_recordings_are_compared(
    checkpoints, exported, tmp_path, capsys, monkeypatch, format
):
    gone = changed(tmp_path / "s.pth", checkpoints["student"], path="/gone")
    output = tmp_path / f"s{EXPORT_ENDINGS[format][0]}"
    request = ExportRequest(checkpoint=gone, output=output, format=format)
    assert export_model(request)
    out = capsys.readouterr().out
    assert "note: /gone, the corpus that the model was trained on, is not here" in out
    assert "4 made-up recordings: largest difference to torch" in out and "WER:" not in out
    if format == "onnx":
        own = ExportedModel(exported("student"), threads=1).facts
        facts = ExportedModel(output, threads=1).facts
        assert {**facts, "checkpoint_sha256": ""} == {**own, "checkpoint_sha256": ""}
        monkeypatch.setattr("inference.model_export.TOLERANCE", -1.0)
        assert not export_model(ExportRequest(checkpoint=gone, output=tmp_path / "t.onnx"))


def test_an_older_checkpoint_takes_the_rate_of_its_own_corpus_only(
    checkpoints, tiny_corpus, other_corpus, tmp_path
):
    older = ("fps", "aspect_ratio")
    here = changed(tmp_path / "here.pth", checkpoints["student"], older)
    gone = changed(tmp_path / "gone.pth", checkpoints["student"], older, path="/gone")
    for checkpoint, data_dir in ((here, None), (here, other_corpus), (gone, tiny_corpus)):
        output, where = tmp_path / f"{checkpoint.stem}.onnx", data_dir and str(data_dir)
        request = ExportRequest(
            checkpoint=checkpoint, output=output, data_dir=where, overwrite=True
        )
        assert export_model(request)
        file = ExportedModel(output, threads=1)
        assert (file.fps, file.aspect_ratio) == (25, 0.8)
    output = tmp_path / "x.onnx"
    for data_dir in (None, str(other_corpus)):
        with pytest.raises(DataError, match="give the corpus that it was trained on"):
            export_model(ExportRequest(checkpoint=gone, output=output, data_dir=data_dir))
    assert not output.exists()


def test_a_corpus_without_dev_is_refused_before_the_file_is_written(
    checkpoints, make_corpus, tmp_path
):
    corpus = make_corpus(tmp_path / "c", {"train": ["SUN"]})
    request = ExportRequest(
        checkpoint=checkpoints["student"], output=tmp_path / "x.onnx", data_dir=str(corpus)
    )
    with pytest.raises(DataError, match="no split 'dev'"):
        export_model(request)
    assert not (tmp_path / "x").exists()


def test_an_export_replaces_neither_the_checkpoint_nor_a_link(checkpoints, tmp_path):
    copy = changed(tmp_path / "s.pth", checkpoints["student"])
    (tmp_path / "link.pth").symlink_to(copy)
    before = copy.read_bytes()
    for name in ("s.pth", "link.pth"):
        request = ExportRequest(checkpoint=copy, output=tmp_path / name, overwrite=True)
        with pytest.raises(UsageError, match=rf"{name} is the checkpoint: choose another name"):
            export_model(request)
    assert copy.read_bytes() == before
    for name, format, ending in (("a", "onnx", ".onnx"), ("a.bin", "torchscript", ".pt or .ts")):
        request = ExportRequest(checkpoint=copy, output=tmp_path / name, format=format)
        with pytest.raises(UsageError, match=rf"expected a name that ends in \{ending}"):
            export_model(request)
    with pytest.raises(UsageError, match="/dev/null is a device"):
        export_model(ExportRequest(checkpoint=copy, output=Path("/dev/null")))
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "old.onnx").write_bytes(b"old")
    (tmp_path / "x.onnx").symlink_to(tmp_path / "disk" / "old.onnx")
    with pytest.raises(UsageError, match=r"x\.onnx already exists"):
        export_model(ExportRequest(checkpoint=copy, output=tmp_path / "x.onnx"))
    export_model(ExportRequest(checkpoint=copy, output=tmp_path / "x.onnx", overwrite=True))
    assert (tmp_path / "x.onnx").is_symlink()
    assert ExportedModel(tmp_path / "disk" / "old.onnx", threads=1).fps == 25


@pytest.mark.parametrize("format", ["onnx", "torchscript"])
@pytest.mark.parametrize(
    "name", ["last.pth", "previous.pth.sha256", "s.pth.sha256", "new.PTH", "link.onnx"]
)
def test_an_export_replaces_no_file_of_a_run(checkpoints, tmp_path, format, name):
    copy = changed(tmp_path / "s.pth", checkpoints["student"])
    for other in ("last.pth", "previous.pth.sha256"):
        (tmp_path / other).write_bytes(b"of the run")
    if name == "link.onnx":
        name = "link.onnx" if format == "onnx" else "link.pt"
        (tmp_path / name).symlink_to(tmp_path / "last.pth")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    request = ExportRequest(checkpoint=copy, output=tmp_path / name, format=format, overwrite=True)
    with pytest.raises(UsageError, match=r"ends like a checkpoint or its hash, .* model\.onnx"):
        export_model(request)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


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
