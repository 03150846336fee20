from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from data.landmarks import NUM_FEATURES
from models.config import ModelConfig
from models.i3d_teacher import I3DTeacher
from models.masking import MaskedBatchNorm

SMALL = ModelConfig(
    pose_subset="upper_body",
    pose_width=8,
    face_width=8,
    hand_width=8,
    fusion_width=16,
    inception_widths=(16, 16),
    conformer_width=16,
    conformer_blocks=2,
    dropout=0.3,
)


@pytest.mark.parametrize("training", [False, True])
def test_a_compiled_front_gives_the_same_outputs_and_gradients(training):
    """The backend aot_eager takes every step of compilation but generates no code. Lengths are
    padded to multiples of 64."""
    torch.manual_seed(0)
    plain = I3DTeacher(replace(SMALL, dropout=0.0), 6).train(training)
    compiled = deepcopy(plain)
    compiled.compile_front(backend="aot_eager")
    assert list(compiled.state_dict()) == list(plain.state_dict())
    for frames in (30, 64, 65):
        features = torch.randn(3, frames, NUM_FEATURES)
        lengths = torch.tensor([frames, 17, frames - 2])
        detected = torch.rand(3, frames, 4) > 0.3
        visible = torch.tensor([[True] * 4, [True, False] * 2, [True] * 4])
        outputs = [model(features, lengths, detected, visible) for model in (plain, compiled)]
        for expected, found in zip(*outputs, strict=True):
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
        for output in outputs:
            (output.log_probs.sum() + output.conv_log_probs[..., 1].sum()).backward()
    for (name, expected), found in zip(
        plain.named_parameters(), compiled.parameters(), strict=True
    ):
        torch.testing.assert_close(found.grad, expected.grad, atol=1e-2, rtol=1e-3, msg=name)
    for (name, expected), found in zip(plain.named_buffers(), compiled.buffers(), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4, msg=name)


def test_the_front_is_compiled_once_for_each_padded_length_whatever_the_batch_size(monkeypatch):
    """Also for more lengths than torch's own limit of compilations, and in one graph each. The
    limit is 8; here it is 2, because a compilation takes seconds."""
    monkeypatch.setattr(torch._dynamo.config, "recompile_limit", 2)
    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph.forward

    model = I3DTeacher(SMALL, 6).train()
    model.compile_front(backend=backend)
    lengths = range(60, 240, 64)
    assert len(lengths) > 2
    for sentences in (2, 5):
        for number, frames in enumerate(lengths):
            frames -= sentences
            features = torch.randn(sentences, frames, NUM_FEATURES)
            model(features, torch.full((sentences,), frames)).log_probs.sum().backward()
            assert len(graphs) == (number + 1 if sentences == 2 else len(lengths))


def test_a_compiled_graph_does_not_depend_on_earlier_compilations():
    """Calibration sets another momentum. By default torch then treats the momentum as a variable in
    all later graphs."""
    graphs = []

    def backend(graph, _):
        graphs.append([node.name for node in graph.graph.nodes])
        return graph.forward

    for calibrated_first in (False, True):
        torch.compiler.reset()
        model = I3DTeacher(SMALL, 6).train()
        norms = [module for module in model.modules() if isinstance(module, MaskedBatchNorm)]
        model.compile_front(backend=backend)
        for momentum in (1.0, 0.1) if calibrated_first else (0.1,):
            for norm in norms:
                norm.momentum = momentum
            frames = 60 if momentum == 1.0 else 100
            model(torch.randn(2, frames, NUM_FEATURES), torch.full((2,), frames))
    first, _, after_calibration = graphs
    assert first == after_calibration
