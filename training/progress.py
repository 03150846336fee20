"""The progress of a run: its epochs and updates, and how a checkpoint stores them."""

import dataclasses
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from tqdm import tqdm

from data.corpus import Corpus
from data.device_transfer import HostCopies
from data.extractors import extractor_of
from data.pipeline import FeatureBatch
from errors import DataError
from models.machine_choices import MachineChoices
from progress_bar import ProgressBar
from training.config import TrainingConfig
from training.distributed import Ranks
from training.divergence import highest_losses, is_spike, remember
from training.early_stopping import EarlyStopping

BAR = "{desc} |{bar:8}| {n_fmt}/{total_fmt} <{remaining}{postfix}"  # fits into 80 columns
MAX_EVENTS = 50  # skipped updates and loss spikes per epoch that metrics.jsonl keeps


@dataclass(frozen=True)
class PendingUpdate:
    """An update whose losses are still being copied to the CPU.

    Args:
        group: the number of the update in its epoch, from 0.
        batches: the batches of the update.
        figures: copies of the losses of all sentences, the gradient norm, and for each batch the
            best path and where glosses begin on it.
    """

    group: int
    batches: Sequence[FeatureBatch]
    figures: HostCopies


@dataclass
class TrainingProgress:
    """What is needed to continue a run exactly, besides weights and optimiser.

    It has plain values only, so that a checkpoint can store it. "This epoch" is the current epoch.
    """

    epoch: int = 1  # the epoch under way, from 1
    group: int = 0  # updates of this epoch so far, skipped ones included
    loss_sum: float = 0.0  # over the sentences of updates with a finite loss, in this epoch
    loss_sentences: int = 0  # number of those sentences
    frames: int = 0  # in this epoch
    seconds: float = 0.0  # of training, in this epoch
    total_seconds: float = 0.0  # of training, in the epochs before
    total_frames: int = 0  # in the epochs before
    bad_updates: int = 0  # updates in a row, up to now, with a loss or gradient that is not finite
    skipped_updates: int = 0  # in this epoch
    loss_spikes: int = 0  # in this epoch
    events: list[dict] = field(default_factory=list)  # skipped updates and spikes, in this epoch
    recent_losses: list[float] = field(default_factory=list)  # of the last updates
    gradient_norms: list[float] = field(default_factory=list)  # before clipping, in this epoch
    loaded_wer: float | None = None  # dev WER of the model that a fine-tune started from
    hypotheses: dict[int, list[int]] = field(default_factory=dict)  # by train sentence
    history: list[dict] = field(default_factory=list)  # one row per finished epoch
    finished: bool = False

    @property
    def mean_loss(self) -> float:
        """Mean loss of the sentences of this epoch so far; NaN without any."""
        return self.loss_sum / self.loss_sentences if self.loss_sentences else math.nan

    @property
    def median_gradient_norm(self) -> float:
        """Median gradient norm of this epoch before clipping; NaN without any."""
        return statistics.median(self.gradient_norms) if self.gradient_norms else math.nan

    def record_hypotheses(
        self, batches: Sequence[FeatureBatch], paths: Sequence, begins: Sequence
    ) -> None:
        """Keep the greedy hypotheses of an update's batches, for the train WER.

        Args:
            batches: the batches of the update.
            paths: the best path of each batch, int64 (B, T').
            begins: where glosses begin on it, bool (B, T').
        """
        for batch, path, begin in zip(batches, paths, begins, strict=True):
            for index, row, starts in zip(batch.indices, path, begin, strict=True):
                self.hypotheses[int(index)] = row[starts].tolist()

    def record_update(
        self, group: int, losses: Sequence[float], norm: float, ids: Sequence[str]
    ) -> None:
        """Record the losses and gradient norm of an update; print skipped updates and loss spikes.

        Args:
            group: the number of the update in its epoch.
            losses: of all sentences of the update.
            norm: of the gradient, before clipping.
            ids: of the sentences.
        """
        loss_sum = sum(losses)
        if math.isfinite(loss_sum):
            self.loss_sum += loss_sum
            self.loss_sentences += len(losses)
            if math.isfinite(norm):
                self.gradient_norms.append(norm)
                self.bad_updates = 0
                self._watch_for_spikes(group, loss_sum / len(losses), losses, ids)
                return
        self.bad_updates += 1
        self.skipped_updates += 1
        self._add_event("skipped", group, None, [[id, None] for id in ids])
        tqdm.write(f"update skipped: loss or gradient is not finite in sentences {', '.join(ids)}")

    def _watch_for_spikes(
        self, group: int, loss: float, losses: Sequence[float], ids: Sequence[str]
    ) -> None:
        if is_spike(loss, self.recent_losses, len(losses)):
            self.loss_spikes += 1
            highest = highest_losses(ids, losses)
            self._add_event("spike", group, loss, highest)
            named = ", ".join(f"{id} ({value:.1f})" for id, value in highest)
            tqdm.write(
                f"loss spike: {loss:.1f} in epoch {self.epoch}, highest in sentences {named}"
            )
        remember(loss, self.recent_losses)

    def _add_event(self, kind: str, group: int, loss: float | None, sentences: list[list]) -> None:
        if len(self.events) < MAX_EVENTS:
            self.events.append({"kind": kind, "group": group, "loss": loss, "sentences": sentences})

    def start_next_epoch(self) -> None:
        """Add this epoch to the totals and reset its counts."""
        self.total_seconds += self.seconds
        self.total_frames += self.frames
        self.epoch += 1
        self.group, self.loss_sum, self.frames, self.seconds = 0, 0.0, 0, 0.0
        self.loss_sentences = self.skipped_updates = self.loss_spikes = 0
        self.hypotheses, self.events, self.gradient_norms = {}, [], []

    def gather_on_rank_0(self, ranks: Ranks) -> None:
        """Move the hypotheses and frames of this epoch from all ranks to rank 0."""
        shares = ranks.gather_on_rank_0((self.hypotheses, self.frames))
        for hypotheses, frames in shares[1:]:
            self.hypotheses.update(hypotheses)
            self.frames += frames
        if not ranks.is_rank_0:
            self.forget_share()

    def forget_share(self) -> None:
        """Drop the hypotheses and frames of this epoch, which rank 0 has."""
        self.hypotheses, self.frames = {}, 0

    def status(self, epochs: int, updates: int) -> str:
        """The text behind the progress bar: loss of this epoch, last dev WER, time to the end.

        The time leaves out the evaluations of dev and assumes that the run does not stop early.

        Args:
            epochs: of the whole run.
            updates: of this epoch.
        """
        done = self.epoch - 1 + self.group / updates
        words = []
        if self.loss_sentences:
            words.append(f"loss {self.mean_loss:.2f}")
        if self.history:
            words.append(f"WER {self.history[-1]['dev_wer']:.1f} %")
        if done:
            left = (self.total_seconds + self.seconds) / done * (epochs - done)
            words.append(f"ETA {tqdm.format_interval(left)}")
        return ", ".join(words)


