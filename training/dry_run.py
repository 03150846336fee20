"""What a training would do and how long it would take, without making a run folder."""

import time

import numpy as np

from data.batching import padding_waste
from data.checks.small_corpus import small_corpus_advice
from errors import enough_memory
from models.devices import peak_memory
from models.i3d_teacher import count_parameters
from training.setup import Run, able_to_compile, smaller_batches, train_statistics

STATISTICS_FRAMES = 20_000  # of the feature statistics, which need not be exact here


def dry_run(run: Run, updates: int = 3) -> None:
    """Print sizes and estimated times of a run, from a few real updates.

    Makes no run folder; the model is thrown away. Raises UsageError when the memory is too small or
    torch.compile fails.
    """
    options = run.config.training
    with enough_memory(smaller_batches(options)), able_to_compile(options):
        _dry_run(run, updates)


def _dry_run(run: Run, updates: int) -> None:
    trainer, plan, options = run.trainer, run.trainer.plan, run.config.training
    trainer.model.set_statistics(*train_statistics(trainer, STATISTICS_FRAMES))
    trainer.connect_ranks()
    groups = plan.begin(1)
    batches = [batch for group in groups for batch in group]
    stored = plan.split.split.lengths  # of the first epoch, in which sentences may be joined
    lengths = stored[plan.trainable]
    augmented = np.zeros_like(stored)  # padding is computed after augmentation
    augmented[plan.trainable] = plan.augmented_lengths(plan.split, 1)
    # Groups near the median length stand for the epoch; the first one warms up and is not timed.
    by_frames = sorted(groups, key=lambda group: sum(int(stored[b].sum()) for b in group))
    middle = by_frames[max(len(by_frames) // 2 - updates // 2, 0) :][: updates + 1]
    trainer.model.train()
    seconds, frames = [], []
    for group in middle:
        started = time.perf_counter()
        trainer.update(next(trainer.feed([group])))
        trainer.finish_pending_update()
        seconds.append(time.perf_counter() - started)
        frames.append(sum(int(stored[batch].sum()) for batch in group))
    timed = slice(1, None) if len(seconds) > 1 else slice(None)
    rate = sum(frames[timed]) / sum(seconds[timed])
    frames_per_epoch = int(lengths.sum())
    own_frames = int(trainer.train.split.lengths[plan.trainable].sum())
    epoch_seconds = frames_per_epoch / rate
    size = (
        f"{options.frames_per_batch:,} frames"
        if options.frames_per_batch
        else f"{options.batch_size} sentences"
    )
    left_out = len(trainer.train.split) - len(lengths)
    rows = {
        "train sentences": f"{len(lengths):,} ({left_out} left out)",
        "train frames": f"{own_frames:,}",
        "frames per epoch": f"{frames_per_epoch:,} (with joined sentences)",
        "dev sentences": f"{len(trainer.dev.split):,}",
        "dev frames": f"{int(trainer.dev.split.lengths.sum()):,}",
        "glosses": f"{len(trainer.vocabulary.glosses):,}",
        "parameters": f"{count_parameters(trainer.model):,}",
        "batches per epoch": f"{len(batches):,} of up to {size}",
        "updates per epoch": f"{len(groups):,}",
        "padding": f"{100 * padding_waste(batches, augmented):.1f} % of the frames",
        "train frames/s": f"{rate:,.0f} ({len(seconds[timed])} updates timed)",
        "time per epoch": f"{_duration(epoch_seconds)} (estimated, without dev)",
        "time of the run": f"{_duration(epoch_seconds * options.epochs)} for {options.epochs} "
        "epochs (estimated)",
    }
    if frames_per_epoch == own_frames:
        del rows["frames per epoch"]
    memory = peak_memory(trainer.device)
    rows["peak memory"] = f"{memory:.2f} GB" if memory == memory else "unknown on this system"
    width = max(map(len, rows))
    print("dry run, nothing is written:")
    for name, value in rows.items():
        print(f"  {name:<{width}}  {value}")
    if advice := small_corpus_advice(len(lengths)):
        print(f"note: {advice}")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
