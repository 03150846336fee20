"""How fast the teacher trains, beside the first version of its design, on the same corpus in one
run.

    OMP_NUM_THREADS=2 python benchmarks/training.py
    OMP_NUM_THREADS=2 python benchmarks/training.py --batch_size 8 --updates 9 --json training.json

teacher: from landmarks on disk through features and augmentation to the optimiser's step, as
train_teacher.py does it, with the default sizes (50 M parameters). baseline:
benchmarks/baseline_teacher.py (27 M parameters), from float32 feature files. Each runs in a process
of its own, the baseline with torch's defaults; they take turns (teacher, baseline, teacher, ...),
so that what disturbs one disturbs the other, and the first update of each is not timed. An update
ends when its loss is read. Shown are medians. Frames are those inside the sentences as the model is
given them, never padding: for the teacher as augmentation stretches and cuts them (2 % fewer than
recorded on the whole), for the baseline as recorded. Both have batches of sentences of like length
by just those lengths, so that as little is padded for the one as for the other; `padded` shows it.

Arithmetic: multiply-adds of linear layers, convolutions and LSTMs over all frames computed, padded
ones too (but where a packed LSTM skips them), three times the forward pass. The peak is that of a
large matrix product on the same threads in the same run. The default takes about two minutes on two
idle cores.
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

from benchmarks.machine import describe_machine
from benchmarks.results import add_json_option, finish
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
class Done:
    """One update: seconds, frames inside its sentences and with their padding, multiply-adds of its
    forward pass."""

    seconds: float
    frames: int
    computed: int
    multiply_adds: int

    @property
    def rate(self) -> float:
        return self.frames / self.seconds


@dataclass
class Contestant:
    """One of the two. update: does the batch of this number."""

    parameters: int
    update: Callable[[int], Done]
    done: list[Done] = field(default_factory=list)  # the timed ones


def make_trainer(data_dir: str | None, batch_size: int, sizes: dict, folder: Path):
    """The trainer of a real run with default settings, an update a batch, on the CPU; nothing is
    written."""
    from training.resume import plan_start
    from training.setup import prepare_run

    settings = {
        "data_dir": data_dir,
        "output_dir": str(folder / "run"),
        "batch_size": batch_size,
        "device": "cpu",
    }
    settings |= {"accumulation_steps": 1, "epochs": 10}
    with contextlib.redirect_stdout(io.StringIO()):  # a training's opening words
        trainer = prepare_run(plan_start(None, {"training": settings, "model": sizes})).trainer
    trainer.model.train()
    return trainer


def choose_batches(trainer, lengths: Sequence[int], batch_size: int, count: int) -> list:
    """Batches of an epoch planned by these lengths of the trainable sentences, nearest to its
    middle in frames: full ones, neither the longest nor the shortest."""
    from data.batching import plan_epoch

    plan = [batch for batch in plan_epoch(lengths, batch_size, 0, 1) if len(batch) == batch_size]
    if not plan:
        raise UsageError(
            f"--batch_size {batch_size}: the corpus has {len(lengths)} train sentences"
        )
    plan.sort(key=lambda batch: int(lengths[batch].sum()))
    middle = plan[max(len(plan) - count, 0) // 2 :]
    return [trainer.trainable[middle[i % len(middle)]] for i in range(count)]


def make_teacher(trainer, batches: Sequence) -> Contestant:
    from benchmarks.multiply_adds import count_multiply_adds
    from models.i3d_teacher import count_parameters

    def update(number: int) -> Done:
        started = time.perf_counter()
        ((made,),) = trainer.feed([[batches[number]]])
        trainer.update([made])
        trainer.read_last_update()
        seconds = time.perf_counter() - started
        run = functools.partial(trainer.model, made.features, made.lengths, made.detected)
        computed = made.features.shape[0] * made.features.shape[1]
        return Done(seconds, made.frames, computed, count_multiply_adds(trainer.model, run))

    return Contestant(count_parameters(trainer.model), update)


def write_baseline_files(trainer, batches: Sequence, folder: Path) -> None:
    """What the baseline reads: a float32 file of all 6,516 features a sentence, and who is in which
    batch."""
    import numpy as np

    from data.pipeline import FeaturePipeline

    whole = FeaturePipeline(trainer.corpus.aspect_ratio, trainer.device)
    plan = [[index] for index in sorted({*np.concatenate(batches).tolist()})]
    for made in whole.batches(trainer.train.split, [np.array(indices) for indices in plan]):
        np.save(folder / f"{made.indices[0]}.npy", made.features[0].numpy())
    targets = [[trainer.train.targets[index] for index in batch] for batch in batches]
    setup = {"batches": [batch.tolist() for batch in batches], "targets": targets}
    setup |= {"sizes": trainer.config.to_dict()["model"], "classes": trainer.vocabulary.size}
    (folder / "setup.json").write_text(json.dumps(setup), encoding="utf-8")


def serve_baseline(folder: Path, small: bool) -> None:
    """The baseline's process: says its parameters, then reads numbers of batches and answers as
    `Contestant.update` does."""
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
        done = Done(seconds, int(lengths.sum()), features.shape[0] * features.shape[1], work)
        print(json.dumps(asdict(done)), flush=True)


@contextlib.contextmanager
def baseline_process(folder: Path, small: bool) -> Iterator[Contestant]:
    code = f"from benchmarks.training import *; serve_baseline(Path({str(folder)!r}), {small})"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, **pipes) as process:

        def answer() -> object:
            if line := process.stdout.readline():
                return json.loads(line)
            raise RuntimeError("the baseline's process ended before its time")

        def update(number: int) -> Done:
            process.stdin.write(f"{number}\n")
            process.stdin.flush()
            return Done(**answer())

        try:
            yield Contestant(answer(), update)
        finally:
            process.stdin.close()


def compare(
    data_dir: str | None, batch_size: int, updates: int, small: bool
) -> dict[str, Contestant]:
    """Both after their updates."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trainer = make_trainer(data_dir, batch_size, SMALL if small else {}, folder)
        shown, recorded = (
            trainer.shown_lengths(trainer.train, 1),
            trainer.train.split.lengths[trainer.trainable],
        )
        of_teacher, of_baseline = (
            choose_batches(trainer, one, batch_size, updates + 1) for one in (shown, recorded)
        )
        write_baseline_files(trainer, of_baseline, folder)
        with baseline_process(folder, small) as baseline:
            both = {"teacher": make_teacher(trainer, of_teacher), "baseline": baseline}
            for number in range(updates + 1):
                for contestant in both.values():
                    found = contestant.update(number)
                    contestant.done += [found] * (number > 0)
    return both


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="training.py", description=__doc__)
    parser.add_argument(
        "--data_dir",
        help="corpus folder (default: data/corpora/rehearsal_tenth where it is, else the built-in corpus)",
    )
    parser.add_argument(
        "--batch_size", type=int, nargs="+", default=[8, 32], help="sentences (default: 8 32)"
    )
    parser.add_argument(
        "--updates",
        type=int,
        default=7,
        help="timed at batch 8; of larger batches fewer, at least 2",
    )
    parser.add_argument(
        "--small", action="store_true", help="tiny models: to see that it runs, not how fast"
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
        "batch  model      parameters  seconds an update  sentences/s  frames/s  padded  times the baseline"
    )
    for batch_size in options.batch_size:
        updates = max(min(options.updates, 2), options.updates * 8 // batch_size)
        both = compare(data_dir, batch_size, updates, options.small)
        pairs = zip(both["teacher"].done, both["baseline"].done, strict=True)
        times = statistics.median(teacher.rate / baseline.rate for teacher, baseline in pairs)
        for name, one in both.items():
            seconds = statistics.median(done.seconds for done in one.done)
            rate = statistics.median(done.rate for done in one.done)
            padded = 1 - sum(done.frames for done in one.done) / sum(
                done.computed for done in one.done
            )
            shown = f"{times:18.2f}" if name == "teacher" else ""
            print(
                f"{batch_size:5}  {name:<9}  {one.parameters / 1e6:8.1f} M  {seconds:17.3f}  {batch_size / seconds:11.1f}"
                f"  {rate:8,.0f}  {100 * padded:4.1f} %  {shown}",
                flush=True,
            )
            key = f"{name}_batch_{batch_size}"
            work = statistics.median(
                UPDATE * done.multiply_adds / done.seconds for done in one.done
            )
            figures |= {
                f"{name}_parameters": one.parameters,
                f"{key}_seconds": seconds,
                f"{key}_sentences_per_second": batch_size / seconds,
                f"{key}_frames_per_second": rate,
                f"{key}_padded_share": padded,
                f"{key}_gflops": 2 * work / 1e9,
            }
        figures[f"times_the_baseline_batch_{batch_size}"] = times
        peak = max(peak, find_peak())  # once more: something else may run beside one
    print(f"matrix products: {2 * peak / 1e9:,.0f} GFLOP/s; of it")
    for key in [name.removesuffix("_gflops") for name in figures if name.endswith("_gflops")]:
        share = figures[f"{key}_gflops"] * 1e9 / 2 / peak
        print(
            f"  {key.replace('_', ' '):<18} {figures[f'{key}_gflops']:4.0f} GFLOP/s, {100 * share:.0f} %"
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
