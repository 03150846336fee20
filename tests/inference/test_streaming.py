"""A causal student frame by frame: the outputs of the whole sentence, with the promised delay."""

import numpy as np
import pytest
import torch

from data.features import body_coordinates, compute_features
from data.keyed_random import generator
from data.landmarks import LEFT_SHOULDER, RIGHT_SHOULDER
from inference.streaming import RunningBody, StreamingStudent
from models.prediction import JoinedHeads, log_prior_of
from models.student import Student
from models.student_config import StudentModelConfig

ASPECT = 0.8


@pytest.fixture(scope="module")
def model() -> Student:
    torch.manual_seed(0)
    sizes = {
        "pose_width": 8,
        "face_width": 4,
        "hand_width": 8,
        "widths": (12, 16, 20),
        "conformer_width": 8,
        "lstm_hidden": 8,
    }
    model = Student(StudentModelConfig(causal=True, **sizes), 6)
    model.set_statistics(torch.zeros(6516), torch.full((6516,), 0.3))
    model.prediction.use(JoinedHeads(0.4, 0.5), log_prior_of(torch.tensor([0, 9, 1, 3, 4, 20])))
    for _ in range(3):
        model.train()(torch.randn(3, 40, 6516), torch.tensor([40, 31, 22]))
    return model.eval()


@pytest.fixture(scope="module")
def sentence(make_sentence):
    """landmarks (T, 543, 3), detected (T, 4): the body appears late, and parts get lost."""
    landmarks, detected = make_sentence(
        ["HOUSE", "RAIN", "SUN", "WIND", "RAIN", "HOUSE", "SUN"], generator("stream")
    )
    detected[:3] = False
    detected[40:44, 0] = False
    detected[10:25, 3] = False
    return torch.from_numpy(landmarks), torch.from_numpy(detected)


def whole(model: Student, landmarks, detected) -> torch.Tensor:
    lengths = torch.tensor([len(landmarks)])
    with torch.inference_mode():
        features = compute_features(landmarks[None], detected[None], lengths, ASPECT, causal=True)
        return model.predict(model(features, lengths, detected[None]))[0]


def test_the_running_body_is_that_of_the_whole_sentence(sentence):
    landmarks, detected = sentence
    running = RunningBody(ASPECT)
    one_by_one = [
        running(*frame) for frame in zip(landmarks.numpy(), detected.numpy(), strict=True)
    ]
    one_by_one = torch.from_numpy(np.stack(one_by_one))
    at_once = body_coordinates(
        landmarks[None], detected[None], torch.tensor([len(landmarks)]), ASPECT, causal=True
    )[0]
    assert torch.allclose(one_by_one, at_once, atol=1e-5)


def test_shoulders_at_one_place_do_not_blow_up_the_body(sentence):
    """A signer in profile: the unit is at least MIN_SHOULDER_WIDTH, also frame by frame."""
    landmarks, detected = (part.clone() for part in sentence)
    landmarks[:, LEFT_SHOULDER] = landmarks[:, RIGHT_SHOULDER]
    running = RunningBody(ASPECT)
    frames = [running(*frame) for frame in zip(landmarks.numpy(), detected.numpy(), strict=True)]
    at_once = body_coordinates(
        landmarks[None], detected[None], torch.tensor([len(landmarks)]), ASPECT, causal=True
    )[0]
    torch.testing.assert_close(torch.from_numpy(np.stack(frames)), at_once, atol=1e-3, rtol=1e-4)


def test_causal_features_look_ahead_one_frame_at_most(sentence):
    landmarks, detected = (part[None] for part in sentence)
    frames = landmarks.shape[1]
    expected = compute_features(landmarks, detected, torch.tensor([frames]), ASPECT, causal=True)
    for cut in (8, 23, 38):
        lengths = torch.tensor([cut])
        seen = compute_features(landmarks[:, :cut], detected[:, :cut], lengths, ASPECT, causal=True)
        assert torch.allclose(seen[:, : cut - 1], expected[:, : cut - 1], atol=1e-5)
        changed = (seen[:, cut - 1] - expected[:, cut - 1]).abs().max()
        assert changed > 1e-3, "the last frame's derivatives do look one frame ahead"


@pytest.mark.parametrize("chunk", [1, 4, 7, 1000])
def test_a_stream_has_the_outputs_of_the_whole_sentence(model, sentence, chunk):
    landmarks, detected = sentence
    stream = StreamingStudent(model, ASPECT)
    cuts = range(chunk, len(landmarks), chunk)
    chunks = zip(*(np.split(each.numpy(), cuts) for each in sentence), strict=True)
    parts = [stream.push(*part) for part in chunks]
    kept = [each.shape[2] for block in stream._state.blocks for each in block]
    assert stream.frames_held == 2 and max(kept) <= 6, "only what later steps need is kept"
    found = torch.cat([*parts, stream.finish()])
    assert torch.allclose(found, whole(model, landmarks, detected), atol=1e-4)


def test_a_step_is_final_when_its_lookahead_has_passed(model, sentence):
    landmarks, detected = sentence
    stream, out = StreamingStudent(model, ASPECT), 0
    for frame in range(len(landmarks)):
        out += len(
            stream.push(landmarks[frame : frame + 1].numpy(), detected[frame : frame + 1].numpy())
        )
        assert out == max((frame - model.lookahead) // 4 + 1, 0)


def test_later_frames_do_not_change_a_step(model, sentence):
    """From landmarks to log-probabilities: frames after the lookahead change nothing. The last one
    within it does, by its gradient: the change itself can be lost in rounding."""
    torch.manual_seed(0)
    landmarks, detected = sentence
    lengths = torch.tensor([len(landmarks)])
    expected = whole(model, landmarks, detected)
    for step in (2, 7):
        known = 4 * step + model.lookahead + 1
        other, lost = landmarks.clone(), detected.clone()
        other[known:] = torch.rand_like(other[known:])
        lost[known:] = ~lost[known:]
        assert torch.allclose(
            whole(model, other, lost)[: step + 1], expected[: step + 1], atol=1e-5
        )
        varied = landmarks[None].clone().requires_grad_()
        features = compute_features(varied, detected[None], lengths, ASPECT, causal=True)
        model(features, lengths, detected[None]).log_probs[0, step, 1].backward()
        reach = varied.grad[0].abs().sum((1, 2)).nonzero()
        assert reach.max() == known - 1


def test_an_empty_stream(model):
    stream = StreamingStudent(model, ASPECT)
    assert stream.finish().shape == (0, 6)
    assert stream.push(np.zeros((0, 543, 3)), np.zeros((0, 4), dtype=bool)).shape == (0, 6)


def test_ctrl_c_in_the_middle_of_a_frame_leaves_a_stream_that_can_be_finished(
    model, sentence, monkeypatch
):
    landmarks, detected = (part.numpy() for part in sentence)
    stream = StreamingStudent(model, ASPECT)
    found = [stream.push(landmarks[:30], detected[:30])]

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(model, "forward_chunk", interrupted)
        with pytest.raises(KeyboardInterrupt):
            stream.push(landmarks[30:31], detected[30:31])
    found.append(stream.finish())
    expected = whole(model, *(part[:30] for part in sentence))
    assert torch.allclose(torch.cat(found), expected, atol=1e-4)
