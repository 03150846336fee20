"""Count the kernels and the memory of an update of the full-size teacher, without a GPU.

    python benchmarks/launches.py --data_dir data/corpora/builtin

Counts the operations of complete updates: landmarks, features, augmentation, the full-size teacher,
the losses as on CUDA, and their gradients. Operations that only make a view do not count. It needs
no GPU: on torch's device `meta` tensors have shapes and no values.

In float32 a GPU launches about as many kernels. bf16 adds casts; a dropout is three operations here
and one kernel there. The optimiser is left out: a fused kernel updates many weights at once. The
loss of longer batches needs more kernels, because CTC runs step by step. One launch costs the
host 4 to 10 microseconds (not measured here). Small batches wait for the host: benchmarks/gpu.py
measures what limits a GPU.

Memory, in float32: what the epoch's largest batch keeps for its gradients, and the weights, their
gradients and the optimiser's moments. The memory inside kernels and torch's cache come on top.
"""

import contextlib
import io
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.results import add_json_option, finish
from command_line import Parser
from data.ctc_targets import pad_targets
from errors import run_script
from models.i3d_teacher import count_parameters
from training.resume import plan_start
from training.setup import prepare_run
from training.trainer import Trainer

META = torch.device("meta")
PHASES = ("feeder", "forward", "loss", "backward")
NO_KERNELS = ("aten::empty", "aten::new_empty", "aten::_unsafe_view")  # and views


class Counter(TorchDispatchMode):
    """Counts operations that compute or copy something, not views and allocations."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        returned = (value.alias_info for value in operation._schema.returns)
        is_view = any(alias is not None and not alias.is_write for alias in returned)
        self.count += not is_view and not operation.name().startswith(NO_KERNELS)
        return operation(*args, **(kwargs or {}))


@contextlib.contextmanager
def as_on_cuda() -> Iterator[None]:
    """Inside the block, the device `meta` computes as CUDA does, but without autocast."""
    with (
        mock.patch("training.losses.runs_ahead", lambda _: True),
        mock.patch.object(torch, "autocast", lambda *_, **__: contextlib.nullcontext()),
    ):
        yield


def launches(trainer: Trainer, plan: list[np.ndarray]) -> dict[str, float]:
    """Medians over the plan: operations of an update by phase, and the batch's output `steps`."""
    rows: list[list[int]] = []
    with as_on_cuda(), contextlib.closing(trainer.batches(plan)) as feed:
        for _ in plan:
            counters = [Counter() for _ in PHASES]
            with counters[0]:
                batch = next(feed)
                targets = pad_targets(
                    [trainer.plan.split.targets[index] for index in batch.indices], META
                )
            with counters[1]:
                output = trainer.model(batch.features, batch.lengths, batch.detected, None)
            with counters[2]:
                losses = trainer.loss(output, *targets).total
            trainer.model.zero_grad(set_to_none=True)
            with counters[3]:
                losses.mean().backward()
            rows.append([*(counter.count for counter in counters), output.log_probs.shape[1]])
    return dict(
        zip((*PHASES, "steps"), map(statistics.median, zip(*rows, strict=True)), strict=True)
    )


def memory(trainer: Trainer, indices: np.ndarray) -> dict[str, float]:
    """GB that a batch of these sentences keeps for its gradients, and GB of the model itself."""
    kept: dict[int, int] = {}
    of_weights = [parameter.untyped_storage()._cdata for parameter in trainer.model.parameters()]
    alive = []

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in of_weights:
            kept[storage._cdata] = storage.nbytes()
            alive.append(tensor)  # so that no new storage gets the same address
        return tensor

    with as_on_cuda(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        (batch,) = trainer.batches([indices])
        output = trainer.model(batch.features, batch.lengths, batch.detected, None)
        targets = [trainer.plan.split.targets[index] for index in indices]
        trainer.loss(output, *pad_targets(targets, META))
    return {
        "kept_gb": sum(kept.values()) / 1e9,
        "model_gb": 4 * 4 * count_parameters(trainer.model) / 1e9,
    }


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="launches.py", description=__doc__)
    parser.add_argument("--data_dir", default="data/corpora/builtin", help="corpus folder")
    parser.add_argument("--batches", type=int, default=20, help="number of batches of 8 to count")
    add_json_option(parser)
    options = parser.parse_args(argv)
    settings = {
        "data_dir": options.data_dir,
        "output_dir": "unused",
        "batch_size": 8,
        "device": "cpu",
    }
    with contextlib.redirect_stdout(io.StringIO()):  # what a training prints first
        trainer = prepare_run(plan_start(None, {"training": settings})).trainer
    trainer.model.to(META).train()
    trainer.device = trainer.pipeline.device = META
    plan = [batch for group in trainer.plan.begin(1) for batch in group]
    figures = launches(trainer, plan[: options.batches])
    print(f"operations of an update of 8 sentences with {figures['steps']:.0f} steps:")
    for phase in PHASES:
        print(f"  {phase:<9} {figures[phase]:>6.0f}")
    lengths = trainer.plan.augmented_lengths(trainer.plan.split, 1)
    by_index = dict(zip(trainer.plan.trainable, lengths, strict=True))
    largest = max(plan, key=lambda batch: len(batch) * max(by_index[index] for index in batch))
    figures |= memory(trainer, largest)
    frames = max(by_index[index] for index in largest)
    print(
        f"kept for the gradients of {len(largest)} sentences of up to {frames} frames: "
        f"{figures['kept_gb']:.2f} GB"
    )
    print(f"weights, gradients and moments: {figures['model_gb']:.2f} GB")
    figures["launches"] = sum(figures[phase] for phase in PHASES)
    finish(options, figures, "launches")
    return 0


if __name__ == "__main__":
    run_script(main)
