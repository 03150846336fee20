"""A checkpoint, opened: its content, its vocabulary and its model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import device as Device
from torch import nn

from data.vocabulary import Vocabulary
from models.build import load_model, read_model_config
from models.checkpoint import load_checkpoint
from models.devices import choose_device


@dataclass(frozen=True)
class OpenedCheckpoint:
    """content: as `load_checkpoint` returns it; model: the teacher or student, in evaluation mode,
    on `device`."""

    content: dict[str, Any]
    vocabulary: Vocabulary
    model: nn.Module
    device: Device


def open_checkpoint(path: Path, device: str) -> OpenedCheckpoint:
    """Load a checkpoint and build its model.

    Args:
        device: 'auto', 'cpu', 'cuda' or 'cuda:N'.

    Raises UsageError if there is no such device, DataError if the checkpoint cannot be used.
    """
    content = load_checkpoint(path)
    config = read_model_config(content, path)
    vocabulary = Vocabulary(content["vocabulary"])
    chosen = choose_device(device)
    model = load_model(content, path, config, vocabulary, seed=0)  # all weights are loaded
    return OpenedCheckpoint(content, vocabulary, model.to(chosen).eval(), chosen)
