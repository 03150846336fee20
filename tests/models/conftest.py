"""A small checkpoint, and short ways to look at what is in a folder."""

from pathlib import Path

import torch

from models.checkpoint import load_checkpoint


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
