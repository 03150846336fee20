"""The configuration of a student's run: the sections of a teacher's run with the student's sizes,
and what it learns from."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from models.student_config import StudentModelConfig
from settings import Overrides, Settings, setting
from training.config import Config, TrainingConfig

_GROUP = "teacher and distillation"


@dataclass(frozen=True)
class DistillationConfig(Settings):
    """loss = soft_weight * T^2 KL(teacher || student at temperature T) + ctc_weight * CTC loss.

    The CTC loss is the one that train_teacher.py uses. A run has a teacher, or stored soft targets,
    or neither with soft_weight 0: then the student learns from the glosses alone.
    """

    prefix: ClassVar[str] = "distillation."

    teacher: str | None = setting(
        None,
        "checkpoint of the teacher, which predicts every augmented batch beside the student",
        group=_GROUP,
        metavar="CHECKPOINT",
        default_text="none",
    )
    soft_targets: str | None = setting(
        None,
        "folder of export_soft_targets.py instead of --teacher; its views and temperature are used",
        group=_GROUP,
        metavar="DIR",
        default_text="none",
    )
    soft_weight: float = setting(
        0.7, "weight of the distillation; 0: learn without a teacher", low=0, group=_GROUP
    )
    ctc_weight: float = setting(0.3, "weight of the CTC loss", low=0, group=_GROUP)
    temperature: float = setting(
        3.0, "temperature of the distillation: all logits are divided by it", above=0, group=_GROUP
    )
    # As in VAC the divergence is between the glosses alone; the blank is left to CTC.
    soft_blank: bool = setting(False, "distil the blank as well as the glosses", group=_GROUP)

    def conflicts(self) -> list[str]:
        wrong = self.impossible_paths(teacher="a checkpoint", soft_targets="a folder")
        if self.soft_weight == self.ctc_weight == 0:
            wrong.append(
                "distillation.soft_weight and ctc_weight are both 0: there is nothing to learn from"
            )
        return wrong


@dataclass(frozen=True)
class StudentConfig(Config):
    """Everything that a student's run is made from. It has no flat start: the teacher shows where
    the glosses are."""

    kind: ClassVar[str] = "student"

    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            output_dir="checkpoints/student", flat_start_epochs=0.0
        )
    )
    model: StudentModelConfig = field(default_factory=StudentModelConfig)  # type: ignore[assignment]
    distillation: DistillationConfig = field(default_factory=DistillationConfig)

    def without_effect(self, given: Overrides) -> list[str]:
        """See `Config.without_effect`."""
        useless = [] if self.distillation.soft_weight else ["temperature", "soft_blank"]
        return super().without_effect(given) + [
            f"--{name} has no effect with --soft_weight 0: leave one of them out"
            for name in useless
            if name in given.get("distillation", {})
        ]


@dataclass(frozen=True, kw_only=True)
class SoftTargetExportRequest(Settings):
    """The options of export_soft_targets.py."""

    prefix: ClassVar[str] = "--"
    _source: ClassVar[str] = "what is predicted"
    _written: ClassVar[str] = "what is written"

    checkpoint: Path = setting(help="best_model.pth of the teacher", group=_source)
    data_dir: str | None = setting(
        None,
        "corpus folder",
        group=_source,
        default_text="the corpus that the checkpoint was trained on",
    )
    splits: tuple[str, ...] = setting(
        ("train", "dev"),
        "splits of the corpus",
        choices=("train", "dev", "test"),
        group=_source,
    )
    device: str = setting("auto", "auto, cpu, cuda or cuda:N", group=_source)
    output_dir: Path = setting(
        help="folder of the soft targets; it must not exist yet", group=_written, metavar="DIR"
    )
    temperature: float = setting(3.0, "logits are divided by it", above=0, group=_written)
    views: int = setting(
        0,
        "augmented views of each train sentence; 0: the sentence without augmentation",
        low=0,
        high=10_000,
        group=_written,
    )
    seed: int = setting(0, "random seed for the augmentation of the views", group=_written)

    def conflicts(self) -> list[str]:
        if self.seed and not self.views:
            return ["--seed has no effect without --views, which it augments: leave it out"]
        return []
