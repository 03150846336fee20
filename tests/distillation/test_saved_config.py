"""The kind in a checkpoint decides which configuration it has."""

import pytest

from distillation.saved_config import read_saved_config
from errors import DataError
from models.checkpoint import load_checkpoint


def test_a_checkpoint_of_an_unknown_kind(run_copy):
    checkpoint = {**load_checkpoint(run_copy / "best_model.pth"), "kind": "grandteacher"}
    message = "a model of kind 'grandteacher'; known are teacher, student"
    with pytest.raises(DataError, match=message):
        read_saved_config(checkpoint, "x.pth")
    del checkpoint["kind"]
    assert read_saved_config(checkpoint, "x.pth").kind == "teacher"
