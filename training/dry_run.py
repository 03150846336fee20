"""What a training would do and how long it would take, without writing anything."""

import time

import numpy as np

from data.batching import padding_waste
from models.devices import peak_memory
from models.i3d_teacher import count_parameters
from training.setup import Run, _statistics, able_to_compile, enough_memory


def dry_run(run: Run, updates: int = 3) -> None:
    """Print what training would do, with the time of a few real updates; writes nothing, the model
    is thrown away.

    Raises UsageError when the memory is too small or nothing can be compiled.
    """
    with enough_memory(run.config.training), able_to_compile(run.config.training):
        _dry_run(run, updates)


def _dry_run(run: Run, updates: int) -> None:
    trainer, options = run.trainer, run.config.training
    trainer.model.set_statistics(*_statistics(trainer, 20_000))
    trainer.spread()
    groups = trainer.begin_epoch(1)
    # Of the first epoch, in which sentences may be joined
    known = trainer.epoch_train.split.lengths
    lengths, plan = known[trainer.trainable], [batch for group in groups for batch in group]
    # As augmentation stretches and cuts them: what is padded and computed
    shown = np.zeros_like(known)
    shown[trainer.trainable] = trainer.shown_lengths(trainer.epoch_train, 1)
    # Groups near the median length stand for the epoch; the first one warms up and is not timed.
    by_frames = sorted(groups, key=lambda group: sum(int(known[b].sum()) for b in group))
    middle = by_frames[max(len(by_frames) // 2 - updates // 2, 0) :][: updates + 1]
    trainer.model.train()
    seconds, frames = [], []
    for group in middle:
        started = time.perf_counter()
        trainer.update(next(trainer.feed([group])))
        trainer.read_last_update()
        seconds.append(time.perf_counter() - started)
        frames.append(sum(int(known[batch].sum()) for batch in group))
    timed = slice(1, None) if len(seconds) > 1 else slice(None)
    rate = sum(frames[timed]) / sum(seconds[timed])
    epoch_seconds = int(lengths.sum()) / rate
    size = (
        f"{options.frames_per_batch:,} frames"
        if options.frames_per_batch
        else f"{options.batch_size} sentences"
    )
    rows = {
        "train sentences": f"{len(lengths):,} ({len(trainer.train.split) - len(lengths)} left out)",
        "train frames": f"{int(lengths.sum()):,}",
        "dev sentences": f"{len(trainer.dev.split):,}",
        "dev frames": f"{int(trainer.dev.split.lengths.sum()):,}",
        "glosses": f"{len(trainer.vocabulary.glosses):,}",
        "parameters": f"{count_parameters(trainer.model):,}",
        "batches an epoch": f"{len(plan):,} of up to {size}",
        "updates an epoch": f"{len(groups):,}",
        "padding waste": f"{100 * padding_waste(plan, shown):.1f} %",
        "train frames/s": f"{rate:,.0f} ({len(seconds[timed])} updates timed)",
        "time an epoch": f"{_duration(epoch_seconds)} (estimated, without dev)",
        "time of the run": f"{_duration(epoch_seconds * options.epochs)} for {options.epochs} epochs (estimated)",
    }
    rows["peak memory"] = f"{peak_memory(trainer.device):.2f} GB"
    width = max(map(len, rows))
    print("dry run, nothing is written:")
    for name, value in rows.items():
        print(f"  {name:<{width}}  {value}")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
