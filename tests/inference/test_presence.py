"""Where nobody is seen there is no gloss: in every way of transcribing, and in evaluations."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from data.corpus import Corpus
from data.corpus_writer import CorpusWriter
from errors import DataError
from inference.onnx_model import ExportedModel
from inference.posteriors import split_posteriors
from inference.presence import HELD_STEPS, blank_without_pose, steps_with_pose
from inference.recognizer import open_recognizer
from inference.recordings import Frame, Recording


def slow_steps_with_pose(pose: np.ndarray) -> list[bool]:
    """pose: bool (T,)."""
    steps = -(-len(pose) // 4)
    return [
        bool(pose[max(0, 4 * (step - HELD_STEPS)) : 4 * step + 4].any()) for step in range(steps)
    ]


def test_steps_with_pose_are_those_of_a_slow_reference():
    random = np.random.default_rng(0)
    for frames in (1, 2, 3, 4, 5, 23, 24, 25, 28, 29, 120):
        pose = random.random((3, frames)) < 0.03
        detected = np.zeros((3, frames, 4), bool)
        detected[..., 0] = pose
        detected[..., 2] = True  # hands alone are nobody
        assert steps_with_pose(torch.from_numpy(detected)).tolist() == [
            slow_steps_with_pose(row) for row in pose
        ]


def test_steps_without_pose_are_blank_and_the_others_unchanged():
    torch.manual_seed(0)
    log_probs = torch.randn(1, 20, 5).log_softmax(-1)
    detected = torch.ones(1, 80, 4, dtype=torch.bool)
    detected[:, 20:, 0] = False
    found = blank_without_pose(log_probs, detected)[0]
    seen = 5 + HELD_STEPS
    assert torch.equal(found[:seen], log_probs[0, :seen])
    assert found[seen:].argmax(-1).tolist() == [0] * (20 - seen)
    assert found.isfinite().all() and torch.allclose(found.exp().sum(-1), torch.ones(20))


@pytest.fixture(scope="module")
def recording(tiny_corpus) -> np.ndarray:
    """landmarks (T, 543, 3) of all dev sentences, one after the other."""
    split = Corpus(tiny_corpus).split("dev")
    return np.concatenate([split.read(index)[0] for index in range(len(split))])


WINDOWS = ["--whole", 1, "--window", 2.4, "--overlap", 2]


@pytest.mark.parametrize(
    ("name", "words", "hands"),
    [
        ("teacher", [], False),
        ("teacher", ["--online"], True),
        ("teacher", WINDOWS, False),
        ("causal", ["--online"], False),
        ("onnx", [], True),
    ],
)
def test_a_recording_of_nobody_is_an_error_and_has_no_transcript(
    run_transcribe, checkpoints, exported, recording, tmp_path, monkeypatch, name, words, hands
):
    """As a black video is: nothing is detected in its frames."""
    landmarks = recording.copy()
    landmarks[:, : 501 if hands else 543] = 0
    np.save(tmp_path / "x.npy", landmarks)
    model = exported("student") if name == "onnx" else checkpoints[name]
    monkeypatch.setattr("inference.recordings.check_image_coordinates", lambda *_: None)
    with pytest.raises(DataError) as error:
        run_transcribe(model, tmp_path / "x.npy", "--output", tmp_path / "x.txt", *words)
    assert str(error.value).startswith(
        f"{tmp_path / 'x.npy'}: no pose was detected in any of its {len(landmarks)} frames, so "
        "there is nothing to transcribe"
    )
    assert ("hands were detected in" in str(error.value)) == hands
    assert not (tmp_path / "x.txt").exists()


def test_nobody_in_one_of_several_recordings(
    run_transcribe, checkpoint, recording, tmp_path, capsys
):
    np.save(tmp_path / "a.npy", recording)
    np.save(tmp_path / "b.npy", np.zeros_like(recording))
    assert run_transcribe(checkpoint, tmp_path, "--format", "json", "--output", tmp_path) == 3
    assert json.loads((tmp_path / "a.json").read_text())["glosses"]
    assert not (tmp_path / "b.json").exists()
    err = capsys.readouterr().err
    assert f"failed: {tmp_path}/b.npy: has no detected pose" in err
    assert "1 of 2 recordings failed" in err


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("adaptive", ["--whole", 60]),
        ("adaptive", ["--online"]),
        ("adaptive", WINDOWS),
        ("causal", ["--online"]),
        ("onnx", ["--whole", 60]),
    ],
)
def test_there_is_no_gloss_while_nobody_is_there(
    run_transcribe, checkpoint, checkpoints, exported, recording, tmp_path, capsys, words, name
):
    """The signer comes after 5 s, signs, and leaves for 8 s."""
    before, after = 125, 200
    landmarks = np.pad(recording, ((before, after), (0, 0), (0, 0)))
    np.save(tmp_path / "x.npy", landmarks)
    model = {"adaptive": checkpoint, "onnx": exported("student")}.get(name, checkpoints["causal"])
    capsys.readouterr()
    assert run_transcribe(model, tmp_path / "x.npy", "--format", "json", *words) == 0
    captured = capsys.readouterr()
    row = json.loads(captured.out)
    if name != "onnx":  # that student is not trained and predicts nothing
        assert row["glosses"]
    first, last = before / 25, (before + len(recording)) / 25
    for gloss in row["glosses"]:
        assert first - 4 / 25 <= gloss["start"] and gloss["end"] <= last + (HELD_STEPS + 1) * 4 / 25
    share = 100 * len(recording) / len(landmarks)
    assert row["frames_with_pose"] == len(recording)
    assert f"a pose was detected in only {share:.0f} % of its frames" in captured.err


def test_hands_that_are_never_seen_are_a_warning_with_their_share(
    run_transcribe, checkpoint, recording, tmp_path, capsys
):
    landmarks = recording.copy()
    landmarks[:, 501:] = 0
    np.save(tmp_path / "x.npy", landmarks)
    assert run_transcribe(checkpoint, tmp_path / "x.npy") == 0
    assert "hands were detected in only 0 % of its frames" in capsys.readouterr().err


@pytest.mark.parametrize(("turns", "is_told"), [(0, False), (1, True), (2, True), (3, True)])
def test_a_turned_image_is_a_warning(
    run_transcribe, checkpoint, recording, tmp_path, capsys, turns, is_told
):
    landmarks = recording.copy()
    for _ in range(turns):  # by 90 degrees: (x, y) becomes (y, 1 - x)
        x, y = landmarks[..., 0].copy(), landmarks[..., 1].copy()
        there = (landmarks != 0).any(axis=-1)
        landmarks[..., 0] = np.where(there, y, 0)
        landmarks[..., 1] = np.where(there, 1 - x, 0)
    np.save(tmp_path / "x.npy", landmarks)
    assert run_transcribe(checkpoint, tmp_path / "x.npy") == 0
    told = "warning: x: the signer lies, or the image is turned" in capsys.readouterr().err
    assert told == is_told


def test_a_camera_that_sees_nobody(run_transcribe, checkpoint, tmp_path, monkeypatch):
    def frames():
        for number in range(60):
            yield Frame(number / 25, np.zeros((543, 3), np.float16), np.zeros(4, bool))
        raise KeyboardInterrupt

    monkeypatch.setattr(
        "inference.transcription.open_camera",
        lambda number, tracker: Recording(frames(), None, True, 0, 0.8),
    )
    with pytest.raises(DataError, match="camera 0: no pose was detected in any of its 60 frames"):
        run_transcribe(checkpoint, "--camera", 0, "--output", tmp_path / "x.txt")
    assert not (tmp_path / "x.txt").exists()


def test_a_streaming_student_equals_the_whole_recording(student_checkpoints, recording):
    from inference.streaming import StreamingStudent

    recognizer = open_recognizer(student_checkpoints["causal"], None, "cpu")
    landmarks = np.pad(recording, ((50, 90), (0, 0), (0, 0)))
    detected = np.ones((len(landmarks), 4), bool)
    detected[:50] = detected[-90:] = detected[80:120] = False
    whole = recognizer.log_probs(landmarks, detected)
    stream = StreamingStudent(recognizer.streaming_student, recognizer.aspect_ratio)
    pushed = [
        stream.push(landmarks[n : n + 7], detected[n : n + 7]) for n in range(0, len(landmarks), 7)
    ]
    found = torch.cat([*pushed, stream.finish()])
    assert (whole[:, 0] == 0).sum() > 20
    assert torch.allclose(found, whole, atol=1e-4)


def test_an_exported_file_has_the_blank_itself(exported, recording):
    file = ExportedModel(exported("student"), threads=1)
    detected = np.zeros((1, len(recording), 4), bool)
    log_probs, _ = file(recording[None], detected, np.array([len(recording)]))
    assert (log_probs.argmax(-1) == 0).all() and (log_probs[..., 0] == 0).all()


@pytest.fixture(scope="module")
def with_gaps(tiny_corpus, tmp_path_factory) -> Path:
    """The tiny corpus, with nobody in the dev sentence 1 and no hands in the dev sentence 2; in its
    test split nobody is anywhere."""
    source, path = Corpus(tiny_corpus), tmp_path_factory.mktemp("corpora") / "gaps"
    with CorpusWriter(path, name="gaps", fps=25, aspect_ratio=0.8, made_by={}) as writer:
        for split, origin in (("train", "train"), ("dev", "dev"), ("test", "dev")):
            for index, sentence in enumerate(source.split(origin).sentences):
                landmarks, detected = source.split(origin).read(index)
                detected = np.array(detected)
                if split == "test" or (split == "dev" and index == 1):
                    detected[:] = False
                if split == "dev" and index == 2:
                    detected[:, 2:] = False
                words = (sentence.signer, " ".join(sentence.glosses))
                writer.split(split).add(f"{split}-{index}", *words, landmarks, detected)
    return path


@pytest.mark.parametrize("decoder", ["greedy", "beam", "adaptive"])
def test_a_sentence_of_nobody_has_an_empty_hypothesis(
    run_evaluate, checkpoint, with_gaps, tmp_path, capsys, decoder
):
    result = run_evaluate(
        checkpoint, tmp_path / "out", "--data_dir", with_gaps, "--decoder", decoder
    )
    out = capsys.readouterr().out
    rows = (tmp_path / "out" / "hypotheses.csv").read_text().splitlines()[1:]
    hypotheses = [row.split("|")[3] for row in rows]
    assert hypotheses[0] and not hypotheses[1] and hypotheses[3]
    assert result["sentences_without_pose"] == ["dev-1"]
    assert "warning: no pose was detected in 1 of 4 dev sentences (dev-1): they get no gloss" in out
    assert "warning: no hand was detected in 1 of 4 dev sentences (dev-2)" in out


def test_a_split_of_nobody_cannot_be_evaluated(run_evaluate, checkpoint, with_gaps, tmp_path):
    with pytest.raises(DataError, match="no pose was detected in any sentence of the test split"):
        run_evaluate(checkpoint, tmp_path / "out", "--data_dir", with_gaps, "--split", "test")
    assert not (tmp_path / "out").exists()


def test_dev_during_training_has_the_hypotheses_of_the_evaluation(checkpoint, with_gaps):
    from data.pipeline import FeaturePipeline
    from decoding.greedy import greedy_decode
    from inference.model_on_corpus import open_model_on_corpus
    from models.devices import Precision
    from training.config import TrainingConfig
    from training.losses import make_loss
    from training.validation import validate

    opened = open_model_on_corpus(checkpoint, str(with_gaps), "cpu")
    pipeline, precision = FeaturePipeline(0.8, opened.device), Precision("fp32", opened.device)
    prepared, loss = opened.prepared("dev"), make_loss(TrainingConfig())
    found = validate(opened.model, pipeline, prepared, opened.vocabulary, loss, precision)
    posteriors = dict(split_posteriors(opened.model, pipeline, prepared.split, precision))
    expected = [
        opened.vocabulary.decode(greedy_decode(one[None], torch.tensor([len(one)]))[0])
        for one in map(posteriors.get, range(len(posteriors)))
    ]
    assert found.hypotheses == expected and expected[1] == [] and expected[0]
    assert found.loss < 100  # the loss is of the model's own outputs
