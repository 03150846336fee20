import pytest
import torch
from torch import nn

from models.config import ModelConfig
from models.i3d_teacher import I3DTeacher, count_parameters
from models.student import KERNEL, InvertedResidual, Student
from models.student_config import StudentModelConfig

SMALL = {
    "pose_width": 8,
    "face_width": 4,
    "hand_width": 8,
    "widths": (12, 16, 20),
    "conformer_width": 8,
    "lstm_hidden": 8,
}


def small(causal: bool = False, classes: int = 6) -> Student:
    """A student in evaluation. The running statistics of its batch norms are not the initial
    ones."""
    torch.manual_seed(0)
    model = Student(StudentModelConfig(causal=causal, **SMALL), classes)
    for _ in range(3):
        model.train()(torch.randn(3, 40, 6516), torch.tensor([40, 31, 22]))
    return model.eval()


@pytest.mark.parametrize("causal", [False, True])
def test_outputs_are_log_probabilities_at_a_quarter_of_the_frames(causal):
    model = small(causal)
    for frames in (1, 2, 3, 4, 5, 8, 9, 21):
        output = model(torch.randn(2, frames, 6516), torch.tensor([frames, max(frames - 3, 1)]))
        assert output.log_probs.shape == output.conv_log_probs.shape == (2, -(-frames // 4), 6)
        assert output.lengths.tolist() == [-(-frames // 4), -(-max(frames - 3, 1) // 4)]
        assert torch.allclose(
            output.log_probs.exp().sum(-1), torch.ones(2, -(-frames // 4)), atol=1e-5
        )


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_padding_never_changes_a_sentence(causal, training):
    """A sentence without padding, and with padding of large values."""
    model = small(causal).train(training)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    torch.manual_seed(1)
    x, detected = torch.randn(1, 17, 6516), torch.rand(1, 17, 4) > 0.3
    padded = torch.cat([x, torch.full((1, 14, 6516), 1e3)], 1)
    alone = model(x, torch.tensor([17]), detected)
    behind = model(
        padded,
        torch.tensor([17]),
        torch.cat([detected, torch.zeros(1, 14, 4, dtype=torch.bool)], 1),
    )
    assert torch.allclose(alone.log_probs, behind.log_probs[:, :5], atol=1e-5)
    assert torch.allclose(alone.conv_log_probs, behind.conv_log_probs[:, :5], atol=1e-5)


def test_a_block_equals_three_convolutions():
    """Compared with nn.Conv1d and nn.BatchNorm1d one after the other, without padding."""
    torch.manual_seed(0)
    block = InvertedResidual(6, 6, 2, 1, KERNEL // 2).eval()
    for norm in (block.expand_norm, block.depthwise_norm, block.project_norm):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    x, ones = torch.randn(2, 6, 11), torch.ones(2, 1, 11)

    def plain(norm):
        same = nn.BatchNorm1d(norm.num_features).eval()
        same.load_state_dict(norm.state_dict())
        return same

    swish = nn.Hardswish()
    inner = swish(plain(block.expand_norm)(block.expand(x)))
    depthwise = nn.functional.conv1d(inner, block.depthwise.weight, padding=2, groups=12)
    expected = x + plain(block.project_norm)(
        block.project(swish(plain(block.depthwise_norm)(depthwise)))
    )
    assert torch.allclose(block(x, ones, ones), expected, atol=1e-6)


def frames_used(model: Student, step: int, frames: int = 96) -> list[int]:
    """The frames whose features change this output step: those with a gradient."""
    x = torch.randn(1, frames, 6516, requires_grad=True)
    model(x, torch.tensor([frames])).log_probs[0, step].pow(2).sum().backward()
    return x.grad[0].abs().sum(-1).nonzero()[:, 0].tolist()


def test_the_causal_student_looks_ahead_exactly_its_lookahead():
    model = small(causal=True)
    assert model.lookahead == 11
    for step in (0, 3, 9):
        # The features of a frame depend on one more frame
        assert max(frames_used(model, step)) == 4 * step + model.lookahead - 1
    assert model.lookahead / 25 < 0.5, "seconds of latency at 25 frames a second"


def test_the_other_student_uses_the_whole_sentence():
    model = small()
    assert model.lookahead is None
    assert frames_used(model, 2) == list(range(96))


def test_a_student_has_at_most_a_tenth_of_the_teachers_parameters():
    widths = {
        "pose_width": 96,
        "face_width": 48,
        "hand_width": 128,
        "fusion_width": 192,
        "conformer_width": 256,
    }
    demo = ModelConfig(inception_widths=(256, 256), **widths)
    tiny = StudentModelConfig(
        pose_width=32, face_width=16, hand_width=32, widths=(64, 96, 96), conformer_width=64
    )
    with torch.device("meta"):
        for teacher, student, classes in (
            (ModelConfig(), StudentModelConfig(), 1233),
            (demo, tiny, 500),
        ):
            parameters = count_parameters(Student(student, classes))
            assert parameters <= 0.1 * count_parameters(I3DTeacher(teacher, classes))
            assert 4 * parameters < 20e6, "bytes"


def test_gradients_reach_every_parameter():
    for causal in (False, True):
        model = small(causal).train()
        detected = torch.rand(2, 24, 4) > 0.5
        output = model(torch.randn(2, 24, 6516), torch.tensor([24, 19]), detected)
        (output.log_probs.exp().pow(2).sum() + output.conv_log_probs.exp().pow(2).sum()).backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_dropout_stands_behind_fusion_and_around_the_sequence_model(dropout_calls):
    for causal, width in ((False, 8), (True, 24)):
        sizes = {**SMALL, "lstm_hidden": 24, "conformer_blocks": 1}
        calls = dropout_calls(Student(StudentModelConfig(causal=causal, **sizes), 6))
        own = [call for call in calls if call[0] == "dropout"]
        assert own == [("dropout", 12), ("dropout", 20), ("dropout", width)]
        assert len(calls) == len(own) + (0 if causal else 6)
