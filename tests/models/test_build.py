from dataclasses import asdict

import pytest
import torch

from data.vocabulary import Vocabulary
from errors import DataError
from models.build import build_model, is_causal, load_model, model_kind, read_model_config
from models.checkpoint import load_checkpoint
from models.config import ModelConfig
from models.i3d_teacher import I3DTeacher
from models.student import Student
from models.student_config import StudentModelConfig
from training.config import Config

SIZES = {"pose_width": 8, "face_width": 8, "hand_width": 8, "conformer_width": 16}
TEACHER = ModelConfig(**SIZES, fusion_width=16, inception_widths=(16, 24))
STUDENT = StudentModelConfig(**SIZES, widths=(8, 12, 16), causal=True)


def checkpoint_with(model_section: object, **others: object) -> dict:
    return {"config": {"model": model_section}, **others}


def plain(config: ModelConfig | StudentModelConfig) -> dict:
    """The values of a configuration as a checkpoint holds them: lists for tuples."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(config).items()
    }


def test_a_checkpoint_without_a_kind_holds_a_teacher():
    assert model_kind({}) == "teacher"
    assert model_kind({"kind": "student"}) == "student"


@pytest.mark.parametrize(("kind", "config"), [("teacher", TEACHER), ("student", STUDENT)])
def test_a_model_configuration_is_read_from_a_checkpoint(kind, config):
    found = read_model_config(checkpoint_with(plain(config), kind=kind), "best.pth")
    assert found == config and type(found) is type(config)


def test_values_that_a_checkpoint_lacks_are_the_defaults():
    expected = ModelConfig(leading_hand="sentence")
    assert read_model_config(checkpoint_with({}), "best.pth") == expected


@pytest.mark.parametrize("kind", ["teacher", "student"])
def test_an_older_checkpoint_keeps_its_rule_for_the_leading_hand(kind):
    """Its weights were trained on features that this rule mirrored."""
    found = read_model_config(checkpoint_with({}, kind=kind), "best.pth")
    default = type(found)()
    assert found.leading_hand == "sentence" and default.leading_hand == "signer"
    section = {"leading_hand": "signer"}
    found = read_model_config(checkpoint_with(section, kind=kind), "best.pth")
    assert found.leading_hand == "signer"


def test_an_integer_is_a_number_too():
    found = read_model_config(checkpoint_with({"head_scale": 16}), "best.pth")
    assert found.head_scale == 16


def test_a_retired_key_is_dropped_only_with_its_supported_value():
    section = {**plain(TEACHER), "part_encoder": "linear"}
    assert read_model_config(checkpoint_with(section), "best.pth") == TEACHER
    section["part_encoder"] = "graph"
    with pytest.raises(DataError, match=r"best\.pth was trained with model\.part_encoder"):
        read_model_config(checkpoint_with(section), "best.pth")


def test_an_unknown_kind_is_refused():
    with pytest.raises(
        DataError, match=r"best\.pth holds a model of kind 'dog', .* knows teacher, student"
    ):
        read_model_config(checkpoint_with({}, kind="dog"), "best.pth")


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (None, "config section 'model': expected"),
        ([1, 2], "config section 'model': expected"),
        ({"momentum": 1}, "unknown config key 'model.momentum'"),
        ({10**5000: 1}, ""),
        ({"pose_width": "wide"}, "'model.pose_width': expected int"),
        ({"pose_width": True}, "'model.pose_width': expected int"),
        ({"pose_width": 10**5000}, "'model.pose_width': expected a number of at most"),
        ({"inception_widths": 8}, "'model.inception_widths': expected a list"),
        ({"inception_widths": [8, "x"]}, "'model.inception_widths': expected int"),
        ({"pose_width": 0}, "model.pose_width 0: expected 1 or more"),
    ],
    ids=lambda value: value if isinstance(value, str) else "section",
)
def test_a_configuration_that_this_version_does_not_know_is_refused(section, message):
    with pytest.raises(
        DataError,
        match=rf"best\.pth has a configuration that this version does not know: .*{message}",
    ):
        read_model_config(checkpoint_with(section), "best.pth")


@pytest.mark.parametrize(("config", "kind"), [(TEACHER, I3DTeacher), (STUDENT, Student)])
def test_a_loaded_model_has_the_checkpoints_weights(config, kind):
    torch.manual_seed(0)
    trained = build_model(config, 3)
    vocabulary = Vocabulary(["RAIN", "SUN"])
    loaded = load_model({"model": trained.state_dict()}, "best.pth", config, vocabulary)
    assert type(loaded) is type(trained) is kind
    for name, value in trained.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def test_the_heads_get_new_rows_for_new_glosses():
    torch.manual_seed(0)
    trained = build_model(TEACHER, 3)
    vocabulary = Vocabulary(["RAIN", "SUN", "WIND"])
    checkpoint = {"model": trained.state_dict()}
    first, again = (
        load_model(checkpoint, "best.pth", TEACHER, vocabulary, seed=5) for _ in range(2)
    )
    for head in ("head", "conv_head"):
        weight = getattr(first, head).weight
        assert torch.equal(weight[:3], getattr(trained, head).weight)
        assert weight.shape[0] == 4 and weight[3].abs().sum() > 0
        assert torch.equal(weight, getattr(again, head).weight), "new rows follow the seed"


def test_only_a_student_for_streaming_is_causal():
    assert is_causal(STUDENT)
    assert not is_causal(TEACHER) and not is_causal(StudentModelConfig())


def test_an_extended_head_keeps_the_rows_of_known_glosses(run_copy):
    checkpoint = load_checkpoint(run_copy / "last.pth")
    vocabulary = Vocabulary([*checkpoint["vocabulary"], "ICE", "MOON"])
    config = Config().updated(checkpoint["config"])
    model = load_model(checkpoint, run_copy / "last.pth", config.model, vocabulary, seed=3)
    for name, tensor in model.state_dict().items():
        known = checkpoint["model"][name]
        if name in ("head.weight", "conv_head.weight"):
            assert tensor.shape == (8, known.shape[1])
            assert tensor[6:].abs().sum() > 0 and torch.isfinite(tensor).all()
            tensor = tensor[:6]
        assert torch.equal(tensor, known), name
    again = load_model(checkpoint, run_copy / "last.pth", config.model, vocabulary, seed=3)
    assert torch.equal(again.head.weight, model.head.weight)


@pytest.mark.parametrize(
    "weight", [None, 5, torch.zeros(3, 99)], ids=["none", "a number", "of another shape"]
)
def test_weights_that_do_not_fit_are_refused(weight, run_copy):
    checkpoint = load_checkpoint(run_copy / "last.pth")
    checkpoint["model"].pop("head.weight")
    if weight is not None:
        checkpoint["model"]["head.weight"] = weight
    with pytest.raises(
        DataError, match=r"last\.pth does not fit its own configuration: .*head\.weight"
    ):
        load_model(
            checkpoint,
            run_copy / "last.pth",
            Config().updated(checkpoint["config"]).model,
            Vocabulary(checkpoint["vocabulary"]),
            0,
        )


@pytest.mark.parametrize(
    ("name", "value"),
    [("conformer_width", 10**9), ("conformer_blocks", 10**6), ("inception_widths", [10**9, 8])],
)
def test_a_small_checkpoint_that_describes_a_huge_model_takes_no_memory(name, value, run_copy):
    checkpoint = load_checkpoint(run_copy / "last.pth")
    config = Config().updated(checkpoint["config"]).updated({"model": {name: value}})
    with pytest.raises(DataError, match=r"last\.pth does not fit its own configuration"):
        load_model(
            checkpoint, run_copy / "last.pth", config.model, Vocabulary(checkpoint["vocabulary"]), 0
        )
