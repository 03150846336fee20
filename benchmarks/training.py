"""Compare the training speed of the teacher with that of the first version of its design.

    OMP_NUM_THREADS=2 python benchmarks/training.py
    OMP_NUM_THREADS=2 python benchmarks/training.py --batch_size 8 --updates 9 --json training.json

teacher     as train_teacher.py trains it, with the default sizes (50 M parameters): landmarks on
            disk, augmentation, features, update
baseline    benchmarks/baseline_teacher.py (27 M parameters), from float32 feature files

Each runs in a separate process; the baseline uses torch's defaults. They take turns, so that a
disturbance affects both. The first update of each is not timed. An update ends when its loss is
known. The table has medians.

Frames are the frames inside the sentences, without padding: for the teacher after augmentation
(2 % fewer than recorded), for the baseline as recorded. Both have batches of sentences of similar
lengths, planned by these lengths, so that both have little padding; the column `padded` has it.

Arithmetic is three times the multiply-adds of the forward pass: linear layers, convolutions and
LSTMs, padded frames included except where a packed LSTM skips them. The peak is that of a large
matrix product in float32 on the same threads in the same run; a teacher in bf16 (see the line above
its figures) can exceed it. The default takes about one minute on two idle cores.
"""

import contextlib
import functools
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.results import add_json_option, describe_machine, finish
from command_line import Parser
from errors import UsageError, run_script

ROOT = Path(__file__).resolve().parent.parent
PREFERRED = ROOT / "data" / "corpora" / "rehearsal_tenth"
SMALL = {
    "pose_width": 16,
    "face_width": 8,
    "hand_width": 16,
    "fusion_width": 16,
    "inception_widths": [16, 16],
    "conformer_width": 16,
}


@dataclass(frozen=True)
class TimedUpdate:
    """One update.

    frames: inside the sentences. computed: with padding. multiply_adds: of the forward pass.
    """

    seconds: float
    frames: int
    computed: int
    multiply_adds: int

    @property
    def rate(self) -> float:
        return self.frames / self.seconds


@dataclass
class Contestant:
    """The teacher or the baseline.

    update: trains on the batch with this number. machine: what the run decided by its machine.
    """

    parameters: int
    update: Callable[[int], TimedUpdate]
    timed: list[TimedUpdate] = field(default_factory=list)
    machine: str = ""


def make_trainer(data_dir: str | None, batch_size: int, sizes: dict, folder: Path):
    """The trainer of a run with default settings and one batch per update, on the CPU."""
    from training.resume import plan_start
    from training.setup import prepare_run

    settings = {
        "data_dir": data_dir,
        "output_dir": str(folder / "run"),
        "batch_size": batch_size,
        "device": "cpu",
    }
    settings |= {"accumulation_steps": 1, "epochs": 10}
    with contextlib.redirect_stdout(io.StringIO()):  # what a training prints first
        trainer = prepare_run(plan_start(None, {"training": settings, "model": sizes})).trainer
    trainer.model.train()
    return trainer


