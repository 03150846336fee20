"""The measurements of benchmarks/gpu.py: times, memory and arithmetic of a training."""

import functools
import gc
import itertools
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.gpu_steps import EPOCHS
from benchmarks.multiply_adds import UPDATE, count_multiply_adds, synchronize
from data.batching import load_batch
from data.ctc_targets import pad_targets
from data.device_transfer import on_device
from data.features import compute_features
from models import devices
from models.checkpoint import LAST, save_checkpoint
from training.batchnorm_calibration import calibrate
from training.optimizer import apply_gradients
from training.part_masking import draw_part_masks
from training.run_files.checkpoint_writer import snapshot
from training.trainer import Trainer

PHASES = ("feeder", "forward", "loss", "backward", "optimizer")
TRAIN_FRAMES, DEV_FRAMES = 798_990, 75_186  # of PHOENIX-2014


@dataclass
class PhaseTimes:
    """Medians of some updates.

    phases: seconds of each phase. queued: share of an update in which the host still gives the
    device work; 0 on a CPU. batch: the indices of a batch of median time.
    """

    phases: dict[str, float]
    queued: float
    batch: np.ndarray


@dataclass
class UpdateTime:
    """Mean seconds and recorded frames of a complete update, feeder included."""

    seconds: float
    frames: float


@dataclass
class TrainingCost:
    """What a training costs with some settings.

    between_epochs: seconds of each step between two epochs. checkpoint_seconds: writing a
    checkpoint, which happens beside the next epoch. share_of_peak: multiply-adds outside the feeder
    as a share of the peak of matrix products. memory: peak in GB. epoch_seconds and hours: of a
    full training on PHOENIX-2014.
    """

    times: PhaseTimes
    update: UpdateTime
    between_epochs: dict[str, float]
    checkpoint_seconds: float
    share_of_peak: float
    memory: float
    epoch_seconds: float
    hours: float


class PhaseClock:
    """Times between the phases of an update: CUDA events on CUDA, the clock on a CPU."""

    def __init__(self, device: torch.device):
        self.device = device
        self.host: list[float] = []
        self.events: list[torch.cuda.Event] = []

    def mark(self) -> None:
        """End a phase and start the next one."""
        self.host.append(time.perf_counter())
        if self.device.type == "cuda":
            self.events.append(torch.cuda.Event(enable_timing=True))
            self.events[-1].record()

    def seconds(self) -> list[float]:
        """Seconds of each phase. Waits for the device."""
        if self.device.type != "cuda":
            return [after - before for before, after in itertools.pairwise(self.host)]
        self.events[-1].synchronize()
        return [
            before.elapsed_time(after) / 1000 for before, after in itertools.pairwise(self.events)
        ]


def first_batches(trainer: Trainer, count: int) -> list[np.ndarray]:
    """The first `count` batches of an epoch; an epoch with fewer batches is repeated."""
    plan = [batch for group in trainer.plan.begin(1) for batch in group]
    return [plan[number % len(plan)] for number in range(count)]