class EpochBar(ProgressBar):
    """The progress of an epoch: a bar, or lines such as 'epoch 3/24: 1,163 of 2,836 updates, loss
    5.20, 1,090 frames/s, 4 min left'. Only rank 0 shows it."""

    def __init__(self, progress: TrainingProgress, epochs: int, updates: int, ranks: Ranks):
        """progress: where the epoch begins, or continues. epochs: of the whole run. updates: of
        this epoch."""
        self._progress, self._epochs, self._updates = progress, epochs, updates
        self._shows_speed = ranks.world == 1  # rank 0 does not count the frames of the others
        name = f"epoch {progress.epoch}/{epochs}"
        done = progress.group
        super().__init__(name, updates, "update", ranks.is_rank_0, leave=False, done=done, form=BAR)
        self.advance(0)

    def advance(self, updates: int = 1) -> None:
        """Count updates that `progress` has already."""
        progress, details = self._progress, []
        if progress.loss_sentences:
            details.append(f"loss {progress.mean_loss:.2f}")
        if self._shows_speed and progress.seconds:
            details.append(f"{progress.frames / progress.seconds:,.0f} frames/s")
        self.update(updates, progress.status(self._epochs, self._updates), ", ".join(details))


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
        "extractor": extractor_of(corpus.facts),
    }


def training_entry(
    progress: TrainingProgress,
    stopping: EarlyStopping,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    machine: MachineChoices,
) -> dict[str, Any]:
    """The `training` of a checkpoint: what continuing the run exactly needs."""
    return {
        "progress": dataclasses.asdict(progress),
        "stopping": dataclasses.asdict(stopping),
        "optimizer": optimizer.state_dict(),
        "scaler": scaler.state_dict(),
        "machine": machine.entry(),
    }


def _loss_of_best(history: Sequence[dict], best_epoch: int) -> float:
    """The `best_loss` of early stopping, from the rows of the epochs."""
    if not best_epoch:
        return -math.inf
    loss: float = history[best_epoch - 1]["dev_loss"]
    return loss if math.isfinite(loss) else math.inf


def load_training_entry(
    entry: dict[str, Any],
    options: TrainingConfig,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
) -> tuple[TrainingProgress, EarlyStopping]:
    """Load the state of optimiser and scaler in place; return progress and early stopping.

    The patience is that of `options`: with a higher one, a run that stopped early is not finished.

    Raises DataError when the entry is not one of this version.
    """
    try:
        names = {field.name for field in dataclasses.fields(TrainingProgress)}
        if absent := names - set(entry["progress"]):
            raise KeyError(f"no {', '.join(sorted(absent))}")
        progress = TrainingProgress(**entry["progress"])
        stopping = EarlyStopping(**entry["stopping"])
        if "best_loss" not in entry["stopping"]:  # of an earlier version
            stopping.best_loss = _loss_of_best(progress.history, stopping.best_epoch)
        optimizer.load_state_dict(entry["optimizer"])
        scaler.load_state_dict(entry["scaler"])
        stopping.patience = options.patience
        if progress.epoch <= options.epochs and not stopping.should_stop:
            progress.finished = False
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