def choose_batches(trainer, lengths: Sequence[int], batch_size: int, count: int) -> list:
    """Full batches of medium length, from an epoch planned by these lengths.

    lengths: of the trainable sentences, in frames. Raises UsageError when no batch is full.
    """
    from data.batching import plan_epoch

    plan = [batch for batch in plan_epoch(lengths, batch_size, 0, 1) if len(batch) == batch_size]
    if not plan:
        raise UsageError(
            f"--batch_size {batch_size}: the corpus has {len(lengths)} train sentences"
        )
    plan.sort(key=lambda batch: int(lengths[batch].sum()))
    middle = plan[max(len(plan) - count, 0) // 2 :]
    return [trainer.plan.trainable[middle[i % len(middle)]] for i in range(count)]


def make_teacher(trainer, batches: Sequence) -> Contestant:
    """The teacher, which trains on these batches."""
    from benchmarks.multiply_adds import count_multiply_adds
    from models.i3d_teacher import count_parameters

    def update(number: int) -> TimedUpdate:
        started = time.perf_counter()
        ((batch,),) = trainer.feed([[batches[number]]])
        trainer.update([batch])
        trainer.finish_pending_update()
        seconds = time.perf_counter() - started
        run = functools.partial(trainer.model, batch.features, batch.lengths, batch.detected)
        computed = batch.features.shape[0] * batch.features.shape[1]
        return TimedUpdate(seconds, batch.frames, computed, count_multiply_adds(trainer.model, run))

    return Contestant(count_parameters(trainer.model), update, machine=str(trainer.machine))


def write_baseline_files(trainer, batches: Sequence, folder: Path) -> None:
    """Write the baseline's files: all 6,516 features of each sentence, and the batches."""
    import numpy as np

    from data.pipeline import FeaturePipeline

    pipeline = FeaturePipeline(trainer.corpus.aspect_ratio, trainer.device)
    plan = [[index] for index in sorted({*np.concatenate(batches).tolist()})]
    for batch in pipeline.batches(trainer.train.split, [np.array(indices) for indices in plan]):
        np.save(folder / f"{batch.indices[0]}.npy", batch.features[0].numpy())
    targets = [[trainer.train.targets[index] for index in batch] for batch in batches]
    setup = {"batches": [batch.tolist() for batch in batches], "targets": targets}
    setup |= {"sizes": trainer.config.to_dict()["model"], "classes": trainer.vocabulary.size}
    (folder / "setup.json").write_text(json.dumps(setup), encoding="utf-8")


def serve_baseline(folder: Path, small: bool) -> None:
    """The baseline's process.

    It prints its number of parameters. Then it reads numbers of batches, one per line, trains on
    each and prints a `TimedUpdate` as JSON.
    """
    import torch

    from benchmarks.baseline_teacher import (
        BaselineTeacher,
        baseline_update,
        load_padded,
        plain_adamw,
    )
    from benchmarks.multiply_adds import count_multiply_adds
    from models.config import ModelConfig
    from models.i3d_teacher import count_parameters

    setup = json.loads((folder / "setup.json").read_text(encoding="utf-8"))
    torch.manual_seed(0)
    hidden = {"lstm_hidden": 16} if small else {}
    model = BaselineTeacher(ModelConfig(**setup["sizes"]), setup["classes"], **hidden).train()
    optimizer = plain_adamw(model)
    print(json.dumps(count_parameters(model)), flush=True)
    for line in sys.stdin:
        files = [folder / f"{index}.npy" for index in setup["batches"][int(line)]]
        started = time.perf_counter()
        baseline_update(model, optimizer, files, setup["targets"][int(line)])
        seconds = time.perf_counter() - started
        features, lengths = load_padded(files)
        work = count_multiply_adds(model, functools.partial(model, features, lengths))
        timed = TimedUpdate(
            seconds, int(lengths.sum()), features.shape[0] * features.shape[1], work
        )
        print(json.dumps(asdict(timed)), flush=True)


@contextlib.contextmanager
def baseline_process(folder: Path, small: bool) -> Iterator[Contestant]:
    """Start and stop the process that runs `serve_baseline`."""
    code = f"from benchmarks.training import *; serve_baseline(Path({str(folder)!r}), {small})"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, **pipes) as process:

        def answer() -> object:
            if line := process.stdout.readline():
                return json.loads(line)
            raise RuntimeError("the process of the baseline ended too early")

        def update(number: int) -> TimedUpdate:
            process.stdin.write(f"{number}\n")
            process.stdin.flush()
            return TimedUpdate(**answer())

        try:
            yield Contestant(answer(), update)
        finally:
            process.stdin.close()


