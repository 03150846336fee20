"""The training loop: epochs of accumulated updates, dev WER after each, best and last checkpoint,
early stopping."""

import contextlib
import dataclasses
import math
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from data.augmentation import drawn_frames
from data.batching import plan_by_frames, plan_epoch
from data.corpus import Corpus
from data.ctc_lengths import min_frames
from data.ctc_targets import PreparedSplit, pad_targets, prepare_split
from data.device_transfer import HostCopies, on_device
from data.keyed_random import key
from data.pipeline import FeatureBatch, FeaturePipeline, empty_share
from data.sentence_mixing import mix_sentences
from data.vocabulary import Vocabulary
from decoding.greedy import best_path
from decoding.length_normalization import LengthNormalization
from decoding.scoring import score
from errors import DataError, DivergenceError
from models.checkpoint import LAST
from models.devices import Precision, peak_memory, reset_peak_memory
from models.i3d_teacher import I3DTeacher, TeacherOutput
from training.batchnorm_calibration import calibrate
from training.checkpoint_writer import CheckpointWriter
from training.config import Config
from training.diagnosis import diagnose
from training.distributed import Ranks
from training.divergence import DUMP, describe, dump_batches
from training.early_stopping import EarlyStopping
from training.loss_spikes import is_spike, remember
from training.losses import consistency_per_step, make_loss
from training.part_masking import draw_part_masks
from training.progress import PendingUpdate, TrainingProgress
from training.run_log import RunLog, heading
from training.schedule import learning_rate
from training.stop_signals import InterruptedRunError, StopSignals
from training.validation import ValidationResult, validate

# Fits into 80 columns, with hours to go
BAR = "{desc} |{bar:8}| {n_fmt}/{total_fmt} <{remaining}{postfix}"
MAX_BAD_UPDATES = 10  # in a row, with a loss or gradient that is not finite
MAX_EVENTS = 50  # skipped updates and loss spikes of one epoch that are kept for metrics.jsonl


