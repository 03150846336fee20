"""The training loop: epochs of updates, dev WER after each epoch, checkpoints, early stopping.

`fit` trains to the end of the run, `train_epoch` makes the updates of one epoch, and `update` is
one step of the optimiser.
"""

import contextlib
import dataclasses
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from data.corpus import Corpus
from data.ctc_targets import PreparedSplit, pad_targets
from data.device_transfer import HostCopies, on_device
from data.keyed_random import key
from data.pipeline import FeatureBatch, FeaturePipeline, placeholder_batch
from data.vocabulary import Vocabulary
from decoding.greedy import best_path
from decoding.length_normalization import LengthNormalization
from decoding.scoring import score
from errors import DivergenceError
from models.checkpoint import LAST
from models.devices import Precision, peak_memory, reset_peak_memory
from models.i3d_teacher import I3DTeacher, TeacherOutput
from models.machine_choices import MachineChoices
from models.student import Student
from reports.diagnosis import diagnose
from training.batchnorm_calibration import calibrate
from training.config import Config
from training.distributed import Ranks
from training.divergence import DUMP, MAX_BAD_UPDATES, dump_batches, refuse_lost_model
from training.early_stopping import EarlyStopping
from training.epoch_plan import EpochPlan
from training.losses import make_loss
from training.optimizer import apply_gradients, make_optimizer
from training.part_masking import draw_part_masks
from training.progress import (
    EpochBar,
    PendingUpdate,
    TrainingProgress,
    corpus_entry,
    load_training_entry,
    training_entry,
)
from training.run_files.checkpoint_writer import CheckpointWriter
from training.run_files.run_log import RunLog, epoch_row, heading
from training.stop_signals import InterruptedRunError, StopSignals
from training.validation import ValidationResult, validate
from version import VERSION


