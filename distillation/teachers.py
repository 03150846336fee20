"""Who teaches a student: a teacher that runs beside it, or soft targets from disk.

`OnlineTeacher` runs the teacher on the batch that the student trains on. It needs no files, and its
augmentation never repeats.

`StoredTeacher` loads the files of export_soft_targets.py. They have soft targets for a number of
augmented views, and the epochs use these views in turn. It is for teachers that are slow or not
available. Targets and student must have the same augmented sentence. The targets of the sentence
without augmentation, stretched to the augmented length, would differ from the teacher's prediction.

Measured on recorded signs before calibration (10 epochs, one seed): the student has 2.3 % WER with
8 stored views, and the same with the teacher itself.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from data.augmentation.draws import augmented_lengths, ids_and_lengths
from data.checks.file_hash import sha256_of
from data.corpus import Corpus
from data.ctc_lengths import ctc_steps
from data.device_transfer import on_device
from data.extractors import warn_of_other_extractor
from data.pipeline import FeatureBatch
from data.vocabulary import Vocabulary
from distillation.soft_targets import SoftTargets
from errors import DataError
from inference.opened_checkpoint import other_corpus_in_place, refuse_corpus_of_other_rate
from models.build import is_causal, load_model, read_model_config
from models.checkpoint import load_checkpoint, model_sha256
from models.devices import Precision
from models.part_encoder import PartEncoderModel
from training.trainer import Trainer


@dataclass
class TaughtBatch(FeatureBatch):
    """A batch with the teacher's log-probabilities for its sentences.

    teacher_log_probs: float32 (B, T', V), up to a constant per step.
    """

    teacher_log_probs: Tensor


def _taught(batch: FeatureBatch, teacher_log_probs: Tensor) -> TaughtBatch:
    return TaughtBatch(**vars(batch), teacher_log_probs=teacher_log_probs)


def same_teacher(identity: dict[str, str], other: dict[str, str]) -> bool:
    """Whether two identities are those of one teacher. Its checkpoint may have another decoder;
    identities of earlier versions lack `model_sha256`, and their files must be the same."""
    if identity.get("sha256") == other.get("sha256"):
        return True
    return identity.get("model_sha256", "") == other.get("model_sha256")


class OnlineTeacher:
    """A teacher that predicts each batch beside the student, without gradient and dropout.

    Args:
        path: its checkpoint. Raises DataError when it is missing or unusable.
        on_its_corpus: the student gets the corpus in the folder that the checkpoint names; it must
            be the one that the teacher was trained on.
    """

    def __init__(self, path: Path, on_its_corpus: bool = False):
        self._on_its_corpus = on_its_corpus
        checkpoint = load_checkpoint(path)
        model_config = read_model_config(checkpoint, path)
        self.vocabulary = Vocabulary(checkpoint["vocabulary"])
        self.corpus_path = checkpoint["corpus"]["path"]
        self.trained_on = {"corpus": checkpoint["corpus"]}
        self.place = path
        self.identity = {
            "path": str(path),
            "sha256": sha256_of(path),
            "model_sha256": model_sha256(checkpoint),
        }
        model = load_model(checkpoint, path, model_config, self.vocabulary, 0)
        assert isinstance(model, PartEncoderModel)
        self.model = model.eval().requires_grad_(False)
        self.causal, self.leading_hand = is_causal(model_config), model_config.leading_hand
        self.parameters = sum(parameter.numel() for parameter in model.parameters())

    def check(self, corpus: Corpus, vocabulary: Vocabulary) -> None:
        """Raise DataError when the student's glosses or frame rate differ from the teacher's, or
        when another corpus is in the place of the teacher's."""
        if self._on_its_corpus and (
            other := other_corpus_in_place(corpus, self.trained_on, self.place)
        ):
            raise DataError(other)
        refuse_corpus_of_other_rate(corpus, self.trained_on, self.place)
        warn_of_other_extractor(self.trained_on, corpus)
        if vocabulary != self.vocabulary:
            raise DataError(
                f"the student's {len(vocabulary.glosses)} glosses differ from the "
                f"{len(self.vocabulary.glosses)} of the teacher {self.identity['path']}: "
                "train a new student"
            )

    def batches(
        self, trainer: Trainer, plan: Sequence[np.ndarray]
    ) -> Generator[TaughtBatch, None, None]:
        """The plan's batches with this epoch's augmentation, and the teacher's predictions."""
        pipeline = trainer.pipeline
        self.model.to(pipeline.device).set_input_selection(pipeline.selection)
        draw = (
            trainer.plan.split,
            plan,
            trainer.config.augmentation,
            trainer.config.training.seed,
            trainer.progress.epoch,
        )
        student_batches = pipeline.augmented_batches(*draw)
        rules = self.causal or self.leading_hand, pipeline.causal or pipeline.leading_hand
        if rules[0] == rules[1]:
            for batch in student_batches:
                yield _taught(batch, self._predict(batch, trainer.precision))
            return
        # The features differ. The same draws give the same number of frames.
        of_teacher = pipeline.variant(self.causal, self.leading_hand)
        teacher_batches = of_teacher.augmented_batches(*draw)
        for batch, teacher_batch in zip(student_batches, teacher_batches, strict=True):
            yield _taught(batch, self._predict(teacher_batch, trainer.precision))

    @torch.no_grad()
    def _predict(self, batch: FeatureBatch, precision: Precision) -> Tensor:
        """Log-probabilities (B, T', V)."""
        with precision.autocast():
            log_probs: Tensor = self.model(batch.features, batch.lengths, batch.detected).log_probs
        return log_probs


class StoredTeacher:
    """Soft targets from disk. With K views, epoch e uses view (e - 1) mod K + 1.

    The augmentation of that view is drawn as it was drawn for the export. Raises DataError when the
    folder is missing, damaged or of another format.
    """

    def __init__(self, path: Path):
        self.targets = SoftTargets(path)
        self.description = self.targets.description
        self.vocabulary = Vocabulary(self.description.vocabulary)
        self.corpus_path = self.description.corpus["path"]
        self.place = path
        self.identity = dict(self.description.checkpoint)
        self.identity["soft_targets_sha256"] = self.targets.sha256
        self.parameters = None

    def check(self, corpus: Corpus, vocabulary: Vocabulary) -> None:
        """Raise DataError unless the targets fit corpus, glosses and the teacher's checkpoint."""
        self.targets.check(corpus.path, corpus.fingerprint, vocabulary.glosses)
        views = range(1, self.description.views + 1) if self.description.views else (0,)
        ids = [sentence.id for sentence in corpus.split("train").sentences]
        self.targets.require("train", ids, views)

    def settings(self) -> dict[str, dict[str, Any]]:
        """The settings of the student's run that the soft targets fix, by section."""
        augmentation = {
            **self.description.augmentation,
            "enabled": self.description.views > 0,
            "mix": 0.0,  # a sentence joined from others has no soft targets
            "splice": 0.0,
        }
        return {
            "augmentation": augmentation,
            "distillation": {"temperature": float(self.description.temperature)},
        }

    def draw_key(self, epoch: int) -> tuple[int, int]:
        """The seed and the view of an epoch's augmentation; view 0 is without augmentation."""
        views = self.description.views
        return self.description.seed, (epoch - 1) % views + 1 if views else 0

    def batches(
        self, trainer: Trainer, plan: Sequence[np.ndarray]
    ) -> Generator[TaughtBatch, None, None]:
        """The plan's batches in this epoch's view, with the stored targets of the same view.

        Raises DataError when a sentence's targets have another length than the sentence.
        """
        split, ranges = trainer.plan.split.split, trainer.config.augmentation
        seed, view = self.draw_key(trainer.progress.epoch)
        for batch in trainer.pipeline.augmented_batches(
            trainer.plan.split, plan, ranges, seed, view
        ):
            sentences = [split.sentences[index] for index in batch.indices]
            rows = [self.targets.read(split.name, sentence.id, view) for sentence in sentences]
            lengths = augmented_lengths(ranges, seed, view, *ids_and_lengths(sentences))
            for sentence, row, frames in zip(sentences, rows, lengths.tolist(), strict=True):
                if len(row) != ctc_steps(frames):
                    raise DataError(
                        f"{self.targets.path}: sentence {sentence.id} has {ctc_steps(frames)} "
                        f"steps, its soft targets have {len(row)}: export them again"
                    )
            stored = on_device(
                nn.utils.rnn.pad_sequence(rows, batch_first=True), batch.features.device
            )
            # The loss divides by the temperature; the stored values are divided already.
            yield _taught(batch, stored * self.description.temperature)
