"""A student taught by a teacher: the trainer of train_teacher.py with a soft target beside the
glosses.

Either the teacher is run on the very batch that the student sees, or what it said was stored by
export_soft_targets.py for a number of augmented views that the epochs then go round. (Targets of
the sentence as it is, warped to an augmented input, would not be what the teacher says of what the
student sees.) Measured on recorded signs before calibration, 10 epochs, one seed: 8 stored views
teach as well as the teacher itself, 2.3 % WER each. Running the teacher is the way shown first, as
it needs no files and its views never repeat; stored targets are for teachers that are slow or not
at hand.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from data.augmentation import drawn_frames
from data.corpus import Corpus, sha256_of
from data.ctc_lengths import ctc_steps, min_frames
from data.device_transfer import on_device
from data.pipeline import FeatureBatch, FeaturePipeline
from data.vocabulary import Vocabulary
from distillation.config import StudentConfig
from distillation.soft_targets import SoftTargets
from errors import DataError, UsageError
from models.build import is_causal, load_model
from models.checkpoint import load_checkpoint
from models.devices import Precision
from models.i3d_teacher import TeacherOutput, count_parameters
from training.distributed import Ranks
from training.losses import distillation_per_step
from training.resume import CONTINUE, FRESH, Start
from training.saved_config import read_config
from training.setup import Run, prepare_run
from training.trainer import Trainer


@dataclass
class GuidedBatch(FeatureBatch):
    """A batch with the teacher's log-probabilities float32 (B, T', V), up to a constant a step."""

    soft: Tensor


class OnlineTeacher:
    """A teacher that reads each batch beside the student, without gradient and without dropout."""

    def __init__(self, path: Path):
        """Raises DataError when the checkpoint is missing or unusable."""
        checkpoint = load_checkpoint(path)
        config = read_config(checkpoint, path)
        self.vocabulary = Vocabulary(checkpoint["vocabulary"])
        self.corpus_path = checkpoint["corpus"]["path"]
        self.identity = {"path": str(path), "sha256": sha256_of(path)}
        self.model = (
            load_model(checkpoint, path, config.model, self.vocabulary, 0)
            .eval()
            .requires_grad_(False)
        )
        self.causal = is_causal(config.model)
        self.parameters = sum(parameter.numel() for parameter in self.model.parameters())

    def check(self, corpus: Corpus, vocabulary: Vocabulary) -> None:
        """Raises DataError when the student is to know other glosses."""
        if vocabulary != self.vocabulary:
            raise DataError(
                f"the teacher {self.identity['path']} knows {len(self.vocabulary.glosses)} glosses, the student "
                f"{len(vocabulary.glosses)}, not the same ones: train the student anew"
            )

    def batches(
        self, trainer: "StudentTrainer", plan: Sequence[np.ndarray]
    ) -> Iterator[GuidedBatch]:
        """The plan's batches as this epoch augments them, and what the teacher says of the same
        sentences."""
        pipeline, epoch = trainer.pipeline, trainer.progress.epoch
        self.model.to(pipeline.device).set_input_layout(pipeline.layout)
        drawn = (
            trainer.epoch_train,
            plan,
            trainer.config.augmentation,
            trainer.config.training.seed,
            epoch,
        )
        own = pipeline.augmented_batches(*drawn)
        if self.causal == pipeline.causal:
            for batch in own:
                yield _guided(batch, self._read(batch, trainer.precision))
            return
        # The same draws on features that may look ahead: as long, frame for frame.
        other = FeaturePipeline(
            pipeline.aspect_ratio, pipeline.device, self.causal, pipeline.layout
        )
        other.resident = pipeline.resident
        other = other.augmented_batches(*drawn)
        for batch, seen in zip(own, other, strict=True):
            yield _guided(batch, self._read(seen, trainer.precision))

    @torch.no_grad()
    def _read(self, batch: FeatureBatch, precision: Precision) -> Tensor:
        with precision.autocast():
            return self.model(batch.features, batch.lengths, batch.detected).log_probs


class StoredTeacher:
    """Soft targets on disk. Epoch e sees view (e - 1) mod K + 1, its augmentation drawn as it was
    when they were made."""

    def __init__(self, path: Path):
        """Raises DataError when the folder is missing, damaged or not of this format."""
        self.targets = SoftTargets(path)
        self.request = self.targets.request
        self.vocabulary = Vocabulary(self.request.vocabulary)
        self.corpus_path = self.request.corpus["path"]
        self.identity = {
            "path": self.request.checkpoint["path"],
            "sha256": self.request.checkpoint["sha256"],
        }
        self.parameters = None

    def check(self, corpus: Corpus, vocabulary: Vocabulary) -> None:
        """Raises DataError when they are of another corpus, other glosses, or the checkpoint has
        changed since."""
        self.targets.check(corpus.path, corpus.fingerprint, vocabulary.glosses)
        views = range(1, self.request.views + 1) if self.request.views else (0,)
        self.targets.require(
            "train", [sentence.id for sentence in corpus.split("train").sentences], views
        )

    def settings(self) -> dict[str, dict]:
        """What they prescribe of the student's run."""
        # Sentences joined to others have no soft targets.
        ranges = {**self.request.augmentation, "enabled": self.request.views > 0, "mix": 0.0}
        return {
            "augmentation": ranges,
            "distillation": {"temperature": float(self.request.temperature)},
        }

    def draw_key(self, epoch: int) -> tuple[int, int]:
        """Seed and view that an epoch's augmentation is drawn from; view 0 is without."""
        return self.request.seed, (epoch - 1) % self.request.views + 1 if self.request.views else 0

    def batches(
        self, trainer: "StudentTrainer", plan: Sequence[np.ndarray]
    ) -> Iterator[GuidedBatch]:
        """The plan's batches in this epoch's view, and what the teacher said of the same sentences."""
        request, split, ranges = (
            self.request,
            trainer.epoch_train.split,
            trainer.config.augmentation,
        )
        seed, view = self.draw_key(trainer.progress.epoch)
        drawn = (trainer.epoch_train, plan, ranges, seed, view)
        for batch in trainer.pipeline.augmented_batches(*drawn):
            sentences = [split.sentences[index] for index in batch.indices]
            rows = [self.targets.read(split.name, one.id, view) for one in sentences]
            steps = [  # as the batch has them, on the device
                ctc_steps(
                    drawn_frames(ranges, seed, view, one.id, one.frames, min_frames(one.glosses))
                )
                for one in sentences
            ]
            if [len(row) for row in rows] != steps:
                ids = ", ".join(split.sentences[index].id for index in batch.indices)
                raise DataError(
                    f"{self.targets.path}: other lengths than these sentences have (one of {ids}): export again"
                )
            soft = on_device(
                nn.utils.rnn.pad_sequence(rows, batch_first=True), batch.features.device
            )
            yield _guided(batch, soft * request.temperature)


