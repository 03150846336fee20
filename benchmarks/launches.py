"""How many kernels an update gives a GPU to do: with small batches that, and not arithmetic, is what a GPU waits for.

    python benchmarks/launches.py --data_dir data/corpora/builtin

Counts the operations of whole updates (landmarks, features, augmentation, the full-size teacher, the losses as on CUDA, their
gradients) that are not views of what is there, on torch's device `meta`, where tensors have shapes and no values: no GPU is
needed. About as many kernels are launched, in float32; bf16 adds casts, and a dropout is three operations here and one there.
The optimiser is left out: on CUDA it takes some twenty, whatever the model. The loss takes more the longer a batch is (CTC goes
step by step). A launch takes the host 4 to 10 microseconds (not measured here: benchmarks/gpu.py says on a GPU what bounds it).
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

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.results import add_json_option, finish
from command_line import Parser
from data.batching import LandmarkBatch
from errors import run_script
from training.resume import plan_start
from training.run import prepare_run
from training.sentences import pad_targets
from training.trainer import Trainer

META = torch.device("meta")
PHASES = ("feeder", "forward", "loss", "backward")


class Counter(TorchDispatchMode):
    """Counts operations that compute or copy something: no views, no allocations."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        returned = (one.alias_info for one in operation._schema.returns)
        is_view = any(alias is not None and not alias.is_write for alias in returned)
        self.count += not is_view and not operation.name().startswith(("aten::empty", "aten::new_empty"))
        return operation(*args, **(kwargs or {}))


@contextlib.contextmanager
def as_on_cuda() -> Iterator[None]:
    """The device `meta` is treated as CUDA is. It has no autocast."""

    def move(batch: LandmarkBatch, device: torch.device) -> LandmarkBatch:
        moved = {name: getattr(batch, name).to(device) for name in ("landmarks", "detected", "lengths")}
        return replace(batch, **moved)

    with (
        mock.patch("training.losses.on_its_own", lambda _: True),
        mock.patch.object(LandmarkBatch, "to", move),
        mock.patch.object(torch, "autocast", lambda *_, **__: contextlib.nullcontext()),
    ):
        yield


def launches(trainer: Trainer, batches: int) -> dict[str, float]:
    """Of an update of one batch, by phase, medians over some batches; `steps` is the batch's length behind the strides."""
    trainer.model.to(META).train()
    trainer.device = trainer.pipeline.device = META
    plan = [batch for group in trainer.begin_epoch(1) for batch in group][:batches]
    rows: list[list[int]] = []
    with as_on_cuda(), contextlib.closing(trainer.batches(plan)) as feed:
        for _ in plan:
            counters = [Counter() for _ in PHASES]
            with counters[0]:
                batch = next(feed)
                targets = pad_targets([trainer.epoch_train.targets[index] for index in batch.indices], META)
            with counters[1]:
                output = trainer.model(batch.features, batch.lengths, batch.detected, None)
            with counters[2]:
                losses = trainer.loss(output, *targets).total
            trainer.model.zero_grad(set_to_none=True)
            with counters[3]:
                losses.mean().backward()
            rows.append([*(one.count for one in counters), output.log_probs.shape[1]])
    return dict(zip((*PHASES, "steps"), map(statistics.median, zip(*rows, strict=True)), strict=True))


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="launches.py", description=__doc__)
    parser.add_argument("--data_dir", default="data/corpora/builtin", help="corpus folder")
    parser.add_argument("--batches", type=int, default=20, help="batches of 8 that are counted")
    add_json_option(parser)
    options = parser.parse_args(argv)
    given = {"data_dir": options.data_dir, "output_dir": "unused", "batch_size": 8, "device": "cpu"}
    with contextlib.redirect_stdout(io.StringIO()):  # a training's opening words
        trainer = prepare_run(plan_start(None, {"training": given})).trainer
    figures = launches(trainer, options.batches)
    print(f"an update of 8 sentences and {figures['steps']:.0f} steps, operations:")
    for phase in PHASES:
        print(f"  {phase:<9} {figures[phase]:>6.0f}")
    figures["launches"] = sum(figures[phase] for phase in PHASES)
    finish(options, figures, "launches")
    return 0


if __name__ == "__main__":
    run_script(main)
