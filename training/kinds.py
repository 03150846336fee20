"""The kinds of model that a checkpoint can hold: the teacher and the student. What it holds, its `kind` says."""

from pathlib import Path

from torch import nn

from errors import DataError, UsageError
from models.i3d_teacher import I3DTeacher
from models.student import Student
from models.student_config import StudentModelConfig
from training.config import Config
from training.student_config import StudentConfig

_CONFIGS: dict[str, type[Config]] = {kind.kind: kind for kind in (Config, StudentConfig)}


def kind_of(checkpoint: dict) -> str:
    """'teacher' or 'student'; a checkpoint that does not say is a teacher's."""
    return checkpoint.get("kind", Config.kind)


def read_config(checkpoint: dict, path: Path | str) -> Config:
    """The configuration that a checkpoint was trained with, of its kind's type. Raises DataError."""
    kind = kind_of(checkpoint)
    if kind not in _CONFIGS:
        known = ", ".join(_CONFIGS)
        raise DataError(f"checkpoint {path} holds a model of kind {kind!r}, this version knows {known}")
    try:
        return _CONFIGS[kind]().updated(checkpoint["config"])
    except UsageError as error:
        raise DataError(f"checkpoint {path} has a configuration that this version does not know: {error}") from None


def build_model(model_config: object, classes: int) -> nn.Module:
    """A new model of the kind that its configuration is of."""
    return (Student if isinstance(model_config, StudentModelConfig) else I3DTeacher)(model_config, classes)


def reads_causally(model_config: object) -> bool:
    """Whether the model's features must not look ahead (a student for streaming)."""
    return isinstance(model_config, StudentModelConfig) and model_config.causal