def _guided(batch: FeatureBatch, soft: Tensor) -> GuidedBatch:
    return GuidedBatch(**vars(batch), soft=soft)


@dataclass
class StudentTrainer(Trainer):
    """Trains a student. guide None: without a teacher, on the teacher's own loss."""

    guide: OnlineTeacher | StoredTeacher | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.guide is None:
            return
        self.guide.check(self.corpus, self.vocabulary)
        if new := sorted(set(self.train.unknown_glosses)):
            shown = ", ".join(new[:5]) + (", …" if len(new) > 5 else "")
            raise DataError(
                f"{self.corpus.path}: the student's corpus has {len(new)} glosses that its teacher does not know ({shown}): "
                "fine-tune the teacher on it with train_teacher.py --extend_vocabulary first"
            )

    @property
    def teacher(self) -> dict | None:
        return self.guide and dict(self.guide.identity)

    def state(self) -> dict:
        return {**super().state(), "teacher": self.teacher}

    def draw_key(self, epoch: int) -> tuple[int, int]:
        return (
            self.guide.draw_key(epoch)
            if isinstance(self.guide, StoredTeacher)
            else super().draw_key(epoch)
        )

    def batches(self, plan: list[np.ndarray]) -> Iterator[FeatureBatch]:
        return super().batches(plan) if self.guide is None else self.guide.batches(self, plan)

    def losses(
        self, batch: FeatureBatch, targets: Tensor, target_lengths: Tensor
    ) -> tuple[TeacherOutput, Tensor]:
        """soft_weight * the distillation + ctc_weight * the loss without a teacher, float32 (B,)."""
        options = self.config.distillation
        output, total = super().losses(batch, targets, target_lengths)
        total = options.ctc_weight * total
        if isinstance(batch, GuidedBatch):
            soft = soft_loss(
                output.log_probs,
                batch.soft,
                output.lengths,
                options.temperature,
                options.soft_blank,
            )
            total = total + options.soft_weight * soft
        return output, total


