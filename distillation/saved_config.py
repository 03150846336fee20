"""The configuration that a teacher's or a student's checkpoint was trained with."""

from pathlib import Path
from typing import Any

from distillation.config import StudentConfig
from errors import DataError
from models.build import model_kind
from training.config import Config
from training.resume import read_config

_DEFAULTS: dict[str, Config] = {default.kind: default for default in (Config(), StudentConfig())}


def read_saved_config(checkpoint: dict[str, Any], path: Path | str) -> Config:
    """The configuration of a checkpoint: `Config` for a teacher, `StudentConfig` for a student.

    Raises DataError when this version does not know the kind or the configuration.
    """
    kind = model_kind(checkpoint)
    if kind not in _DEFAULTS:
        known = ", ".join(_DEFAULTS)
        raise DataError(f"checkpoint {path} has a model of kind {kind!r}; known are {known}")
    return read_config(checkpoint, path, _DEFAULTS[kind])