@dataclass
class Trainer:
    """Trains one model on one corpus in one run folder. Built by training/setup.py."""

    config: Config
    corpus: Corpus
    vocabulary: Vocabulary
    model: I3DTeacher | Student
    train: PreparedSplit
    dev: PreparedSplit
    pipeline: FeaturePipeline
    precision: Precision
    decoder_settings: LengthNormalization
    folder: Path
    machine: MachineChoices
    ranks: Ranks = field(default_factory=Ranks, kw_only=True)

    def __post_init__(self) -> None:
        options = self.config.training
        self.device = self.pipeline.device
        self.forward: nn.Module = self.model  # what an update calls; with several ranks a wrapper
        self.loss = make_loss(options)
        self.optimizer = make_optimizer(self.model, options)
        self.progress = TrainingProgress()
        self.stopping = EarlyStopping(options.patience)
        self.plan = EpochPlan(self.config, self.train, self.draw_key, self.corpus.aspect_ratio)
        self._pending: PendingUpdate | None = None
        self._writer = CheckpointWriter()
        self._saved_at = time.monotonic()

    # ------------------------------------------------------------------------------ the loop

    def fit(self) -> None:
        """Train until the last epoch or an early stop.

        Raises InterruptedRunError after a signal, once the checkpoint is written, DivergenceError,
        and DataError when a checkpoint cannot be written.
        """
        options, progress = self.config.training, self.progress
        log = RunLog(self.folder, progress.history) if self.ranks.is_rank_0 else None
        self._saved_at = time.monotonic()
        try:
            with StopSignals(insistent=self.ranks.world > 1) as signals, self._writer:
                print(heading())
                if self.stopping.should_stop and not progress.group:  # by a lower --patience
                    progress.finished = True
                    self.save()
                while not progress.finished:
                    self.train_epoch(signals)
                    row = self._finish_epoch(signals)
                    is_best = self.stopping.update(progress.epoch, row["dev_wer"], row["dev_loss"])
                    progress.history.append(row)
                    if log is not None:
                        log.add(row, is_best)
                    for line in diagnose(progress.history, options.warmup_epochs):
                        tqdm.write(line)
                    was_last = progress.epoch >= options.epochs
                    progress.finished = was_last or self.stopping.should_stop
                    progress.start_next_epoch()
                    self.save(is_best, wait=progress.finished)
                    self._stop_if_asked(signals, saved=True)
        finally:
            if log is not None:
                log.close()
        if self.stopping.should_stop and progress.epoch <= options.epochs:
            print(f"stopped early: {self.stopping.reason}")

    def train_epoch(self, signals: StopSignals) -> None:
        """Make the updates of the epoch that are left."""
        options, progress = self.config.training, self.progress
        reset_peak_memory(self.device)
        groups = self.plan.begin(progress.epoch)[progress.group :]
        batches = self.feed(groups)
        self.model.train()
        with (
            contextlib.closing(batches),
            EpochBar(progress, options.epochs, self.plan.updates, self.ranks) as bar,
        ):
            for _ in groups:
                started = time.perf_counter()
                self.update(next(batches))
                progress.group += 1
                progress.seconds += time.perf_counter() - started
                bar.advance()
                self._stop_if_asked(signals)
                self._writer.check()
                if options.checkpoint_minutes:
                    due = time.monotonic() - self._saved_at >= 60 * options.checkpoint_minutes
                    if self.ranks.maximum(due):
                        self.save()
            started = time.perf_counter()
            self.finish_pending_update()
            progress.seconds += time.perf_counter() - started

    def update(self, batches: Sequence[FeatureBatch]) -> None:
        """One optimiser step on the mean loss over all sentences of the batches and ranks.

        Nothing here waits for the device: losses and gradient norm are recorded when the next
        update has been launched, or by `finish_pending_update`. Raises DivergenceError of the
        update before.
        """
        options, progress = self.config.training, self.progress
        # Skipped updates count, too: it is not known yet whether the previous one was skipped.
        rate = self.plan.learning_rate(self.plan.step(progress.epoch, progress.group))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        # Dropout is keyed by (seed, epoch, update): a continued run has the same masks.
        dropout = self.ranks.random_stream("dropout")
        torch.manual_seed(key(options.seed, progress.epoch, progress.group, dropout) % 2**63)
        sizes = [len(batch.global_indices) for batch in batches]
        self.optimizer.zero_grad(set_to_none=True)
        own_losses: list[Tensor] = []
        paths: list[Tensor] = []
        for number, batch in enumerate(batches, start=1):
            classes = [self.plan.split.targets[index] for index in batch.indices]
            targets = pad_targets(classes, self.device)
            with self.ranks.accumulating(self.forward, last=number == len(batches)):
                output, losses = self.losses(batch, *targets)
                # Gradients are averaged over the ranks: times their number this is the sum.
                loss = (losses + self._flat_start(output, *targets)).sum()
                loss = loss * self.ranks.world / sum(sizes)
                self.precision.scaler.scale(loss).backward()
            own_losses.append(losses.detach())
            paths += best_path(output.log_probs.detach(), output.lengths)
            progress.frames += batch.frames
        losses = self.ranks.join_losses(own_losses, sizes)
        norm = apply_gradients(
            self.model, self.optimizer, self.precision.scaler, options.max_grad_norm, losses
        )
        figures = HostCopies([losses, norm, *paths])
        previous, self._pending = self._pending, PendingUpdate(progress.group, batches, figures)
        if previous is not None:
            self._record(previous)

    def losses(
        self, batch: FeatureBatch, targets: Tensor, target_lengths: Tensor
    ) -> tuple[TeacherOutput, Tensor]:
        """The model's output for a batch and the loss of each of its sentences, float32 (B,).

        A rank whose share has no sentence (B = 0) still takes part in the statistics and gradients
        that all ranks compute together.
        """
        ids = [self.train.split.sentences[index].id for index in batch.indices]
        visible = draw_part_masks(self.config.training, self.progress.epoch, ids)
        masks = on_device(visible, self.device) if visible is not None and ids else None
        with self.precision.autocast():
            output = self.forward(batch.features, batch.lengths, batch.detected, masks)
        if not ids:
            nothing = TeacherOutput(*(tensor[:0] for tensor in output))
            return nothing, sum(tensor[:0].sum((1, 2)) for tensor in output[:2])
        return output, self.loss(output, targets, target_lengths).total

    def _flat_start(
        self, output: TeacherOutput, targets: Tensor, target_lengths: Tensor
    ) -> Tensor | float:
        """What is added to the losses at the start of a training, (B,). It is not recorded: the
        train loss stays comparable with the dev loss."""
        weight = self.plan.flat_start(self.progress.epoch, self.progress.group)
        return weight * self.loss.flat_start(output, targets, target_lengths) if weight else 0.0

    def feed(
        self, groups: Sequence[Sequence[np.ndarray]]
    ) -> Generator[list[FeatureBatch], None, None]:
        """The batches of each update; of each batch, this rank's share of the sentences."""
        shares = [self.ranks.share(batch) for group in groups for batch in group]
        with contextlib.closing(self.batches([share for share in shares if len(share)])) as own:
            for group in groups:
                fed = []
                for indices in group:
                    if len(self.ranks.share(indices)):
                        batch = next(own)
                    else:
                        batch = placeholder_batch(self.device, self.pipeline.selection)
                    fed.append(dataclasses.replace(batch, global_indices=indices))
                yield fed

    def batches(self, plan: list[np.ndarray]) -> Generator[FeatureBatch, None, None]:
        """Batches of the given sentences, with this epoch's augmentation."""
        return self.pipeline.augmented_batches(
            self.plan.split, plan, self.config.augmentation, *self.draw_key(self.progress.epoch)
        )

    def draw_key(self, epoch: int) -> tuple[int, int]:
        """Seed and epoch from which an epoch's augmentation is drawn."""
        return self.config.training.seed, epoch

    # --------------------------------------------------------------------- records of updates

    def finish_pending_update(self) -> None:
        """Wait for the last update and record it. Raises DivergenceError."""
        pending, self._pending = self._pending, None
        if pending is not None:
            self._record(pending)

    def _record(self, update: PendingUpdate) -> None:
        """Record an update in `progress`. Raises DivergenceError when too many in a row were
        skipped."""
        losses, norm, *paths = update.figures.read()
        self.progress.record_hypotheses(update.batches, paths[::2], paths[1::2])
        sentences = self.train.split.sentences
        ids = [sentences[index].id for batch in update.batches for index in batch.global_indices]
        self.progress.record_update(update.group, losses.tolist(), float(norm), ids)
        if self.progress.bad_updates >= MAX_BAD_UPDATES:
            self._raise_divergence(update, losses.tolist())

    def _raise_divergence(self, update: PendingUpdate, losses: list[float]) -> None:
        path, epoch = self.folder / DUMP, self.progress.epoch
        dumped = dump_batches(
            path, self.plan.split, update.batches, losses, epoch, update.group, self.ranks
        )
        with self.ranks.all_must_succeed():  # which may end the process
            self._writer.wait()
            raise DivergenceError(
                f"{MAX_BAD_UPDATES} updates in a row had a loss or gradient that is not finite: "
                f"lower --learning_rate (now {self.config.training.learning_rate:g}) or use "
                f"--precision fp32; {self.folder / LAST} has the last good state, {dumped}"
            )

    # ------------------------------------------------------------------------- end of an epoch

    def _finish_epoch(self, signals: StopSignals) -> dict:
        """Calibrate batch normalisation, evaluate on dev and make the epoch's row, the same on all
        ranks."""
        calibrate(self.model, self.pipeline, self.train.split, self.precision, self.plan.trainable)
        dev = self.validate(lambda: self._stop_if_asked(signals))
        with self.ranks.all_must_succeed():
            refuse_lost_model(dev, self.progress.epoch, self.config.training, self._writer.wait)
        self.progress.gather_on_rank_0(self.ranks)
        return self.ranks.from_rank_0(lambda: self._row(dev))

    def validate(self, on_batch: Any = lambda: None) -> ValidationResult:
        """WER and loss on dev, greedily. `on_batch` is called after each batch."""
        return validate(
            self.model,
            self.pipeline,
            self.dev,
            self.vocabulary,
            self.loss,
            self.precision,
            on_batch=on_batch,
            ranks=self.ranks,
        )

    def _row(self, dev: ValidationResult) -> dict:
        progress = self.progress
        predicted = sorted(progress.hypotheses)
        train = score(
            [self.plan.split.split.sentences[index].glosses for index in predicted],
            [self.vocabulary.decode(progress.hypotheses[index]) for index in predicted],
        )
        rate = self.optimizer.param_groups[0]["lr"]
        return epoch_row(progress, dev, train.wer, rate, peak_memory(self.device))

    def _stop_if_asked(self, signals: StopSignals, saved: bool = False) -> None:
        if received := self.ranks.maximum(signals.received or 0):
            if not saved:
                self.save()
            self._writer.wait()
            raise InterruptedRunError(received)

    # -------------------------------------------------------------------------------- the state

    @property
    def teacher(self) -> dict[str, str] | None:
        """Path and SHA-256 of the checkpoint of a student's teacher."""
        return None

    @property
    def input_paths(self) -> list[Path]:
        """The files and folders that the run reads while it trains."""
        return [self.corpus.path]

    def state(self) -> dict:
        """The content of a checkpoint."""
        return {
            "version": VERSION,
            "kind": self.config.kind,
            "model": self.model.state_dict(),
            "vocabulary": list(self.vocabulary.glosses),
            "config": self.config.to_dict(),
            "corpus": corpus_entry(self.corpus),
            "decoder": {"steps_per_gloss": self.decoder_settings.steps_per_gloss},
            "training": training_entry(
                self.progress, self.stopping, self.optimizer, self.precision.scaler, self.machine
            ),
        }

    def restore(self, checkpoint: dict) -> None:
        """Continue from a checkpoint; the weights are in the model already. Raises DataError."""
        self.progress, self.stopping = load_training_entry(
            checkpoint["training"], self.config.training, self.optimizer, self.precision.scaler
        )
        if not self.ranks.is_rank_0:
            self.progress.forget_share()

    def connect_ranks(self) -> None:
        """Train with all ranks of the run from here on. All ranks call it."""
        self.stopping, self.machine = self.ranks.from_rank_0(lambda: (self.stopping, self.machine))
        self.machine.apply()
        if self.precision.name != self.machine.precision:  # each rank's own test decided
            self.precision = Precision(self.machine.precision, self.device)
        self.forward = self.ranks.wrap_model(self.model)

    def start_from_loaded_model(self) -> None:
        """Evaluate the loaded model of a fine-tune on dev: an epoch must beat it to be the best."""
        loaded = self.validate()
        self.progress.loaded_wer = loaded.score.wer
        self.stopping.start_from(loaded.score.wer)
        print(f"loaded model on dev (greedy): {loaded.score}")
        self.save(best=True)

    def save(self, best: bool = False, wait: bool = True) -> None:
        """Write last.pth, and keep the last.pth before as previous.pth. All ranks call it.

        Args:
            best: the model is the best so far: write best_model.pth as well.
            wait: return when all is written. Otherwise training continues meanwhile; the next
                `save` and the end of `fit` wait.

        Raises DataError, also for the checkpoint before.
        """
        self.finish_pending_update()
        self.progress.gather_on_rank_0(self.ranks)
        if self.ranks.is_rank_0:
            self._writer.write(self.folder, self.state(), best)
            if wait:
                self._writer.wait()
        self._saved_at = time.monotonic()
