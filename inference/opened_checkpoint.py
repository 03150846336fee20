"""A checkpoint, opened: its content, its vocabulary and its model."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import device as Device

from data.checks.changed_files import verify_as_for_training
from data.corpus import Corpus
from data.resampling import refuse_other_rate
from data.vocabulary import Vocabulary
from errors import DataError
from models.build import load_model, read_model_config, set_prediction
from models.checkpoint import load_checkpoint
from models.devices import Precision, choose_device
from models.machine_choices import MachineChoices, choose_machine
from models.part_encoder import PartEncoderModel


@dataclass(frozen=True)
class FrameFormat:
    """fps: frames per second; aspect_ratio: width / height of the pictures."""

    fps: float
    aspect_ratio: float


@dataclass(frozen=True)
class OpenedCheckpoint:
    """content: as `load_checkpoint` returns it; model: the teacher or student, in evaluation mode,
    on `device`."""

    content: dict[str, Any]
    vocabulary: Vocabulary
    model: PartEncoderModel
    device: Device
    machine: MachineChoices

    def frame_format(self, corpus: Corpus | None = None) -> FrameFormat | None:
        """The frames that the model was trained on.

        A checkpoint of an older version does not give it. Then it is that of the corpus that the
        model was trained on: the one in the checkpoint's folder, or `corpus`. None if neither is
        that corpus.
        """
        entry = self.content["corpus"]
        if "fps" in entry and "aspect_ratio" in entry:
            return FrameFormat(entry["fps"], entry["aspect_ratio"])
        found = corpus_of_training(self.content, corpus)
        return None if found is None else FrameFormat(found.fps, found.aspect_ratio)


def refuse_corpus_of_other_rate(corpus: Corpus, checkpoint: dict[str, Any], path: Path) -> None:
    """Raise DataError if a corpus has another frame rate than a model was trained on. Warn if that
    rate is not known.

    checkpoint: as `load_checkpoint` returns it. path: its file, for the message.
    """
    fps = checkpoint["corpus"].get("fps")
    if fps is None and (trained_on := corpus_of_training(checkpoint, corpus)) is not None:
        fps = trained_on.fps
    if fps is not None:
        refuse_other_rate(corpus.path, corpus.fps, path, fps)
    else:
        print(
            f"warning: {path} is of an older version and does not say at which frame rate it was "
            f"trained: that of {corpus.path}, {corpus.fps:g} frames/s, is taken for right"
        )


def corpus_of_training(checkpoint: dict[str, Any], corpus: Corpus | None = None) -> Corpus | None:
    """The corpus that a checkpoint was trained on: `corpus`, or the one in the folder that the
    checkpoint names. None if neither is that corpus.

    checkpoint: as `load_checkpoint` returns it.
    """
    entry = checkpoint["corpus"]
    if corpus is not None and corpus.fingerprint == entry["fingerprint"]:
        return corpus
    with contextlib.suppress(DataError):
        found = Corpus(entry["path"])
        verify_as_for_training(found)
        if found.fingerprint == entry["fingerprint"]:
            return found
    return None


def other_corpus_in_place(corpus: Corpus, checkpoint: dict[str, Any], path: Path) -> str | None:
    """A line if the corpus in the folder that a checkpoint names is not the one that the model was
    trained on; None if it is. A stored folder is often relative, and every folder can have a `c`.

    Args:
        corpus: opened in that folder; its files were compared with corpus.json, as in
            `verify_as_for_training`.
        checkpoint: as `load_checkpoint` returns it.
        path: the file of the checkpoint.
    """
    if corpus.fingerprint == checkpoint["corpus"]["fingerprint"]:
        return None
    return (
        f"{corpus.path} is not the corpus that {path} was trained on: another corpus is in its "
        "folder, or its files were changed since then; give the folder of the corpus that you "
        "mean with --data_dir"
    )


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
    set_prediction(model, content, path)
    machine = choose_machine("auto", [model], Precision("fp32", chosen))
    return OpenedCheckpoint(content, vocabulary, model.to(chosen).eval(), chosen, machine)
