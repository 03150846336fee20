"""A checkpoint, opened: its content, its vocabulary and its model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import device as Device
from torch import nn

from data.vocabulary import Vocabulary
from errors import DataError, UsageError
from models.build import load_model, model_kind
from models.checkpoint import load_checkpoint
from models.config import ModelConfig
from models.devices import choose_device
from models.student_config import StudentModelConfig


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


def read_model_config(
    checkpoint: dict[str, Any], path: Path | str
) -> ModelConfig | StudentModelConfig:
    """The configuration of the checkpoint's model. Raises DataError if this version does not know
    it."""
    kinds: dict[str, type[ModelConfig] | type[StudentModelConfig]] = {
        "teacher": ModelConfig,
        "student": StudentModelConfig,
    }
    kind = model_kind(checkpoint)
    if kind not in kinds:
        known = ", ".join(kinds)
        raise DataError(
            f"checkpoint {path} holds a model of kind {kind!r}, this version knows {known}"
        )
    try:
        return kinds[kind](**checkpoint["config"].get("model", {}))
    except (UsageError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"checkpoint {path} has a configuration that this version does not know: {error}"
        ) from None
