import io
from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from data.landmarks import FEATURE_BLOCKS, NUM_FEATURES, feature_columns, subset
from errors import UsageError
from models.config import ModelConfig
from models.cpu_kernels import Dropout
from models.i3d_teacher import MIN_STD, I3DTeacher, count_parameters
from models.masking import MaskedBatchNorm

EVERYTHING = " ".join(FEATURE_BLOCKS)
SMALL = ModelConfig(
    pose_subset="upper_body",
    face_blocks=EVERYTHING,
    hand_blocks=EVERYTHING,
    pose_width=8,
    face_width=8,
    hand_width=8,
    fusion_width=16,
    inception_widths=(16, 16),
    conformer_width=16,
    conformer_blocks=2,
    dropout=0.3,
)
LENGTHS = [13, 6, 1, 9]


def small_teacher(classes: int = 6) -> I3DTeacher:
    """A teacher with statistics and running averages that are not those of a new one, in
    evaluation."""
    torch.manual_seed(0)
    model = I3DTeacher(SMALL, classes)
    model.set_statistics(torch.randn(NUM_FEATURES), torch.rand(NUM_FEATURES) + 0.5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("missing") or "gate" in name:
                parameter.normal_()
    for _ in range(3):
        model(torch.randn(4, 13, NUM_FEATURES), torch.tensor(LENGTHS), detected_of(4, 13))
    return model.eval()


def detected_of(batch: int, frames: int) -> torch.Tensor:
    return torch.rand(batch, frames, 4, generator=torch.Generator().manual_seed(5)) < 0.7


def features_of(batch: int, frames: int) -> torch.Tensor:
    return torch.randn(batch, frames, NUM_FEATURES, generator=torch.Generator().manual_seed(3))


def test_lengths_are_a_quarter_rounded_up():
    model = small_teacher()
    for frames in range(1, 14):
        output = model(features_of(1, frames), torch.tensor([frames]))
        steps = -(-frames // 4)
        assert output.lengths.tolist() == [steps]
        assert output.log_probs.shape == output.conv_log_probs.shape == (1, steps, 6)
    assert output.lengths.dtype == torch.int64


def test_outputs_are_log_probabilities_in_float32_also_under_autocast():
    model = small_teacher()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(features_of(2, 9), torch.tensor([9, 9]))
    for log_probs in output[:2]:
        assert log_probs.dtype == torch.float32
        torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(2, 3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("longer", [0, 1, 2, 3, 4, 7])
def test_padding_and_company_never_change_a_sentence(longer):
    model = small_teacher().double()
    features, detected = features_of(4, 13 + longer).double(), detected_of(4, 13 + longer)
    together = model(features, torch.tensor(LENGTHS), detected)
    for row, frames in enumerate(LENGTHS):
        alone = model(
            features[row : row + 1, :frames],
            torch.tensor([frames]),
            detected[row : row + 1, :frames],
        )
        steps = int(alone.lengths[0])
        for found, expected in zip(together[:2], alone[:2], strict=True):
            torch.testing.assert_close(found[row, :steps], expected[0], atol=1e-5, rtol=0)


def test_what_stands_in_the_padding_changes_neither_output_nor_gradients():
    model = small_teacher().train()
    for layer in model.modules():
        if isinstance(layer, Dropout):
            layer.p = 0.0
    inside = torch.arange(13) < torch.tensor(LENGTHS)[:, None]
    steps_inside = torch.arange(4) < -(-torch.tensor(LENGTHS)[:, None] // 4)
    results = []
    for padding in (0.0, 50.0):
        features = torch.where(inside[..., None], features_of(4, 13), padding).requires_grad_()
        detected = detected_of(4, 13) & (inside[..., None] | bool(padding))
        model.zero_grad()
        output = model(features, torch.tensor(LENGTHS), detected)
        total = sum(
            (part * torch.linspace(-1, 1, part.numel()).reshape(part.shape))[steps_inside].sum()
            for part in output[:2]
        )
        total.backward()
        assert not features.grad[~inside].any()
        results.append([total.detach(), *(p.grad.clone() for p in model.parameters())])
    for zero, filled in zip(*results, strict=True):
        torch.testing.assert_close(filled, zero, atol=1e-5, rtol=1e-5)


def test_features_are_standardised_by_the_buffers():
    model = small_teacher()
    features = features_of(1, 9)
    expected = model(features, torch.tensor([9])).log_probs
    mean, std = torch.randn(NUM_FEATURES), torch.rand(NUM_FEATURES) + 0.2
    standardised = (features - model.feature_mean) / model.feature_std
    model.set_statistics(mean, std)
    assert not torch.allclose(model(features, torch.tensor([9])).log_probs, expected, atol=1e-3)
    found = model(standardised * std + mean, torch.tensor([9])).log_probs
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_a_feature_that_never_moves_is_not_blown_up():
    model = small_teacher()
    model.set_statistics(torch.zeros(NUM_FEATURES), torch.zeros(NUM_FEATURES))
    zero_std = model(features_of(1, 9) * MIN_STD, torch.tensor([9])).log_probs
    model.set_statistics(torch.zeros(NUM_FEATURES), torch.full((NUM_FEATURES,), MIN_STD))
    assert torch.isfinite(zero_std).all()
    assert torch.equal(model(features_of(1, 9) * MIN_STD, torch.tensor([9])).log_probs, zero_std)


@pytest.mark.parametrize("part", range(4))
def test_a_lost_part_is_told_from_a_seen_one(part):
    model = small_teacher()
    features, seen = features_of(1, 9), torch.ones(1, 9, 4, dtype=torch.bool)
    expected = model(features, torch.tensor([9]), seen).log_probs
    assert torch.equal(model(features, torch.tensor([9])).log_probs, expected), "None is all seen"
    seen[0, 3:6, part] = False
    assert not torch.allclose(
        model(features, torch.tensor([9]), seen).log_probs, expected, atol=1e-4
    )


def test_only_the_named_subsets_are_read():
    model = small_teacher()
    names = (SMALL.pose_subset, SMALL.face_subset, SMALL.left_hand_subset, SMALL.right_hand_subset)
    read = [torch.from_numpy(feature_columns(subset(name))) for name in names]
    features, lengths = features_of(1, 8), torch.tensor([8])
    expected = model(features, lengths).log_probs
    unread = torch.ones(NUM_FEATURES, dtype=torch.bool)
    unread[torch.cat(read)] = False
    assert int((~unread).sum()) == 4 * 3 * (25 + 38 + 21 + 21)
    changed = features.clone()
    changed[:, :, unread] += 100
    assert torch.equal(model(changed, lengths).log_probs, expected)
    for columns in read:
        # Each of position, velocity, acceleration, relative position
        for block in columns.chunk(4):
            changed = features.clone()
            changed[:, :, block] += 1
            assert not torch.allclose(model(changed, lengths).log_probs, expected, atol=1e-6)


def test_every_read_column_reaches_the_output():
    model = small_teacher()
    features = features_of(1, 8).requires_grad_()
    model(features, torch.tensor([8])).log_probs[..., 1:].square().sum().backward()
    names = (SMALL.pose_subset, SMALL.face_subset, SMALL.left_hand_subset, SMALL.right_hand_subset)
    read = torch.cat([torch.from_numpy(feature_columns(subset(name))) for name in names])
    assert sorted(features.grad.abs().sum((0, 1)).nonzero()[:, 0].tolist()) == sorted(read.tolist())


def test_subsets_are_configuration():
    with pytest.raises(UsageError, match="did you mean 'left_hand'"):
        I3DTeacher(ModelConfig(left_hand_subset="left_hnad"), 5)
    small = I3DTeacher(
        ModelConfig(face_subset="mouth", face_blocks="position velocity relative", face_width=8), 5
    )
    assert len(small.parts[1].columns) == 3 * 3 * 20


@pytest.mark.parametrize("classes", [6, 1301])
@pytest.mark.parametrize("sequence", ["conformer", "bilstm"])
def test_the_default_teacher_has_about_50_million_parameters(classes, sequence):
    with torch.device("meta"):  # sizes without memory
        model = I3DTeacher(ModelConfig(sequence=sequence), classes)
    assert 45e6 <= count_parameters(model) <= 55e6
    assert count_parameters(model) == sum(p.numel() for p in model.parameters())


def test_weights_load_with_weights_only():
    model = small_teacher()
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    assert {"feature_mean", "feature_std"} <= set(state)
    other = I3DTeacher(SMALL, 6).eval()
    other.load_state_dict(state)
    arguments = features_of(2, 9), torch.tensor([9, 5]), detected_of(2, 9)
    assert torch.equal(other(*arguments).log_probs, model(*arguments).log_probs)


def test_a_part_that_is_not_shown_changes_nothing_and_the_others_do():
    model = small_teacher()
    features, detected, lengths = features_of(2, 9), detected_of(2, 9), torch.tensor([9, 9])
    shown = torch.ones(2, 4, dtype=torch.bool)
    everything = model(features, lengths, detected)
    assert torch.equal(model(features, lengths, detected, shown).log_probs, everything.log_probs)
    shown[1, 2] = False
    other = features.clone()
    other[:, :, feature_columns(subset("left_hand"))] += 1.0
    found, moved = (model(x, lengths, detected, shown).log_probs for x in (features, other))
    torch.testing.assert_close(found[0], everything.log_probs[0])
    assert not torch.allclose(found[1], everything.log_probs[1])
    assert torch.equal(found[1], moved[1]) and not torch.equal(found[0], moved[0])


@pytest.mark.parametrize(
    "settings", [{"part_encoder": "graph"}, {"sequence": "bilstm", "lstm_hidden": 16}]
)
def test_the_alternatives_ignore_padding_too(settings):
    torch.manual_seed(0)
    model = I3DTeacher(replace(SMALL, **settings), 6).double().eval()
    features, detected = features_of(2, 13).double(), detected_of(2, 13)
    together = model(features, torch.tensor([13, 6]), detected)
    alone = model(features[1:, :6], torch.tensor([6]), detected[1:, :6])
    torch.testing.assert_close(together.log_probs[1, :2], alone.log_probs[0], atol=1e-5, rtol=0)


def test_blocks_and_depth_choose_the_columns_that_are_read():
    config = replace(SMALL, hand_blocks="relative", face_blocks="position velocity", depth="hands")
    encoders = I3DTeacher(config, 6).parts
    assert [len(encoder.columns) for encoder in encoders] == [
        25 * 2 * 4,
        38 * 2 * 2,
        21 * 3,
        21 * 3,
    ]
    assert encoders[2].columns.tolist() == list(range(3 * 1629 + 501 * 3, 3 * 1629 + 522 * 3))
    assert len(I3DTeacher(replace(SMALL, depth="none"), 6).parts[3].columns) == 21 * 2 * 4
    for name, value in (
        ("hand_blocks", "relative speed"),
        ("pose_blocks", ""),
        ("depth", "some"),
        ("sequence", "gru"),
    ):
        with pytest.raises(UsageError, match=rf"model\.{name} .*expected"):
            replace(SMALL, **{name: value})


@pytest.mark.parametrize("training", [False, True])
def test_a_compiled_front_gives_the_same_outputs_and_gradients(training):
    """With the backend that compiles nothing but goes the whole way there; lengths are rounded up
    to multiples of 64."""
    torch.manual_seed(0)
    plain = I3DTeacher(replace(SMALL, dropout=0.0), 6).train(training)
    compiled = deepcopy(plain)
    compiled.compile_front(backend="aot_eager")
    assert list(compiled.state_dict()) == list(plain.state_dict())
    for frames in (30, 64, 65):
        features, lengths = (
            torch.randn(3, frames, NUM_FEATURES),
            torch.tensor([frames, 17, frames - 2]),
        )
        detected, shown = (
            torch.rand(3, frames, 4) > 0.3,
            torch.tensor([[True] * 4, [True, False] * 2, [True] * 4]),
        )
        outputs = [model(features, lengths, detected, shown) for model in (plain, compiled)]
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


def test_the_front_is_compiled_once_for_a_rounded_length_whatever_the_batch():
    """For more lengths than torch would compile a function for by itself, in one piece each."""
    made = []

    def backend(graph, _):
        made.append(graph)
        return graph.forward

    model = I3DTeacher(SMALL, 6).train()
    model.compile_front(backend=backend)
    lengths = range(60, 600, 64)
    assert len(lengths) > 8
    for sentences in (2, 5):
        for number, frames in enumerate(lengths):
            frames -= sentences
            features, all_of_it = (
                torch.randn(sentences, frames, NUM_FEATURES),
                torch.full((sentences,), frames),
            )
            model(features, all_of_it).log_probs.sum().backward()
            assert len(made) == (number + 1 if sentences == 2 else len(lengths))


def test_what_was_compiled_before_decides_nothing():
    """Calibration sets another momentum, which torch would make a variable of all graphs from then
    on."""
    made = []

    def backend(graph, _):
        made.append([node.name for node in graph.graph.nodes])
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
    first, _, after_calibration = made
    assert first == after_calibration
