"""From a checkpoint to a model: the teacher or the student whose weights it holds."""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from data.keyed_random import key
from data.vocabulary import Vocabulary
from errors import DataError, UsageError
from models.config import ModelConfig
from models.i3d_teacher import I3DTeacher
from models.part_encoder import PartEncoderModel
from models.prediction import JoinedHeads
from models.retired_keys import without_retired_keys
from models.student import Student
from models.student_config import StudentModelConfig
from settings import check_section

CONFIGS: dict[str, type[ModelConfig] | type[StudentModelConfig]] = {
    "teacher": ModelConfig,
    "student": StudentModelConfig,
}
HEAD_WEIGHTS = ("head.weight", "conv_head.weight")  # (classes, width)


def model_kind(checkpoint: dict[str, Any]) -> str:
    """`kind` of the checkpoint: 'teacher' or 'student'. Older checkpoints lack it and hold a
    teacher."""
    return str(checkpoint.get("kind", "teacher"))


def read_model_config(
    checkpoint: dict[str, Any], path: Path | str
) -> ModelConfig | StudentModelConfig:
    """The model configuration of a checkpoint. Raises DataError, which names `path`, for an unknown
    kind of model or a configuration that this version does not know."""
    kind = model_kind(checkpoint)
    if kind not in CONFIGS:
        raise DataError(
            f"checkpoint {path} holds a model of kind {kind!r}, this version knows "
            f"{', '.join(CONFIGS)}"
        )
    section = without_retired_keys(checkpoint["config"], path).get("model", {})
    try:
        return CONFIGS[kind](**check_section("model", section, CONFIGS[kind], {}))
    except (UsageError, ValueError) as error:  # ValueError: a number too large to print
        raise DataError(
            f"checkpoint {path} has a configuration that this version does not know: {error}"
        ) from None


def load_model(
    checkpoint: dict[str, Any],
    path: Path | str,
    model_config: ModelConfig | StudentModelConfig,
    vocabulary: Vocabulary,
    seed: int = 0,
) -> I3DTeacher | Student:
    """The teacher or student of a checkpoint, on the CPU.

    Args:
        checkpoint: the content of the file (`load_checkpoint`).
        path: of the file, for messages.
        model_config: see `read_model_config`.
        vocabulary: the checkpoint's, or one that has more glosses behind those. The classifier
            heads then get new rows for the new glosses.
        seed: random seed of these new rows.

    Raises DataError when the weights do not fit the configuration.
    """
    weights = dict(checkpoint["model"])
    try:
        _check_shapes(weights, model_config, vocabulary.size)
        torch.manual_seed(key(seed, "weights") % 2**63)
        model = build_model(model_config, vocabulary.size)
        for name in HEAD_WEIGHTS:
            known = len(weights[name])
            if known < vocabulary.size:
                weights[name] = torch.cat([weights[name], model.state_dict()[name][known:]])
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise DataError(
            f"checkpoint {path} does not fit its own configuration: {str(error).splitlines()[-1]}"
        ) from None
    return model


def set_prediction(model: PartEncoderModel, checkpoint: dict[str, Any], path: Path | str) -> None:
    """Let the model predict as the checkpoint says: from its heads joined, or without the entry
    `heads` from the sequence head alone. Raises DataError, which names `path`, if the entry does
    not fit the model."""
    entry = checkpoint.get("heads")
    if entry is None:
        return
    prior = entry.get("log_prior")
    values = [entry.get(name) for name in ("conv_share", "prior_scale")]
    fits = isinstance(prior, Tensor) and prior.shape == model.prediction.log_prior.shape
    known = all(type(value) in (int, float) and 0 <= value <= 1 for value in values)
    if not fits or not known or not prior.isfinite().all():
        raise DataError(
            f"checkpoint {path} has no usable 'heads': expected conv_share and prior_scale from 0 "
            f"to 1, and log_prior of {len(model.prediction.log_prior)} numbers; use another "
            "checkpoint"
        )
    model.prediction.use(JoinedHeads(*values), prior)


def _check_shapes(
    weights: dict[str, Any], model_config: ModelConfig | StudentModelConfig, classes: int
) -> None:
    """Raise RuntimeError unless the weights have the shapes of such a model; its heads may have
    fewer rows. No memory is allocated for the model, because a small file can describe a huge one.
    """
    found = {
        name: tuple(value.shape) for name, value in weights.items() if isinstance(value, Tensor)
    }
    weight_count, layer_count = sum(map(math.prod, found.values())), len(found)
    for name, value in vars(model_config).items():
        limit = layer_count if name.endswith("layers") else weight_count
        if isinstance(value, int) and value > limit:
            raise RuntimeError(f"it is too small for model.{name} {value}")
    with torch.device("meta"):
        state = build_model(model_config, classes).state_dict()
    expected = {name: tuple(value.shape) for name, value in state.items()}
    for name in HEAD_WEIGHTS:
        if name in found and len(found[name]) == 2 and found[name][0] < classes:
            expected[name] = (found[name][0], *expected[name][1:])
    for name in sorted({*found, *expected, *weights}, key=str):
        if found.get(name) != expected.get(name):
            raise RuntimeError(
                f"{name} has the shape {found.get(name)}, expected {expected.get(name)}"
            )


def build_model(
    model_config: ModelConfig | StudentModelConfig, classes: int
) -> I3DTeacher | Student:
    """A new model with random weights, of the kind that the type of its configuration names.
    `classes` counts the blank."""
    if isinstance(model_config, StudentModelConfig):
        return Student(model_config, classes)
    return I3DTeacher(model_config, classes)


def leading_hand_rule(model_config: object) -> str:
    """The rule that decides which hand leads in the features of a model, see
    data/handedness/leading_hand.py."""
    assert isinstance(model_config, ModelConfig | StudentModelConfig)
    return model_config.leading_hand


def is_causal(model_config: object) -> bool:
    """Whether features must not depend on later frames: in a student for streaming."""
    return isinstance(model_config, StudentModelConfig) and model_config.causal