@dataclass
class Trainer:
    """Trains one model on one corpus in one run folder. Built by training/run.py."""

    config: Config
    corpus: Corpus
    vocabulary: Vocabulary
    model: I3DTeacher
    train: PreparedSplit
    dev: PreparedSplit
    pipeline: FeaturePipeline
    precision: Precision
    decoder_settings: LengthNormalization
    folder: Path
    ranks: Ranks = field(default_factory=Ranks, kw_only=True)

    def __post_init__(self):
        options = self.config.training
        self.device = self.pipeline.device
        self.forward = self.model  # what a training step calls
        self.loss = make_loss(options)
        self.optimizer = make_optimizer(self.model, self.config)
        self.progress = TrainingProgress()
        self._unread: PendingUpdate | None = None
        self._writer = CheckpointWriter()
        self.stopping = EarlyStopping(options.patience)
        self.trainable = self.train.trainable
        self.epoch_train = (
            self.train
        )  # of the epoch under way: with other sentences joined to some, where that is asked for
        # Of the first epoch, which the learning rate is scaled by; batches by frames are not as
        # many in every epoch.
        self.updates_per_epoch = self.epoch_updates = len(self._groups(self.train, 1))
        if options.frames_per_batch:
            longer = int((self.shown_lengths(self.train, 1) > options.frames_per_batch).sum())
            if longer:
                budget = options.frames_per_batch
                print(
                    f"{longer} sentences are longer than --frames_per_batch {budget}: each is a batch of its own"
                )

    def spread(self) -> None:
        """Train with the other processes of the run from here on. All of them must have come so
        far."""
        self.forward = self.ranks.spread(self.model)

    # ---------------------------------------------------------------- state

    @property
    def teacher(self) -> dict | None:
        """The path and sha256 of the checkpoint that this model is taught by; None: by nothing but
        the glosses."""
        return None

    def state(self) -> dict:
        """The checkpoint's content."""
        corpus = self.corpus
        return {
            "kind": self.config.kind,
            "model": self.model.state_dict(),
            "vocabulary": list(self.vocabulary.glosses),
            "config": self.config.to_dict(),
            "corpus": {
                "name": corpus.name,
                "path": str(corpus.path),
                "fingerprint": corpus.fingerprint,
                "simulated": corpus.simulated,
                "composed": corpus.composed,
                "fps": corpus.fps,
                "aspect_ratio": corpus.aspect_ratio,
            },
            "decoder": {"steps_per_gloss": self.decoder_settings.steps_per_gloss},
            "training": {
                "progress": dataclasses.asdict(self.progress),
                "stopping": dataclasses.asdict(self.stopping),
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.precision.scaler.state_dict(),
            },
        }

    def restore(self, training: dict) -> None:
        """Take up the `training` part of a checkpoint; the model's weights are already in place.
        Raises DataError."""
        try:
            if absent := {each.name for each in dataclasses.fields(TrainingProgress)} - set(
                training["progress"]
            ):
                raise KeyError(f"no {', '.join(sorted(absent))}")
            self.progress = TrainingProgress(**training["progress"])
            if not self.ranks.is_writer:  # it keeps what was noted of the epoch so far
                self.progress.hypotheses, self.progress.frames = {}, 0
            self.stopping = EarlyStopping(**training["stopping"])
            self.optimizer.load_state_dict(training["optimizer"])
            self.precision.scaler.load_state_dict(training["scaler"])
        except (
            TypeError,
            ValueError,
            LookupError,
            AttributeError,
            ArithmeticError,
            RuntimeError,
        ) as error:
            raise DataError(
                f"the checkpoint's training state does not fit this version ({error}): it can be fine-tuned from, "
                "with a setting that shapes training, but not continued"
            ) from None

    def save(self, best: bool = False, wait: bool = True) -> None:
        """Write last.pth; what it was becomes the one before it. best: it is the best model, too.
        All processes call it.

        Without `wait` it is written while training goes on; the next `save` and the end of `run`
        wait for it. Raises DataError, also of the one before.
        """
        self.read_last_update()
        self._hand_over()
        if self.ranks.is_writer:
            self._writer.write(self.folder, self.state(), best)
            if wait:
                self._writer.wait()
        self._saved = time.monotonic()

    def _hand_over(self) -> None:
        """Let the writer have what each process has noted of its own sentences since the last time."""
        progress = self.progress
        _, *others = self.ranks.to_writer((progress.hypotheses, progress.frames)) or [None]
        for hypotheses, frames in others:
            progress.hypotheses.update(hypotheses)
            progress.frames += frames
        if not self.ranks.is_writer:
            progress.hypotheses, progress.frames = {}, 0

    # ---------------------------------------------------------------- the loop

    def run(self) -> None:
        """Train until the last epoch, an early stop, or a signal (`InterruptedRunError`, after
        saving)."""
        options, progress = self.config.training, self.progress
        log = RunLog(self.folder, progress.history) if self.ranks.is_writer else None
        self._saved = time.monotonic()
        try:
            with StopSignals(insistent=self.ranks.world > 1) as signals, self._writer:
                print(heading())
                while not progress.finished:
                    self._train_epoch(signals)
                    row = self._finish_epoch(signals)
                    is_best = self.stopping.update(progress.epoch, row["dev_wer"])
                    progress.history.append(row)
                    if log is not None:
                        log.add(row, is_best)
                    for line in diagnose(progress.history, options.warmup_epochs):
                        tqdm.write(line)
                    progress.finished = (
                        progress.epoch >= options.epochs or self.stopping.should_stop
                    )
                    self._begin_next_epoch()
                    self.save(is_best, wait=progress.finished)
                    self._stop_if_asked(signals, saved=True)
        finally:
            if log is not None:
                log.close()
        if self.stopping.should_stop:
            print(f"stopped early: no better dev WER in {options.patience} epochs")

    def _begin_next_epoch(self) -> None:
        progress = self.progress
        progress.total_seconds += progress.seconds
        progress.total_frames += progress.frames
        progress.epoch += 1
        progress.group, progress.loss_sum, progress.frames, progress.seconds = 0, 0.0, 0, 0.0
        progress.loss_sentences = progress.skipped_updates = progress.loss_spikes = 0
        progress.hypotheses, progress.events, progress.gradient_norms = {}, [], []

    def begin_epoch(self, epoch: int) -> list[list[np.ndarray]]:
        """Draw the epoch's train split. Returns its batches, those of one update together; the last
        group may be shorter."""
        options, mix = (
            self.config.training,
            self.config.augmentation.mix if self.config.augmentation.enabled else 0.0,
        )
        if mix:
            split = mix_sentences(
                self.train.split, self.trainable, mix, options.seed, epoch, min_frames
            )
            self.epoch_train = prepare_split(split, self.vocabulary)
        groups = self._groups(self.epoch_train, epoch)
        self.epoch_updates = len(groups)
        return groups

    def _groups(self, train: PreparedSplit, epoch: int) -> list[list[np.ndarray]]:
        """An epoch's batches, as `begin_epoch` returns them."""
        options, lengths = self.config.training, self.shown_lengths(train, epoch)
        if options.frames_per_batch:
            plan = plan_by_frames(lengths, options.frames_per_batch, options.seed, epoch)
        else:
            plan = plan_epoch(lengths, options.batch_size, options.seed, epoch)
        plan = [self.trainable[batch] for batch in plan]
        size = options.accumulation_steps
        return [plan[start : start + size] for start in range(0, len(plan), size)]

    def draw_key(self, epoch: int) -> tuple[int, int]:
        """Seed and epoch that an epoch's augmentation is drawn from."""
        return self.config.training.seed, epoch

    def shown_lengths(self, train: PreparedSplit, epoch: int) -> np.ndarray:
        """Frames of each trainable sentence as the epoch's augmentation shows it, int64."""
        config, (seed, epoch) = self.config.augmentation, self.draw_key(epoch)
        sentences = [train.split.sentences[index] for index in self.trainable]
        frames = [
            drawn_frames(config, seed, epoch, one.id, one.frames, min_frames(one.glosses))
            for one in sentences
        ]
        return np.array(frames, dtype=np.int64)

    def _train_epoch(self, signals: StopSignals) -> None:
        options, progress = self.config.training, self.progress
        reset_peak_memory(self.device)
        groups = self.begin_epoch(progress.epoch)[progress.group :]
        feed = self.feed(groups)
        bar = tqdm(
            total=self.epoch_updates,
            initial=progress.group,
            desc=f"epoch {progress.epoch}/{options.epochs}",
            bar_format=BAR,
            leave=False,
            # No bar in a pipe or a file: there the rows of the epochs tell.
            disable=None if self.ranks.is_writer else True,
            dynamic_ncols=True,
        )
        bar.set_postfix_str(self._standing())
        self.model.train()
        try:
            for _ in groups:
                started = time.perf_counter()
                self.update(next(feed))
                progress.group += 1
                progress.seconds += time.perf_counter() - started
                bar.set_postfix_str(self._standing(), refresh=False)
                bar.update()
                self._stop_if_asked(signals)
                self._writer.check()
                if options.checkpoint_minutes:
                    due = time.monotonic() - self._saved >= 60 * options.checkpoint_minutes
                    if self.ranks.most(due):
                        self.save()
            started = time.perf_counter()
            self.read_last_update()
            progress.seconds += time.perf_counter() - started
        finally:
            bar.close()
            feed.close()

    def feed(self, groups: Sequence[Sequence[np.ndarray]]) -> Iterator[list[FeatureBatch]]:
        """The batches of each group, of each batch this process's share of the sentences."""
        shares = [self.ranks.share(batch) for group in groups for batch in group]
        with contextlib.closing(self.batches([share for share in shares if len(share)])) as batches:
            for group in groups:
                shown = []
                for whole in group:
                    own = len(self.ranks.share(whole))
                    batch = next(batches) if own else empty_share(self.device, self.pipeline.layout)
                    batch.whole = whole
                    shown.append(batch)
                yield shown

    def batches(self, plan: list[np.ndarray]) -> Iterator[FeatureBatch]:
        """The plan's batches as this epoch shows them."""
        return self.pipeline.augmented_batches(
            self.epoch_train, plan, self.config.augmentation, *self.draw_key(self.progress.epoch)
        )

    def _standing(self) -> str:
        """Behind the progress bar: the epoch's loss so far, the last epoch's dev WER, and how long
        the run has to go at this speed (its reading of dev left out, and if it is not stopped
        early)."""
        progress, epochs = self.progress, self.config.training.epochs
        done = progress.epoch - 1 + progress.group / self.epoch_updates
        words = []
        if progress.loss_sentences:
            words.append(f"loss {progress.loss_sum / progress.loss_sentences:.2f}")
        if progress.history:
            words.append(f"WER {progress.history[-1]['dev_wer']:.1f} %")
        if done:
            left = (progress.total_seconds + progress.seconds) / done * (epochs - done)
            words.append(f"ETA {tqdm.format_interval(left)}")
        return ", ".join(words)

    def update(self, batches: Sequence[FeatureBatch]) -> None:
        """One optimiser step on the mean loss over all sentences of the batches, whatever their
        sizes and wherever they are.

        Nothing in it waits for the device. What the host wants to know of it is read when the next
        update has been launched, or by `read_last_update`. Raises DivergenceError, of the update
        before.
        """
        options, progress = self.config.training, self.progress
        # From the place in the run: whether the update before was skipped is not known yet, and
        # does not shift the schedule.
        rate = self.learning_rate(
            (progress.epoch - 1) * self.updates_per_epoch
            + progress.group * self.updates_per_epoch / self.epoch_updates
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        # Dropout is drawn from (seed, epoch, update): an interrupted run goes on with the same
        # masks.
        torch.manual_seed(
            key(options.seed, progress.epoch, progress.group, self.ranks.own("dropout")) % 2**63
        )
        sizes = [len(batch.whole) for batch in batches]
        self.optimizer.zero_grad(set_to_none=True)
        own_losses, paths = [], []
        for number, batch in enumerate(batches, start=1):
            targets = pad_targets(
                [self.epoch_train.targets[index] for index in batch.indices], self.device
            )
            with self.ranks.accumulating(self.forward, last=number == len(batches)):
                output, losses = self.losses(batch, *targets)
                # Gradients are averaged over the processes: times their number that is the sum.
                self.precision.scaler.scale(losses.sum() * self.ranks.world / sum(sizes)).backward()
            own_losses.append(losses.detach())
            paths += best_path(output.log_probs.detach(), output.lengths)
            progress.frames += batch.frames
        losses = self.ranks.join(own_losses, sizes)
        norm = self._apply_gradients(losses)
        before, self._unread = (
            self._unread,
            PendingUpdate(progress.group, batches, HostCopies([losses, norm, *paths])),
        )
        if before is not None:
            self._take_down(before)

    def losses(
        self, batch: FeatureBatch, targets: Tensor, target_lengths: Tensor
    ) -> tuple[TeacherOutput, Tensor]:
        """The model's output on the batch and the loss of each of its sentences, float32 (B,).

        With a consistency weight the batch is seen twice, with different parts hidden; the output
        is the first view's. An empty share has no sentence (B = 0), but its part in the statistics
        and gradients of all processes.
        """
        options = self.config.training
        names = [self.train.split.sentences[index].id for index in batch.indices]
        shown = draw_part_masks(options, self.progress.epoch, names)  # (views, B, 4)
        outputs = []
        for view in on_device(shown, self.device) if shown is not None else [None]:
            with self.precision.autocast():
                outputs.append(
                    self.forward(
                        batch.features, batch.lengths, batch.detected, view if names else None
                    )
                )
        if not names:
            nothing = TeacherOutput(*(tensor[:0] for tensor in outputs[0]))
            return nothing, sum(one[:0].sum((1, 2)) for output in outputs for one in output[:2])
        losses = sum(self.loss(output, targets, target_lengths).total for output in outputs) / len(
            outputs
        )
        if len(outputs) == 2:
            one, other = (output.log_probs for output in outputs)
            losses = losses + options.consistency_weight * consistency_per_step(
                one, other, outputs[0].lengths
            )
        return outputs[0], losses

    def _apply_gradients(self, losses: Tensor) -> Tensor:
        """Step, or skip the update when something is not finite, which the device decides by
        itself.

        losses (sentences,): of the update, of all processes. Returns the norm of the gradient
        before clipping, ().
        """
        scaler, optimizer = self.precision.scaler, self.optimizer
        scaler.unscale_(optimizer)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.training.max_grad_norm)
        if scaler.is_enabled():
            # Skips the update by itself and lowers its scale when a gradient overflowed
            scaler.step(optimizer)
            scaler.update()
        else:
            # What a scaler would set: where found_inf is 1 the fused optimiser leaves weights,
            # moments and step as they are.
            optimizer.grad_scale, optimizer.found_inf = (
                None,
                (~(losses.isfinite().all() & norm.isfinite())).float(),
            )
            optimizer.step()
            del optimizer.grad_scale, optimizer.found_inf
        return norm

    def read_last_update(self) -> None:
        """Wait for the update that was launched last and take it into `progress`. Raises
        DivergenceError."""
        unread, self._unread = self._unread, None
        if unread is not None:
            self._take_down(unread)

    def _take_down(self, update: PendingUpdate) -> None:
        """Read an update's figures into `progress`. Raises DivergenceError when too many in a row
        were skipped."""
        progress = self.progress
        losses, norm, *paths = update.figures.read()
        for batch, path, begins in zip(update.batches, paths[::2], paths[1::2], strict=True):
            for index, row, begin in zip(batch.indices, path, begins, strict=True):
                progress.hypotheses[int(index)] = row[begin].tolist()
        losses, norm = losses.tolist(), float(norm)
        loss_sum = sum(losses)
        if math.isfinite(loss_sum):
            progress.loss_sum += loss_sum
            progress.loss_sentences += len(losses)
            if math.isfinite(norm):
                progress.gradient_norms.append(norm)
                progress.bad_updates = 0
                self._watch_for_spikes(loss_sum / len(losses), losses, update)
                return
        progress.bad_updates += 1
        progress.skipped_updates += 1
        ids = self._ids(update.batches)
        self._note("skipped", update.group, None, [[id, None] for id in ids])
        tqdm.write(f"update skipped: loss or gradient is not finite in sentences {', '.join(ids)}")
        if progress.bad_updates >= MAX_BAD_UPDATES:
            path = self.folder / DUMP
            dumped = dump_batches(
                path,
                self.epoch_train,
                update.batches,
                losses,
                progress.epoch,
                update.group,
                self.ranks,
            )
            with self.ranks.together():  # which may end the process
                self._writer.wait()
                raise DivergenceError(
                    f"{MAX_BAD_UPDATES} updates in a row had a loss or gradient that is not finite: lower --learning_rate "
                    f"(now {self.config.training.learning_rate:g}) or use --precision fp32; {self.folder / LAST} holds the "
                    f"last good state, {dumped}"
                )

    def _watch_for_spikes(self, loss: float, losses: list[float], update: PendingUpdate) -> None:
        progress = self.progress
        if is_spike(loss, progress.recent_losses):
            progress.loss_spikes += 1
            highest = describe(self._ids(update.batches), losses)
            self._note("spike", update.group, loss, highest)
            named = ", ".join(f"{id} ({value:.1f})" for id, value in highest)
            tqdm.write(
                f"loss spike: {loss:.1f} in epoch {progress.epoch}, highest in sentences {named}"
            )
        remember(loss, progress.recent_losses)

    def _note(self, kind: str, group: int, loss: float | None, sentences: list[list]) -> None:
        progress = self.progress
        if len(progress.events) < MAX_EVENTS:
            progress.events.append(
                {"kind": kind, "group": group, "loss": loss, "sentences": sentences}
            )

    def _ids(self, batches: Sequence[FeatureBatch]) -> list[str]:
        return [self.train.split.sentences[index].id for batch in batches for index in batch.whole]

    def learning_rate(self, step: float) -> float:
        """Of one update, counted from 0 over the whole run, skipped ones among them; a fraction
        where an epoch has not the usual number of updates."""
        options = self.config.training
        return learning_rate(
            step,
            peak=options.learning_rate,
            minimum=options.min_learning_rate,
            warmup_steps=round(options.warmup_epochs * self.updates_per_epoch),
            total_steps=options.epochs * self.updates_per_epoch,
        )

    def _finish_epoch(self, signals: StopSignals) -> dict:
        """Calibrate, evaluate on dev and make the epoch's row, the same one on all processes."""
        calibrate(self.model, self.pipeline, self.train.split, self.precision, self.trainable)
        dev = validate(
            self.model,
            self.pipeline,
            self.dev,
            self.vocabulary,
            self.loss,
            self.precision,
            on_batch=lambda: self._stop_if_asked(signals),
            ranks=self.ranks,
        )
        self._hand_over()
        return self.ranks.from_writer(lambda: self._row(dev))

    def _row(self, dev: ValidationResult) -> dict:
        progress = self.progress
        said = sorted(progress.hypotheses)
        train = score(
            [self.epoch_train.split.sentences[index].glosses for index in said],
            [self.vocabulary.decode(progress.hypotheses[index]) for index in said],
        )
        return {
            "epoch": progress.epoch,
            "train_loss": progress.loss_sum / progress.loss_sentences
            if progress.loss_sentences
            else math.nan,
            "dev_loss": dev.loss,
            "train_wer": train.wer,
            "dev_wer": dev.score.wer,
            "dev_substitutions": dev.score.substitutions,
            "dev_deletions": dev.score.deletions,
            "dev_insertions": dev.score.insertions,
            "dev_blank_share": dev.blank_share,
            "dev_empty_share": sum(not said for said in dev.hypotheses) / len(dev.hypotheses),
            "dev_gloss_ratio": sum(map(len, dev.hypotheses)) / dev.score.reference_glosses,
            "gradient_norm": statistics.median(progress.gradient_norms)
            if progress.gradient_norms
            else math.nan,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "frames_per_second": progress.frames / progress.seconds if progress.seconds else 0.0,
            "peak_memory_gb": peak_memory(self.device),
            "skipped_updates": progress.skipped_updates,
            "loss_spikes": progress.loss_spikes,
            "events": progress.events,
        }

    def _stop_if_asked(self, signals: StopSignals, saved: bool = False) -> None:
        if received := self.ranks.most(signals.received or 0):
            if not saved:
                self.save()
            self._writer.wait()
            raise InterruptedRunError(received)


def make_optimizer(model: nn.Module, config: Config) -> torch.optim.Optimizer:
    """AdamW (decoupled decay) or Adam (decay as L2), fused; vectors (biases, norms) and the cosine
    heads' class vectors, whose length means nothing, are not decayed."""
    options = config.training
    decayed, free = [], []
    for name, parameter in model.named_parameters():
        (
            free if parameter.ndim < 2 or name in ("head.weight", "conv_head.weight") else decayed
        ).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": options.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[options.optimizer]
    return kind(groups, lr=options.learning_rate, fused=True)
