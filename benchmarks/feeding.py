"""Does feeding limit the speed of training?

    python benchmarks/feeding.py --data_dir data/corpora/rehearsal

One run on one corpus, with the full-size teacher at batch 8, measures

1. the frames per second of the feeder, which makes features of landmarks on the device: with and
   without augmentation, with landmarks memory-mapped and resident on the device, for the landmarks
   that the teacher uses and for all 543. "reading" makes padded batches of landmarks, no features;
2. the trainer: complete updates on batches that are already on the device;
3. the alternative to reading landmarks: one float32 (T, 6516) .npy file per sentence. Cold files
   are dropped from the page cache, warm ones are in it. (PHOENIX-2014 in this form has 21 GB; its
   files would rarely be warm.)
4. the padding of augmented sentences: batches of 8, of 16 and of frame budgets, and batches of 8
   planned by stored lengths;
5. the time from the start of train_teacher.py to its first batch.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch

from benchmarks.results import add_json_option, describe_machine, finish, require_linux
from command_line import Parser
from data.augmentation.config import AugmentationConfig
from data.batching import load_batch, padding_waste, plan_by_frames, plan_epoch
from data.device_cache import CachedSplit
from data.landmarks import ALL_LANDMARKS
from data.pipeline import FeaturePipeline
from errors import run_script
from training.resume import plan_start
from training.setup import prepare_run
from training.trainer import Trainer

ROOT = Path(__file__).resolve().parent.parent
BUDGETS = (1_200, 4_800, 19_200)  # frames: about 8, 33 and 134 sentences of PHOENIX-2014
START = """
import sys, train_teacher
from training.trainer import Trainer
def update(trainer, batches):
    print("first batch", flush=True)
    sys.exit()
