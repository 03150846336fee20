"""Loss spikes and divergence: find losses that are too high; save the batches of a diverged update;
end a run whose model is lost.

A loss spike is an update whose loss is far above the losses of the last updates. Their median and
median absolute deviation (MAD) over a short window describe the usual loss. Unlike mean and
standard deviation, both hardly change when a spike enters the window (Rousseeuw & Croux,
Alternatives to the Median Absolute Deviation, 1993).
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import torch

from data.ctc_targets import PreparedSplit
from data.pipeline import FeatureBatch
from errors import DivergenceError
from models.checkpoint import BEST, LAST
from training.config import TrainingConfig
from training.distributed import Ranks
from training.validation import ValidationResult

DUMP = "diverged_batch.pth"
MAX_BAD_UPDATES = 10  # in a row, with a loss or gradient that is not finite


def refuse_lost_model(
    dev: ValidationResult, epoch: int, options: TrainingConfig, finish: Callable[[], None]
) -> None:
    """Raise DivergenceError when no dev sentence of an epoch has a finite output. `finish` is
    called before: it waits for the checkpoint of the epoch before.

    Such a model predicts nothing, which has a WER of 100 %: better than that of many a first epoch.
    It must not become the best model, nor replace the last good state.
    """
    infinite = dev.without_loss.get("not finite", 0)
    if infinite and infinite == dev.with_targets:
        finish()
        raise DivergenceError(
            f"epoch {epoch}: the model's output is not finite in any dev sentence: the training "
            f"diverged; lower --learning_rate (now {options.learning_rate:g}) or use --precision "
            f"fp32; this epoch is not in {BEST}, nor in {LAST} unless --checkpoint_minutes wrote it"
        )


def dump_batches(
    path: Path,
    split: PreparedSplit,
    batches: Sequence[FeatureBatch],
    losses: Sequence[float],
    epoch: int,
    update: int,
    ranks: Ranks,
) -> str:
    """Write the batches of one update, on rank 0, for torch.load(path, weights_only=True).

    The file is a list with one dict per batch and rank: ids, glosses, classes and losses (one per
    sentence), features float32 (B, T, D) as the model got them, detected bool (B, T, 4), lengths
    int64 (B,), and the epoch and update.

    Args:
        path: the file to write.
        split: the train split of the epoch.
        batches: the batches of the update; of each, this rank's share.
        losses: of the sentences of all ranks, in the order of the batches.
        epoch, update: where the run stands.
        ranks: the ranks of the run; all of them call this function.

    Returns where the batches are, or why they could not be written, in words.
    """
    content, start = [], 0
    for batch in batches:
        sentences = [split.split.sentences[index] for index in batch.indices]
        content.append(
            {
                "epoch": epoch,
                "update": update,
                "ids": [sentence.id for sentence in sentences],
                "glosses": [list(sentence.glosses) for sentence in sentences],
                "classes": [split.targets[index] for index in batch.indices],
                "losses": ranks.share(list(losses[start : start + len(batch.global_indices)])),
                "features": batch.features.cpu(),
                "detected": batch.detected.cpu(),
                "lengths": batch.lengths.cpu(),
            }
        )
        start += len(batch.global_indices)
    gathered = [batch for part in ranks.gather_on_rank_0(content) for batch in part if batch["ids"]]
    try:
        if ranks.is_rank_0:
            torch.save(gathered, path)
    except (OSError, RuntimeError) as error:  # a full disk must not hide the divergence
        reason = str(error).splitlines()[0]
        return f"the last batch could not be written to {path} ({reason})"
    return f"the last batch is in {path}"


def highest_losses(ids: Sequence[str], losses: Sequence[float], count: int = 3) -> list[list]:
    """[id, loss] of the sentences with the highest losses of an update."""
    pairs = sorted(zip(ids, losses, strict=True), key=lambda pair: -pair[1])
    return [[id, loss] for id, loss in pairs[:count]]


WATCHED_UPDATES = 64  # updates
FEWEST = 16  # updates in the window before a loss can be a spike
DEVIATIONS = 6.0  # in units of 1.4826 MAD, the standard deviation of normally distributed values
# A spike is also this many times the median: a loss that hardly varies has no spikes.
_RISE = 1.3
# With n sentences in an update, also 1 + this / sqrt(n) times. Late in a training most sentences
# have low losses and some have high ones, so the mean of a few is often high.
_RISE_OF_ONE = 4.0


def is_spike(loss: float, recent: Sequence[float], sentences: int) -> bool:
    """Whether a loss is far above the recent ones. NaN is no spike.

    loss: the mean of `sentences` sentences. recent: the mean losses of the last updates.
    """
    if len(recent) < FEWEST:
        return False
    usual = median(recent)
    spread = 1.4826 * median(abs(one - usual) for one in recent)
    rise = max(_RISE, 1 + _RISE_OF_ONE / math.sqrt(sentences))
    return loss > max(usual + DEVIATIONS * spread, rise * usual)


def remember(loss: float, recent: list[float]) -> None:
    """Add a loss to the window, in place."""
    recent.append(loss)
    del recent[:-WATCHED_UPDATES]
