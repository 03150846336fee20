"""A small checkpoint, and short ways to look at what is in a folder."""

from pathlib import Path

import pytest
import torch
from torch import nn

from models.checkpoint import load_checkpoint
from models.cpu_kernels import Dropout


def checkpoint_content(value: float = 1.0, epoch: int = 1) -> dict:
    """A whole checkpoint. Its one weight, float32 (50, 50), is `value` everywhere."""
    return {
        "model": {"weight": torch.full((50, 50), value)},
        "vocabulary": ["HAUS"],
        "config": {},
        "corpus": {
            "name": "x",
            "path": "p",
            "fingerprint": "f",
            "simulated": True,
            "composed": False,
        },
        "decoder": {"steps_per_gloss": 3.5},
        "training": {
            "progress": {"epoch": epoch, "group": 0},
            "stopping": {},
            "optimizer": {},
            "scaler": {},
        },
    }


def weight_in(path: Path) -> float:
    """The value of the weight in a checkpoint file."""
    return float(load_checkpoint(path)["model"]["weight"][0, 0])


def file_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def dropout_calls():
    """dropout_calls(model) -> name and width of each dropout that a training forward calls, in
    order. The width is the largest dimension: there are 2 sentences and 7 frames."""

    def record(model: nn.Module) -> list[tuple[str, int]]:
        calls: list[tuple[str, int]] = []
        for name, layer in model.named_modules():
            if isinstance(layer, Dropout):
                layer.register_forward_hook(
                    lambda _, inputs, __, name=name: calls.append((name, max(inputs[0].shape)))
                )
        model.train()(torch.randn(2, 7, 6516), torch.tensor([7, 6]))
        return calls

    return record
