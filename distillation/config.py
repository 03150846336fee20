"""The configuration of a student's run: the teacher's sections with the student's sizes, and what
it is taught by."""

from dataclasses import dataclass, field
from typing import ClassVar

from errors import UsageError
from models.student_config import StudentModelConfig
from training.config import Config, TrainingConfig


@dataclass(frozen=True)
class DistillationConfig:
    """loss = soft_weight * T^2 KL(teacher || student at temperature T) + ctc_weight * the loss
    without a teacher.

    teacher: a checkpoint, which is run beside the student on the same augmented sentences.
    soft_targets: a folder made by export_soft_targets.py instead; its views and temperature are
    then used. Exactly one of both, or neither with soft_weight 0, which trains the student without
    a teacher.
    """

    teacher: str | None = None
    soft_targets: str | None = None
    soft_weight: float = 0.7
    ctc_weight: float = 0.3
    temperature: float = 3.0
    # False as in VAC: the KL is between the glosses alone, renormalised; the blank is CTC's
    soft_blank: bool = False

    def __post_init__(self):
        for name in ("soft_weight", "ctc_weight"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise UsageError(f"distillation.{name} {getattr(self, name)}: expected 0 or more")
        if self.soft_weight == self.ctc_weight == 0:
            raise UsageError(
                "distillation.soft_weight and ctc_weight are both 0: there is nothing to learn from"
            )
        if not 0 < self.temperature < float("inf"):
            raise UsageError(
                f"distillation.temperature {self.temperature}: expected a number above 0"
            )


@dataclass(frozen=True)
class StudentConfig(Config):
    """Everything that a student's run is made from."""

    kind: ClassVar[str] = "student"

    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(output_dir="checkpoints/student")
    )
    model: StudentModelConfig = field(default_factory=StudentModelConfig)
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