def compare(
    data_dir: str | None, batch_size: int, updates: int, small: bool
) -> dict[str, Contestant]:
    """Train teacher and baseline in turns; returns both with their timed updates."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trainer = make_trainer(data_dir, batch_size, SMALL if small else {}, folder)
        augmented = trainer.plan.augmented_lengths(trainer.train, 1)
        recorded = trainer.train.split.lengths[trainer.plan.trainable]
        teacher_batches, baseline_batches = (
            choose_batches(trainer, lengths, batch_size, updates + 1)
            for lengths in (augmented, recorded)
        )
        write_baseline_files(trainer, baseline_batches, folder)
        with baseline_process(folder, small) as baseline:
            both = {"teacher": make_teacher(trainer, teacher_batches), "baseline": baseline}
            for number in range(updates + 1):
                for contestant in both.values():
                    timed = contestant.update(number)
                    if number > 0:
                        contestant.timed.append(timed)
    return both


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="training.py", description=__doc__)
    parser.add_argument(
        "--data_dir",
        help="corpus folder (default: data/corpora/rehearsal_tenth if it exists, else the built-in "
        "corpus)",
    )
    parser.add_argument(
        "--batch_size",
        type=int,
        nargs="+",
        default=[8, 32],
        help="sentences per batch (default: 8 32)",
    )
    parser.add_argument(
        "--updates",
        type=int,
        default=7,
        help="timed updates at batch 8; larger batches have fewer, at least 2",
    )
    parser.add_argument(
        "--small", action="store_true", help="tiny models: check that the script runs"
    )
    add_json_option(parser)
    options = parser.parse_args(argv)
    if min(*options.batch_size, options.updates) < 1:
        raise UsageError("--batch_size and --updates: expected 1 or more")

    import torch

    from benchmarks.multiply_adds import UPDATE, matmul_peak

    data_dir = options.data_dir or (str(PREFERRED) if PREFERRED.is_dir() else None)
    find_peak = functools.partial(
        matmul_peak, torch.device("cpu"), size=256 if options.small else 2048
    )
    peak, figures = find_peak(), {}
    print(describe_machine())
    print(
        "batch  model      parameters  seconds per update  sentences/s  frames/s  padded"
        "  times the baseline"
    )
    for batch_size in options.batch_size:
        updates = max(min(options.updates, 2), options.updates * 8 // batch_size)
        both = compare(data_dir, batch_size, updates, options.small)
        pairs = zip(both["teacher"].timed, both["baseline"].timed, strict=True)
        times = statistics.median(teacher.rate / baseline.rate for teacher, baseline in pairs)
        print(f"       teacher: {both['teacher'].machine}")
        for name, contestant in both.items():
            timed = contestant.timed
            seconds = statistics.median(update.seconds for update in timed)
            rate = statistics.median(update.rate for update in timed)
            frames, computed = (
                sum(getattr(update, what) for update in timed) for what in ("frames", "computed")
            )
            padded = 1 - frames / computed
            ratio = f"{times:18.2f}" if name == "teacher" else ""
            print(
                f"{batch_size:5}  {name:<9}  {contestant.parameters / 1e6:8.1f} M"
                f"  {seconds:18.3f}  {batch_size / seconds:11.1f}"
                f"  {rate:8,.0f}  {100 * padded:4.1f} %  {ratio}",
                flush=True,
            )
            key = f"{name}_batch_{batch_size}"
            work = statistics.median(
                UPDATE * update.multiply_adds / update.seconds for update in timed
            )
            figures |= {
                f"{name}_parameters": contestant.parameters,
                f"{key}_seconds": seconds,
                f"{key}_sentences_per_second": batch_size / seconds,
                f"{key}_frames_per_second": rate,
                f"{key}_padded_share": padded,
                f"{key}_gflops": 2 * work / 1e9,
            }
        figures[f"times_the_baseline_batch_{batch_size}"] = times
        peak = max(peak, find_peak())  # again: another process may have disturbed the first one
    print(f"matrix products: {2 * peak / 1e9:,.0f} GFLOP/s; share of that peak:")
    for key in [name.removesuffix("_gflops") for name in figures if name.endswith("_gflops")]:
        share = figures[f"{key}_gflops"] * 1e9 / 2 / peak
        print(
            f"  {key.replace('_', ' '):<18} {figures[f'{key}_gflops']:4.0f} GFLOP/s, "
            f"{100 * share:.0f} %"
        )
        figures[f"{key}_share_of_peak"] = share
    finish(
        options,
        {**figures, "peak_gflops": 2 * peak / 1e9},
        f"times_the_baseline_batch_{options.batch_size[0]}",
    )
    return 0


if __name__ == "__main__":
    run_script(main)