def soft_loss(
    student: Tensor, teacher: Tensor, steps: Tensor, temperature: float, blank: bool
) -> Tensor:
    """T^2 KL(teacher || student) at temperature T, mean over each sentence's steps, float32 (B,).

    Both are log-probabilities (B, T', V) up to a constant a step. Without `blank` they are of the
    glosses alone, renormalised: so does VAC (VIPL-SLP/VAC_CSLR,
    `SeqKD(...)(..., use_blank=False)`), whose spikes of blank would drown them.
    """
    first = 0 if blank else 1
    return distillation_per_step(student[..., first:], teacher[..., first:], steps, temperature)


def prepare_student(start: Start, given: dict[str, dict], ranks: Ranks | None = None) -> Run:
    """A student's run made ready: its teacher or soft targets opened and checked. Writes nothing.

    given: the settings that the user gave. ranks: as of `prepare_run`. Raises UsageError and
    DataError.
    """
    config = start.config
    options = config.distillation
    if options.teacher and options.soft_targets:
        raise UsageError("--teacher and --soft_targets both say who teaches: give one of them")
    if not (options.teacher or options.soft_targets) and options.soft_weight:
        raise UsageError(
            "who teaches? give --teacher CHECKPOINT or --soft_targets DIR; --soft_weight 0 trains without a teacher"
        )
    asked = given.get("distillation", {})
    if not options.soft_weight and (
        named := next((n for n in ("teacher", "soft_targets") if asked.get(n)), None)
    ):
        raise UsageError(f"--{named} has no effect with --soft_weight 0: leave one of them out")
    guide = None
    if options.soft_weight:
        guide = (
            OnlineTeacher(Path(options.teacher))
            if options.teacher
            else StoredTeacher(Path(options.soft_targets))
        )
        config = _with_prescribed(config, guide, given)
        if config.training.data_dir is None and Path(guide.corpus_path).is_dir():
            config = config.updated({"training": {"data_dir": guide.corpus_path}})
    start = dataclasses.replace(start, config=config)
    if start.kind == CONTINUE:
        _check_same_teacher(start, guide)
    run = prepare_run(
        start,
        make_trainer=partial(StudentTrainer, guide=guide),
        vocabulary=guide.vocabulary if guide is not None and start.kind == FRESH else None,
        ranks=ranks,
        also_read=guide.model.input_landmarks if isinstance(guide, OnlineTeacher) else (),
    )
    if guide is not None:
        own = count_parameters(run.trainer.model)
        share = (
            f", {guide.parameters / 1e6:.1f} M parameters (the student has {100 * own / guide.parameters:.1f} %)"
            if (guide.parameters)
            else ", as stored"
        )
        print(f"taught by {guide.identity['path']}{share}")
    return run


def _with_prescribed(
    config: StudentConfig, guide: OnlineTeacher | StoredTeacher, given: dict[str, dict]
) -> StudentConfig:
    """The configuration with what stored soft targets prescribe; a UsageError where the user gave
    something else."""
    if isinstance(guide, OnlineTeacher):
        return config
    prescribed = config.updated(guide.settings())
    asked, fixed = config.to_dict(), prescribed.to_dict()
    for section, keys in given.items():
        for name in keys:
            if section in guide.settings() and asked[section][name] != fixed[section][name]:
                raise UsageError(
                    f"{section}.{name} {asked[section][name]}: the soft targets {guide.targets.path} were made with "
                    f"{fixed[section][name]}; leave it out, export others, or use --teacher"
                )
    return prescribed


def _check_same_teacher(start: Start, guide: OnlineTeacher | StoredTeacher | None) -> None:
    before = start.checkpoint.get("teacher") or {}
    now = guide.identity if guide is not None else {}
    if before.get("sha256") != now.get("sha256"):
        raise DataError(
            f"{start.path} was taught by {before.get('path', 'nobody')} as it was then; {now.get('path', 'nobody')} is not the "
            "same: put that checkpoint back, or train the student anew"
        )
