"""The configuration that a checkpoint was trained with."""

from pathlib import Path

from distillation.config import StudentConfig
from errors import DataError, UsageError
from models.build import model_kind
from training.config import Config

_CONFIGS: dict[str, type[Config]] = {kind.kind: kind for kind in (Config, StudentConfig)}


def read_config(checkpoint: dict, path: Path | str) -> Config:
    """The configuration that a checkpoint was trained with, of its kind's type. Raises DataError."""
    kind = model_kind(checkpoint)
    if kind not in _CONFIGS:
        known = ", ".join(_CONFIGS)
        raise DataError(
            f"checkpoint {path} holds a model of kind {kind!r}, this version knows {known}"
        )
    try:
        return _CONFIGS[kind]().updated(checkpoint["config"])
    except UsageError as error:
        raise DataError(
            f"checkpoint {path} has a configuration that this version does not know: {error}"
        ) from None