Trainer.update = update
train_teacher.main(["--data_dir", sys.argv[1], "--output_dir", sys.argv[2]])
"""


def prepare(data_dir: str) -> Trainer:
    """The full-size teacher at batch 8, one batch per update. Writes nothing."""
    settings = {
        "data_dir": data_dir,
        "output_dir": "unused",
        "accumulation_steps": 1,
        "batch_size": 8,
    }
    return prepare_run(plan_start(None, {"training": settings})).trainer


def synchronize(trainer: Trainer) -> None:
    """Wait for the device."""
    if trainer.device.type == "cuda":
        torch.cuda.synchronize(trainer.device)


def best_rates(
    trainer: Trainer, actions: dict[str, Callable[[], int]], rounds: int = 4
) -> dict[str, float]:
    """Best frames per second of each action over some rounds, after one warm-up round.

    An action returns its number of frames. The actions take turns, so that a disturbance affects
    all of them.
    """
    rates = dict.fromkeys(actions, 0.0)
    for number in range(rounds + 1):
        for name, action in actions.items():
            started = time.perf_counter()
            frames = action()
            synchronize(trainer)
            if number:
                rates[name] = max(rates[name], frames / (time.perf_counter() - started))
    return rates


def feeders(trainer: Trainer, plan: list[np.ndarray]) -> dict[str, Callable[[], int]]:
    """One action per way to feed; each returns its number of frames."""
    usual = trainer.pipeline

    def read() -> int:
        return sum(
            int(load_batch(trainer.plan.split.split, indices, usual.selection).lengths.sum())
            for indices in plan
        )

    actions = {"reading": read}
    resident = CachedSplit(trainer.train.split, trainer.device, usual.selection)
    for selection, where in (
        (usual.selection, "mapped"),
        (usual.selection, "resident"),
        (ALL_LANDMARKS, "mapped_whole"),
    ):
        for config, how in (
            (AugmentationConfig(enabled=False), "plain"),
            (AugmentationConfig(), "augmented"),
        ):
            pipeline = FeaturePipeline(usual.aspect_ratio, usual.device, usual.causal, selection)
            pipeline.resident = [resident] if where == "resident" else []

            def feed(pipeline=pipeline, config=config) -> int:
                return sum(
                    batch.frames
                    for batch in pipeline.augmented_batches(trainer.plan.split, plan, config, 0, 1)
                )

            actions[f"feeder_{where}_{how}"] = feed
    return actions


def updates(trainer: Trainer, plan: list[np.ndarray]) -> Callable[[], int]:
    """The trainer on batches that are already on the device."""
    batches = list(trainer.batches(plan))
    trainer.model.train()

    def train() -> int:
        for batch in batches:
            trainer.update([batch])
        trainer.finish_pending_update()
        return sum(batch.frames for batch in batches)

    return train


def stored_features(trainer: Trainer, plan: list[np.ndarray]) -> dict[str, float]:
    """Frames per second of loading float32 features (T, 6516), one file per sentence.

    The sentences become padded batches on the CPU.
    """
    split, rates = trainer.plan.split.split, {}
    pipeline = FeaturePipeline(trainer.pipeline.aspect_ratio, torch.device("cpu"))
    with tempfile.TemporaryDirectory() as folder:
        for batch in pipeline.batches(split, plan):
            for row, index in enumerate(batch.indices):
                np.save(
                    f"{folder}/{index}.npy", batch.features[row, : split.lengths[index]].numpy()
                )
        os.sync()
        for how in ("cold", "warm"):
            if how == "cold":
                for path in Path(folder).iterdir():
                    with open(path, "rb") as file:
                        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            started, frames = time.perf_counter(), 0
            for indices in plan:
                features = [torch.from_numpy(np.load(f"{folder}/{index}.npy")) for index in indices]
                torch.nn.utils.rnn.pad_sequence(features, batch_first=True)
                frames += int(split.lengths[indices].sum())
            rates[f"stored_{how}"] = frames / (time.perf_counter() - started)
    return rates


def padding(trainer: Trainer, epochs: int = 3) -> dict[str, float]:
    """Percentage of padded frames, mean over the epochs."""
    found: dict[str, float] = {}
    for epoch in range(1, epochs + 1):
        trainer.plan.begin(epoch)
        augmented = trainer.plan.augmented_lengths(trainer.plan.split, epoch)
        stored = trainer.plan.split.split.lengths[trainer.plan.trainable]
        plans = {f"padding_batch_{size}": plan_epoch(augmented, size, 0, epoch) for size in (8, 16)}
        plans |= {
            f"padding_{frames}_frames": plan_by_frames(augmented, frames, 0, epoch)
            for frames in BUDGETS
        }
        plans["padding_batch_8_by_stored_lengths"] = plan_epoch(stored, 8, 0, epoch)
        for name, plan in plans.items():
            found[name] = found.get(name, 0.0) + 100 * padding_waste(plan, augmented) / epochs
    return found


def start(data_dir: str) -> float:
    """Seconds from the start of train_teacher.py to its first batch."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        command = [sys.executable, "-c", START, data_dir, f"{folder}/run"]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout:
                if line == "first batch\n":
                    return time.perf_counter() - started
    raise SystemExit("train_teacher.py ended before its first batch")


def _unit(name: str) -> str:
    if name.startswith("padding"):
        return "%"
    return "s" if name.endswith("seconds") else "times" if "_over_" in name else "frames/s"


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="feeding.py", description=__doc__)
    parser.add_argument("--data_dir", default="data/corpora/rehearsal", help="corpus folder")
    parser.add_argument("--batches", type=int, default=20, help="number of batches of 8 to feed")
    parser.add_argument("--updates", type=int, default=3, help="number of updates to time")
    add_json_option(parser)
    args = parser.parse_args(argv)
    require_linux("feeding.py", "it drops files from the system's cache")
    figures = {"start_seconds": start(args.data_dir)}
    trainer = prepare(args.data_dir)
    plan = [batch for group in trainer.plan.begin(1) for batch in group][: args.batches]
    figures |= best_rates(
        trainer, feeders(trainer, plan) | {"trainer": updates(trainer, plan[: args.updates])}
    )
    figures |= stored_features(trainer, plan) | padding(trainer)
    used = figures[
        "feeder_resident_augmented" if trainer.device.type == "cuda" else "feeder_mapped_augmented"
    ]
    for how in ("cold", "warm"):
        figures[f"reading_over_stored_{how}"] = figures["reading"] / figures[f"stored_{how}"]
        figures[f"feeder_over_stored_{how}"] = used / figures[f"stored_{how}"]
    figures["feeder_over_trainer"] = used / figures["trainer"]
    print(describe_machine())
    for name, value in figures.items():
        print(f"{name:<36} {value:>12,.1f} {_unit(name)}")
    finish(args, figures, "feeder_over_trainer")
    return 0


if __name__ == "__main__":
    run_script(main)
