"""What an update of the full-size teacher asks of a GPU, counted without one: kernels, for which
small batches wait; memory.

    python benchmarks/launches.py --data_dir data/corpora/builtin

Counts the operations of whole updates (landmarks, features, augmentation, the full-size teacher,
the losses as on CUDA, their gradients) that are not views of what is there, on torch's device
`meta`, where tensors have shapes and no values: no GPU is needed. About as many kernels are
launched, in float32; bf16 adds casts, and a dropout is three operations here and one there. The
optimiser is left out: fused, a kernel of it goes over many weights at once. The loss takes more the
longer a batch is (CTC goes step by step). A launch takes the host 4 to 10 microseconds (not
measured here: benchmarks/gpu.py says what bounds a GPU).

Memory: what the epoch's largest batch keeps for its gradients, in float32, and weights, gradients
and the optimiser's moments. What a kernel works in, and what torch keeps beside, comes on top.
"""

import contextlib
import io
import statistics
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.results import add_json_option, finish
from command_line import Parser
from data.batching import LandmarkBatch
from data.ctc_targets import pad_targets
from errors import run_script
from models.i3d_teacher import count_parameters
from training.resume import plan_start
from training.setup import prepare_run
from training.trainer import Trainer

META = torch.device("meta")
PHASES = ("feeder", "forward", "loss", "backward")
NO_KERNELS = ("aten::empty", "aten::new_empty", "aten::_unsafe_view")  # beside views


class Counter(TorchDispatchMode):
    """Counts operations that compute or copy something: no views, no allocations."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        returned = (one.alias_info for one in operation._schema.returns)
        is_view = any(alias is not None and not alias.is_write for alias in returned)
        self.count += not is_view and not operation.name().startswith(NO_KERNELS)
        return operation(*args, **(kwargs or {}))


@contextlib.contextmanager
def as_on_cuda() -> Iterator[None]:
    """The device `meta` is treated as CUDA is. It has no autocast."""

    def move(batch: LandmarkBatch, device: torch.device) -> LandmarkBatch:
        moved = {
            name: getattr(batch, name).to(device) for name in ("landmarks", "detected", "lengths")
        }
        return replace(batch, **moved)

    with (
        mock.patch("training.losses.on_its_own", lambda _: True),
        mock.patch.object(LandmarkBatch, "to", move),
        mock.patch.object(torch, "autocast", lambda *_, **__: contextlib.nullcontext()),
    ):
        yield


def launches(trainer: Trainer, plan: list[np.ndarray]) -> dict[str, float]:
    """Of an update of one batch, by phase, medians over the plan's; `steps` is the batch's length
    behind the strides."""
    rows: list[list[int]] = []
    with as_on_cuda(), contextlib.closing(trainer.batches(plan)) as feed:
        for _ in plan:
            counters = [Counter() for _ in PHASES]
            with counters[0]:
                batch = next(feed)
                targets = pad_targets(
                    [trainer.epoch_train.targets[index] for index in batch.indices], META
                )
            with counters[1]:
                output = trainer.model(batch.features, batch.lengths, batch.detected, None)
            with counters[2]:
                losses = trainer.loss(output, *targets).total
            trainer.model.zero_grad(set_to_none=True)
            with counters[3]:
                losses.mean().backward()
            rows.append([*(one.count for one in counters), output.log_probs.shape[1]])
    return dict(
        zip((*PHASES, "steps"), map(statistics.median, zip(*rows, strict=True)), strict=True)
    )


def memory(trainer: Trainer, indices: np.ndarray) -> dict[str, float]:
    """GB that a batch of these sentences keeps for its gradients, and that the model takes without
    any."""
    kept: dict[int, int] = {}
    held = [parameter.untyped_storage()._cdata for parameter in trainer.model.parameters()]
    alive = []

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in held:
            kept[storage._cdata] = storage.nbytes()
            alive.append(tensor)  # so that no other storage takes its place
        return tensor

    with as_on_cuda(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        (batch,) = trainer.batches([indices])
        output = trainer.model(batch.features, batch.lengths, batch.detected, None)
        targets = [trainer.epoch_train.targets[index] for index in indices]
        trainer.loss(output, *pad_targets(targets, META))
    return {
        "kept_gb": sum(kept.values()) / 1e9,
        "model_gb": 4 * 4 * count_parameters(trainer.model) / 1e9,
    }


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="launches.py", description=__doc__)
    parser.add_argument("--data_dir", default="data/corpora/builtin", help="corpus folder")
    parser.add_argument("--batches", type=int, default=20, help="batches of 8 that are counted")
    add_json_option(parser)
    options = parser.parse_args(argv)
    given = {"data_dir": options.data_dir, "output_dir": "unused", "batch_size": 8, "device": "cpu"}
    with contextlib.redirect_stdout(io.StringIO()):  # a training's opening words
        trainer = prepare_run(plan_start(None, {"training": given})).trainer
    trainer.model.to(META).train()
    trainer.device = trainer.pipeline.device = META
    plan = [batch for group in trainer.begin_epoch(1) for batch in group]
    figures = launches(trainer, plan[: options.batches])
    print(f"an update of 8 sentences and {figures['steps']:.0f} steps, operations:")
    for phase in PHASES:
        print(f"  {phase:<9} {figures[phase]:>6.0f}")
    shown = dict(zip(trainer.trainable, trainer.shown_lengths(trainer.epoch_train, 1), strict=True))
    largest = max(plan, key=lambda batch: len(batch) * max(shown[index] for index in batch))
    figures |= memory(trainer, largest)
    frames = max(shown[index] for index in largest)
    print(
        f"kept for the gradients of {len(largest)} sentences of up to {frames} frames: {figures['kept_gb']:.2f} GB"
    )
    print(f"weights, gradients and moments: {figures['model_gb']:.2f} GB")
    figures["launches"] = sum(figures[phase] for phase in PHASES)
    finish(options, figures, "launches")
    return 0


if __name__ == "__main__":
    run_script(main)
