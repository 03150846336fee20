"""From a checkpoint to a model: the teacher or the student that it holds."""

import math
from pathlib import Path

import torch
from torch import nn

from data.keyed_random import key
from data.vocabulary import Vocabulary
from errors import DataError
from models.i3d_teacher import I3DTeacher
from models.student import Student
from models.student_config import StudentModelConfig
from training.config import Config

HEAD_WEIGHTS = ("head.weight", "conv_head.weight")  # one row a class


def load_model(
    checkpoint: dict, path: Path | str, model_config, vocabulary: Vocabulary, seed: int
) -> nn.Module:
    """The checkpoint's teacher or student, on the CPU; its heads are widened where the vocabulary
    grew. Raises DataError."""
    weights = dict(checkpoint["model"])
    try:
        _check_shapes(weights, model_config, vocabulary)
        torch.manual_seed(key(seed, "weights") % 2**63)
        model = build_model(model_config, vocabulary.size)
        for name in HEAD_WEIGHTS:
            if len(weights[name]) < vocabulary.size:
                weights[name] = torch.cat(
                    [weights[name], model.state_dict()[name][len(weights[name]) :]]
                )
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise DataError(
            f"checkpoint {path} does not fit its own configuration: {str(error).splitlines()[-1]}"
        ) from None
    return model


def _check_shapes(weights: dict, model_config, vocabulary: Vocabulary) -> None:
    """Raise RuntimeError unless the weights are those of such a model but for rows of its heads.
    Takes no memory for one: a small file may describe a model of any size."""
    known = {
        name: tuple(one.shape) for name, one in weights.items() if isinstance(one, torch.Tensor)
    }
    sizes = {"weights": sum(map(math.prod, known.values())), "layers": len(known)}
    for name, value in vars(model_config).items():
        if (
            isinstance(value, int)
            and value > sizes["layers" if name.endswith("layers") else "weights"]
        ):
            raise RuntimeError(f"it is too small for model.{name} {value}")
    with torch.device("meta"):
        expected = {
            name: tuple(one.shape)
            for name, one in build_model(model_config, vocabulary.size).state_dict().items()
        }
    for name in HEAD_WEIGHTS:
        if name in known and len(known[name]) == 2 and known[name][0] < vocabulary.size:
            expected[name] = (known[name][0], *expected[name][1:])
    for name in sorted({*known, *expected, *weights}, key=str):
        if known.get(name) != expected.get(name):
            raise RuntimeError(
                f"{name} has the shape {known.get(name)}, expected {expected.get(name)}"
            )


def model_kind(checkpoint: dict) -> str:
    """'teacher' or 'student'; a checkpoint that does not say is a teacher's."""
    return checkpoint.get("kind", Config.kind)


def build_model(model_config: object, classes: int) -> nn.Module:
    """A new model of the kind that its configuration is of."""
    return (Student if isinstance(model_config, StudentModelConfig) else I3DTeacher)(
        model_config, classes
    )


def is_causal(model_config: object) -> bool:
    """Whether the model's features must not look ahead (a student for streaming)."""
    return isinstance(model_config, StudentModelConfig) and model_config.causal
