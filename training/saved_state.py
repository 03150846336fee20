"""What a checkpoint stores of a run beside the weights, and how a run continues from it."""

import dataclasses
from typing import Any

import torch

from data.corpus import Corpus
from errors import DataError
from training.early_stopping import EarlyStopping
from training.progress import TrainingProgress


def corpus_entry(corpus: Corpus) -> dict[str, Any]:
    """The `corpus` of a checkpoint: which corpus the model was trained on."""
    return {
        "name": corpus.name,
        "path": str(corpus.path),
        "fingerprint": corpus.fingerprint,
        "simulated": corpus.simulated,
        "composed": corpus.composed,
        "fps": corpus.fps,
        "aspect_ratio": corpus.aspect_ratio,
    }


def training_entry(
    progress: TrainingProgress,
    stopping: EarlyStopping,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
) -> dict[str, Any]:
    """The `training` of a checkpoint: what continuing the run exactly needs."""
    return {
        "progress": dataclasses.asdict(progress),
        "stopping": dataclasses.asdict(stopping),
        "optimizer": optimizer.state_dict(),
        "scaler": scaler.state_dict(),
    }


def load_training_entry(
    entry: dict[str, Any], optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler
) -> tuple[TrainingProgress, EarlyStopping]:
    """Load the state of optimiser and scaler in place; return progress and early stopping.

    Raises DataError when the entry is not one of this version.
    """
    try:
        names = {field.name for field in dataclasses.fields(TrainingProgress)}
        if absent := names - set(entry["progress"]):
            raise KeyError(f"no {', '.join(sorted(absent))}")
        progress = TrainingProgress(**entry["progress"])
        stopping = EarlyStopping(**entry["stopping"])
        optimizer.load_state_dict(entry["optimizer"])
        scaler.load_state_dict(entry["scaler"])
    except (
        TypeError,
        ValueError,
        LookupError,
        AttributeError,
        ArithmeticError,
        RuntimeError,
    ) as error:
        raise DataError(
            f"the checkpoint's training state does not fit this version ({error}): you can "
            "fine-tune from it, with a setting that shapes training, but not continue it"
        ) from None
    return progress, stopping
