import pytest

from errors import UsageError
from models.config import ModelConfig


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pose_width", 0),
        ("hand_width", -1),
        ("lstm_layers", 0),
        ("conformer_blocks", 0),
        ("conformer_width", 0),
        ("inception_widths", [64]),
        ("inception_widths", [64, 4]),
        ("dropout", 1.0),
        ("dropout", -0.1),
        ("dropout", float("nan")),
    ],
)
def test_impossible_sizes_are_refused_by_name(name, value):
    with pytest.raises(UsageError, match=f"model.{name} .*expected"):
        ModelConfig(**{name: value})


def test_widths_become_a_tuple():
    assert ModelConfig(inception_widths=[16, 32]) == ModelConfig(inception_widths=(16, 32))


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_the_heads_scale_must_be_a_number_above_zero(value):
    with pytest.raises(UsageError, match=r"model\.head_scale .*expected a number above 0"):
        ModelConfig(head_scale=value)