def time_phases(trainer: Trainer, count: int) -> PhaseTimes:
    """Time the phases of `Trainer.update`; each update waits until the device has finished."""
    options, warm_up = trainer.config.training, min(3, count)
    plan = first_batches(trainer, count + warm_up)
    feed = trainer.feed([[batch] for batch in plan])
    rows, queued = [], []
    for _ in plan:
        synchronize(trainer.device)
        clock = PhaseClock(trainer.device)
        clock.mark()
        (batch,) = next(feed)
        ids = [trainer.plan.split.split.sentences[index].id for index in batch.indices]
        targets = pad_targets(
            [trainer.plan.split.targets[index] for index in batch.indices], trainer.device
        )
        visible = draw_part_masks(options, 1, ids)
        mask = None if visible is None else on_device(visible, trainer.device)
        clock.mark()
        with trainer.precision.autocast():
            output = trainer.model(batch.features, batch.lengths, batch.detected, mask)
        clock.mark()
        losses = trainer.loss(output, *targets).total
        clock.mark()
        trainer.optimizer.zero_grad(set_to_none=True)
        trainer.precision.scaler.scale(losses.mean()).backward()
        clock.mark()
        apply_gradients(
            trainer.model,
            trainer.optimizer,
            trainer.precision.scaler,
            options.max_grad_norm,
            losses.detach(),
        )
        clock.mark()
        synchronize(trainer.device)
        host, total = clock.host[-1] - clock.host[0], time.perf_counter() - clock.host[0]
        queued.append(host / total if trainer.device.type == "cuda" else 0.0)
        rows.append(clock.seconds())
    feed.close()
    plan, rows = plan[warm_up:], rows[warm_up:]
    medians = [statistics.median(column) for column in zip(*rows, strict=True)]
    middle = sorted(range(len(rows)), key=lambda number: sum(rows[number]))[len(rows) // 2]
    return PhaseTimes(
        dict(zip(PHASES, medians, strict=True)), statistics.median(queued[warm_up:]), plan[middle]
    )


def time_updates(trainer: Trainer, count: int) -> UpdateTime:
    """Time updates as training runs them, until the figures of the last one are on the host."""
    warm_up = min(3, count)
    plan = first_batches(trainer, count + warm_up)
    feed = trainer.feed([[batch] for batch in plan])
    for _ in range(warm_up):
        trainer.update(next(feed))
    synchronize(trainer.device)
    started = time.perf_counter()
    for _ in range(count):
        trainer.update(next(feed))
    trainer.finish_pending_update()
    synchronize(trainer.device)
    seconds = time.perf_counter() - started
    feed.close()
    lengths = trainer.plan.split.split.lengths
    frames = sum(int(lengths[batch].sum()) for batch in plan[warm_up:])
    return UpdateTime(seconds / count, frames / count)


def time_between_epochs(trainer: Trainer, work: Path) -> tuple[dict[str, float], float]:
    """Seconds of each step between two epochs, and of writing a checkpoint beside the training.

    The seconds of dev are scaled to the dev frames of PHOENIX-2014.
    """
    marks = [time.perf_counter()]

    def mark() -> None:
        synchronize(trainer.device)
        marks.append(time.perf_counter())

    calibrate(
        trainer.model,
        trainer.pipeline,
        trainer.train.split,
        trainer.precision,
        trainer.plan.trainable,
    )
    mark()
    dev = trainer.validate()
    mark()
    trainer.progress.hypotheses = {
        int(index): trainer.train.targets[index] for index in trainer.plan.trainable
    }
    trainer._row(dev)
    mark()
    trainer.plan.begin(2)
    mark()
    content = snapshot(trainer.state())
    mark()
    with tempfile.TemporaryDirectory(dir=work) as folder:
        save_checkpoint(Path(folder) / LAST, content)
        mark()
    *seconds, writing = (after - before for before, after in itertools.pairwise(marks))
    steps = ("calibration", "dev", "scoring", "planning", "copying")
    between = dict(zip(steps, seconds, strict=True))
    between["dev"] *= DEV_FRAMES / int(trainer.dev.split.lengths.sum())
    return between, writing


def peak_memory(device: torch.device) -> float:
    """Peak memory in GB since `reset_peak_memory`.

    On CUDA what torch reserved on the device, cache included; on a CPU the memory of the process.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) / 1e9
    return devices.peak_memory(device)


def measure_cost(trainer: Trainer, updates: int, peak: float, work: Path) -> TrainingCost:
    """Measure the cost of a training with the trainer's settings.

    Args:
        trainer: with one batch per update.
        updates: number of timed updates.
        peak: multiply-adds per second of large matrix products.
        work: folder for a temporary checkpoint.
    """
    device = trainer.device
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()
    devices.reset_peak_memory(device)
    times = time_phases(trainer, updates)
    update = time_updates(trainer, updates)
    batch = next(trainer.batches([times.batch]))
    forward = functools.partial(trainer.model, batch.features, batch.lengths, batch.detected)
    multiply_adds = UPDATE * count_multiply_adds(trainer.model, forward)
    del batch, forward
    between, writing = time_between_epochs(trainer, work)
    memory = peak_memory(device)
    share = multiply_adds / peak / (sum(times.phases.values()) - times.phases["feeder"])
    epoch = TRAIN_FRAMES * update.seconds / update.frames
    # A checkpoint is copied only after the one before has been written
    period = max(epoch + sum(between.values()) - between["copying"], writing) + between["copying"]
    hours = EPOCHS * period / 3600
    return TrainingCost(times, update, between, writing, share, memory, epoch, hours)


def name_limit(phases: dict[str, float], queued: float, share: float) -> str:
    """What limits the speed of an update.

    Args:
        phases: seconds of each phase.
        queued: share of an update in which the host still gives the device work.
        share: share of the peak of matrix products, outside the feeder.
    """
    total = sum(phases.values())
    if phases["feeder"] > 0.4 * total:
        return f"the feeder ({100 * phases['feeder'] / total:.0f} % of the update)"
    if queued > 0.9 and share < 0.3:
        return "launches: the device waits for the host"
    if phases["loss"] > 0.3 * total:
        return f"CTC ({100 * phases['loss'] / total:.0f} % of the update)"
    if share > 0.5:
        return "matrix products"
    longest = max(phases, key=lambda phase: phases[phase])
    return (
        f"{longest} ({100 * phases[longest] / total:.0f} % of the update): "
        "small kernels or memory, not matrix products"
    )


@dataclass
class Computed:
    """Results of one batch, on the CPU. log_probs: of the steps inside the sentences."""

    features: torch.Tensor
    log_probs: torch.Tensor
    loss: float
    gradient_norm: float


def compute_batch(
    trainer: Trainer, indices: Sequence[int], device: torch.device, bf16: bool
) -> Computed:
    """Features, log-probabilities, loss and gradient norm of one batch, without TF32."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    model: Any = trainer.model
    model.train().to(device).zero_grad()
    batch = load_batch(trainer.train.split, indices).to(device)
    features = compute_features(
        batch.landmarks, batch.detected, batch.lengths, trainer.corpus.aspect_ratio
    )
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        output = model(features, batch.lengths, batch.detected)
    targets = pad_targets([trainer.train.targets[index] for index in batch.indices], device)
    loss = trainer.loss(output, *targets).total.mean()
    loss.backward()
    norms = [
        parameter.grad.norm() for parameter in model.parameters() if parameter.grad is not None
    ]
    inside = torch.arange(output.log_probs.shape[1], device=device) < output.lengths[:, None]
    return Computed(
        features.cpu(),
        output.log_probs[inside].detach().cpu(),
        float(loss.detach()),
        float(torch.stack(norms).norm()),
    )
