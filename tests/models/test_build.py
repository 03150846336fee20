"""From a checkpoint to a model: an extended vocabulary, weights that do not fit."""

import pytest
import torch

from data.vocabulary import Vocabulary
from errors import DataError
from models.build import load_model
from models.checkpoint import load_checkpoint
from training.config import Config


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
