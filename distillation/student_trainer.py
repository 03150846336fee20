"""The trainer of a student: the trainer of train_teacher.py with the distillation loss added."""

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from data.pipeline import FeatureBatch
from distillation.config import StudentConfig
from distillation.teachers import OnlineTeacher, StoredTeacher, TaughtBatch
from models.i3d_teacher import TeacherOutput
from training.losses import distillation_per_step
from training.trainer import Trainer


@dataclass
class StudentTrainer(Trainer):
    """Trains a student.

    source: the teacher or its stored soft targets. None: train without a teacher, with the loss of
    train_teacher.py.
    """

    config: StudentConfig
    source: OnlineTeacher | StoredTeacher | None = None

    @property
    def teacher(self) -> dict[str, str] | None:
        """The path and the SHA-256 of the teacher's checkpoint; None without a teacher."""
        return None if self.source is None else dict(self.source.identity)

    @property
    def input_paths(self) -> list[Path]:
        """The corpus, the teacher's checkpoint and the soft targets."""
        of_source: list[Path] = []
        if self.source is not None:
            of_source = [self.source.place, Path(self.source.identity["path"])]
        return [*super().input_paths, *of_source]

    def state(self) -> dict[str, Any]:
        """The checkpoint's content, with the teacher's path and SHA-256."""
        return {**super().state(), "teacher": self.teacher}

    def draw_key(self, epoch: int) -> tuple[int, int]:
        """The seed and the epoch (or stored view) of an epoch's augmentation."""
        if isinstance(self.source, StoredTeacher):
            return self.source.draw_key(epoch)
        return super().draw_key(epoch)

    def batches(self, plan: list[np.ndarray]) -> Generator[FeatureBatch, None, None]:
        """The plan's batches with this epoch's augmentation, and the teacher's predictions."""
        return super().batches(plan) if self.source is None else self.source.batches(self, plan)

    def losses(
        self, batch: FeatureBatch, targets: Tensor, target_lengths: Tensor
    ) -> tuple[TeacherOutput, Tensor]:
        """The student's output, and the loss per sentence, float32 (B,). With a teacher it is

        soft_weight * distillation + ctc_weight * the loss without a teacher.
        """
        output, total = super().losses(batch, targets, target_lengths)
        if not isinstance(batch, TaughtBatch):
            return output, total
        options = self.config.distillation
        soft = soft_loss(
            output.log_probs,
            batch.teacher_log_probs,
            output.lengths,
            options.temperature,
            options.soft_blank,
        )
        return output, options.ctc_weight * total + options.soft_weight * soft


def soft_loss(
    student: Tensor, teacher: Tensor, steps: Tensor, temperature: float, blank: bool
) -> Tensor:
    """T² KL(teacher || student) at temperature T, mean over each sentence's steps, float32 (B,).

    Args:
        student: log-probabilities (B, T', V), up to a constant per step.
        teacher: the same of the teacher.
        steps: number of steps per sentence, int64 (B,).
        temperature: T.
        blank: include the blank. Without it both distributions are renormalised over the glosses.
            VAC does the same (VIPL-SLP/VAC_CSLR, `SeqKD(...)(..., use_blank=False)`), because the
            many blank steps would dominate the loss.
    """
    first = 0 if blank else 1
    return distillation_per_step(student[..., first:], teacher[..., first:], steps, temperature)
