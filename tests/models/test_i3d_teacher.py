import io
from dataclasses import replace

import pytest
import torch

from data.landmarks import FEATURE_BLOCKS, NUM_FEATURES, feature_columns, subset
from errors import UsageError
from models.config import BLOCKS, ModelConfig
from models.cpu_kernels import Dropout
from models.i3d_teacher import I3DTeacher, count_parameters
from models.part_encoder import MIN_STD

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
    """A teacher in evaluation. Its statistics, running averages and gates differ from their initial
    values."""
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


def test_lengths_are_a_quarter_of_the_frames_rounded_up():
    model = small_teacher()
    for frames in range(1, 14):
        output = model(features_of(1, frames), torch.tensor([frames]))
        steps = -(-frames // 4)
        assert output.lengths.tolist() == [steps]
        assert output.log_probs.shape == output.conv_log_probs.shape == (1, steps, 6)
    assert output.lengths.dtype == torch.int64


def test_outputs_are_float32_log_probabilities_also_under_autocast():
    model = small_teacher()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(features_of(2, 9), torch.tensor([9, 9]))
    for log_probs in output[:2]:
        assert log_probs.dtype == torch.float32
        torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(2, 3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("longer", [0, 1, 2, 3, 4, 7])
def test_padding_and_other_sentences_never_change_a_sentence(longer):
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


def test_values_in_the_padding_change_neither_outputs_nor_gradients():
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


def test_features_are_standardised_with_the_stored_statistics():
    model = small_teacher()
    features = features_of(1, 9)
    expected = model(features, torch.tensor([9])).log_probs
    mean, std = torch.randn(NUM_FEATURES), torch.rand(NUM_FEATURES) + 0.2
    standardised = (features - model.feature_mean) / model.feature_std
    model.set_statistics(mean, std)
    assert not torch.allclose(model(features, torch.tensor([9])).log_probs, expected, atol=1e-3)
    found = model(standardised * std + mean, torch.tensor([9])).log_probs
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("deviation", [0.0, MIN_STD * 0.9])
def test_a_feature_that_is_constant_in_train_has_no_effect(deviation):
    model = small_teacher()
    std = torch.ones(NUM_FEATURES)
    constant = torch.from_numpy(feature_columns(subset("arms"), ["velocity"], 3))
    std[constant] = deviation
    model.set_statistics(torch.zeros(NUM_FEATURES), std)
    features, lengths = features_of(1, 9), torch.tensor([9])
    expected = model(features, lengths).log_probs
    noisy = features.clone()
    noisy[:, :, constant] += 0.01 * torch.randn(1, 9, len(constant))  # as the augmentation's noise
    assert torch.equal(model(noisy, lengths).log_probs, expected)
    std[constant] = MIN_STD
    model.set_statistics(torch.zeros(NUM_FEATURES), std)
    assert not torch.equal(model(noisy, lengths).log_probs, model(features, lengths).log_probs)


@pytest.mark.parametrize("part", range(4))
def test_the_output_depends_on_whether_a_part_was_detected(part):
    model = small_teacher()
    features, detected = features_of(1, 9), torch.ones(1, 9, 4, dtype=torch.bool)
    expected = model(features, torch.tensor([9]), detected).log_probs
    found = model(features, torch.tensor([9])).log_probs
    assert torch.equal(found, expected), "None means that all parts are detected"
    detected[0, 3:6, part] = False
    found = model(features, torch.tensor([9]), detected).log_probs
    assert not torch.allclose(found, expected, atol=1e-4)


def test_only_the_named_subsets_have_an_effect():
    model = small_teacher()
    names = (SMALL.pose_subset, SMALL.face_subset, SMALL.left_hand_subset, SMALL.right_hand_subset)
    used = [torch.from_numpy(feature_columns(subset(name))) for name in names]
    features, lengths = features_of(1, 8), torch.tensor([8])
    expected = model(features, lengths).log_probs
    unused = torch.ones(NUM_FEATURES, dtype=torch.bool)
    unused[torch.cat(used)] = False
    assert int((~unused).sum()) == 4 * 3 * (25 + 38 + 21 + 21)
    changed = features.clone()
    changed[:, :, unused] += 100
    assert torch.equal(model(changed, lengths).log_probs, expected)
    for columns in used:
        # position, velocity, acceleration, relative position
        for block in columns.chunk(4):
            changed = features.clone()
            changed[:, :, block] += 1
            assert not torch.allclose(model(changed, lengths).log_probs, expected, atol=1e-6)


def test_every_column_of_the_subsets_reaches_the_output():
    model = small_teacher()
    features = features_of(1, 8).requires_grad_()
    model(features, torch.tensor([8])).log_probs[..., 1:].square().sum().backward()
    names = (SMALL.pose_subset, SMALL.face_subset, SMALL.left_hand_subset, SMALL.right_hand_subset)
    used = torch.cat([torch.from_numpy(feature_columns(subset(name))) for name in names])
    with_gradient = features.grad.abs().sum((0, 1)).nonzero()[:, 0].tolist()
    assert sorted(with_gradient) == sorted(used.tolist())


def test_the_configuration_names_the_subsets():
    with pytest.raises(UsageError, match="did you mean 'left_hand'"):
        I3DTeacher(ModelConfig(left_hand_subset="left_hnad"), 5)
    small = I3DTeacher(
        ModelConfig(face_subset="mouth", face_blocks="position velocity relative", face_width=8), 5
    )
    assert len(small.parts[1].columns) == 3 * 3 * 20


@pytest.mark.parametrize("classes", [6, 1301])
@pytest.mark.parametrize("sequence", ["conformer", "bilstm"])
def test_the_default_teacher_has_about_50_million_parameters(classes, sequence):
    with torch.device("meta"):  # shapes without memory
        model = I3DTeacher(ModelConfig(sequence=sequence), classes)
    assert 45e6 <= count_parameters(model) <= 55e6


def test_the_names_of_feature_blocks_are_those_of_the_features():
    assert BLOCKS == FEATURE_BLOCKS


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


def test_a_hidden_part_has_no_effect_and_the_visible_ones_do():
    model = small_teacher()
    features, detected, lengths = features_of(2, 9), detected_of(2, 9), torch.tensor([9, 9])
    visible = torch.ones(2, 4, dtype=torch.bool)
    everything = model(features, lengths, detected)
    assert torch.equal(model(features, lengths, detected, visible).log_probs, everything.log_probs)
    visible[1, 2] = False
    other = features.clone()
    other[:, :, feature_columns(subset("left_hand"))] += 1.0
    found, moved = (model(x, lengths, detected, visible).log_probs for x in (features, other))
    torch.testing.assert_close(found[0], everything.log_probs[0])
    assert not torch.allclose(found[1], everything.log_probs[1])
    assert torch.equal(found[1], moved[1]) and not torch.equal(found[0], moved[0])


def test_a_teacher_with_a_bilstm_ignores_padding_too():
    torch.manual_seed(0)
    model = I3DTeacher(replace(SMALL, sequence="bilstm", lstm_hidden=16), 6).double().eval()
    features, detected = features_of(2, 13).double(), detected_of(2, 13)
    together = model(features, torch.tensor([13, 6]), detected)
    alone = model(features[1:, :6], torch.tensor([6]), detected[1:, :6])
    torch.testing.assert_close(together.log_probs[1, :2], alone.log_probs[0], atol=1e-5, rtol=0)


def test_blocks_and_depth_choose_the_columns():
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


@pytest.mark.parametrize("sequence", ["conformer", "bilstm"])
def test_dropout_stands_behind_fusion_stages_and_sequence_model(sequence, dropout_calls):
    """Also inside the sequence model: in a conformer block behind attention and convolution, and
    twice in each feed-forward layer; in a BiLSTM between the layers."""
    config = replace(SMALL, fusion_width=24, inception_widths=(32, 40), sequence=sequence)
    model = I3DTeacher(replace(config, conformer_width=48, lstm_hidden=28, lstm_layers=3), 6)
    inside = [("sequence.dropout", 56)] * 2
    if sequence == "conformer":
        inside = [
            call
            for block in ("sequence.blocks.0", "sequence.blocks.1")
            for call in (
                *((f"{block}.feed.0.3", 192), (f"{block}.feed.0.5", 48)),
                *[(f"{block}.dropout", 48)] * 2,
                *((f"{block}.feed.1.3", 192), (f"{block}.feed.1.5", 48)),
            )
        ]
    assert dropout_calls(model) == [
        ("dropout", 24),
        ("inception.dropout", 32),
        ("inception.dropout", 40),
        *inside,
        ("dropout", 48 if sequence == "conformer" else 56),
    ]
