"""How training grows: with the corpus (a corpus against itself repeated ten times), and with
processes (one against two).

    python benchmarks/scaling.py
    python benchmarks/scaling.py --data_dir data/corpora/mine --times 10 --part corpus --json scaling.json

corpus: in a process each, the start (open, hash, look through all sentences, statistics), updates
of a small teacher, and one epoch read, augmented and turned into features; with the memory that is
the process's own (RssAnon: mapped pages of the corpus are the system's to take back) at its peak.
processes: frames a second of one and of two processes, small and full-size teacher, in dry runs,
and what an exchange between the two takes. rounding: losses of the first updates of two processes
against one, and of one process whose batches hold their sentences in another order against the
same. Each process has one thread. Writes the repeated corpus into a temporary folder
(about 3 KB a frame) and removes it.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks.machine import describe_machine
from benchmarks.results import add_json_option, finish
from command_line import Parser
from data.corpus import Corpus
from data.corpus_writer import CorpusWriter
from data.simulation.corpora import builtin_corpus
from errors import run_script

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("corpus", "processes", "rounding")
SMALL = ("--config", "configs/demo.yaml")
LAUNCH = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
UPDATES, TRACED = 40, 31


def repeat_corpus(source: Path, target: Path, times: int) -> None:
    """A corpus whose train split is that of `source` so many times, under new ids."""
    corpus = Corpus(source)
    facts = {"fps": corpus.fps, "aspect_ratio": corpus.aspect_ratio, "simulated": corpus.simulated}
    with CorpusWriter(
        target, name="repeated", made_by={"tool": "benchmarks/scaling.py"}, **facts
    ) as writer:
        for name, count in (("train", times), ("dev", 1)):
            split, part = corpus.split(name), writer.split(name)
            for number in range(count):
                for index, sentence in enumerate(split.sentences):
                    part.add(
                        f"{sentence.id}-{number}",
                        sentence.signer,
                        sentence.glosses,
                        *split.read(index),
                    )


def own_mebibytes() -> float:
    """Memory of this process that no file stands behind."""
    return (
        int(re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text()).group(1)) / 1024
    )


class Peak:
    """The highest `own_mebibytes` while entered, looked at every 20 ms."""

    def __enter__(self) -> "Peak":
        self.mebibytes, self._ended = own_mebibytes(), threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._ended.wait(0.02):
            self.mebibytes = max(self.mebibytes, own_mebibytes())

    def __exit__(self, *_) -> None:
        self._ended.set()
        self._thread.join()


def small_run(data_dir: str):
    """A run of the small teacher on a corpus, ready to train."""
    from data.pipeline import feature_statistics
    from training.config import merge_overrides, read_overrides
    from training.resume import plan_start
    from training.setup import prepare_run

    given = {"training": {"data_dir": data_dir, "device": "cpu"}, "model": {"dropout": 0.0}}
    run = prepare_run(plan_start(None, merge_overrides(read_overrides(ROOT / SMALL[1]), given)))
    trainer = run.trainer
    trainer.model.set_statistics(
        *feature_statistics(
            trainer.pipeline, trainer.train.split, 20_000, sentences=trainer.trainable
        )
    )
    return run


def measure_corpus(data_dir: str) -> dict[str, float]:
    """What one corpus costs; in a process of its own."""

    figures = {}
    with Peak() as peak:
        started = time.perf_counter()
        trainer = small_run(data_dir).trainer
        figures["start_seconds"] = time.perf_counter() - started
        groups = trainer.begin_epoch(1)
        figures["train_sentences"] = len(trainer.train.split)
        figures["train_frames"] = int(trainer.train.split.lengths.sum())
        figures["own_mebibytes_at_start"] = own_mebibytes()
        started = time.perf_counter()
        trainer.model.train()
        for batches in trainer.feed(groups[:UPDATES]):
            trainer.update(batches)
        trainer.read_last_update()
        figures["update_frames_per_second"] = trainer.progress.frames / (
            time.perf_counter() - started
        )
        started = time.perf_counter()
        for _ in trainer.feed(groups):
            pass
        figures["feeding_seconds"] = time.perf_counter() - started
    figures["own_mebibytes_at_peak"] = peak.mebibytes
    return figures


def measure_rounding(data_dir: str, reverse: bool) -> list[float]:
    """Mean losses of the first updates, on the writer."""
    from training.distributed import connect_processes

    losses = []
    with connect_processes() as ranks:
        trainer = small_run(data_dir).trainer
        apply_gradients = trainer._apply_gradients

        def traced(of_sentences):
            losses.append(of_sentences.mean().item())
            return apply_gradients(of_sentences)

        trainer._apply_gradients = traced
        trainer.ranks = ranks
        trainer.spread()
        groups = trainer.begin_epoch(1)[:TRACED]
        if reverse:
            groups = [[rows[::-1].copy() for rows in group] for group in groups]
        trainer.model.train()
        for batches in trainer.feed(groups):
            trainer.update(batches)
            trainer.progress.group += 1
        return losses if ranks.is_writer else []


def measure_exchange() -> list[float]:
    """Median seconds of an all-reduce of 50 M and of 1,000 float32 values, on the writer."""
    import torch
    from torch import distributed

    from training.distributed import connect_processes

    seconds = []
    with connect_processes() as ranks:
        for size in (50_000_000, 1_000):
            values, times = torch.zeros(size), []
            for _ in range(7):
                started = time.perf_counter()
                distributed.all_reduce(values)
                times.append(time.perf_counter() - started)
            seconds.append(float(np.median(times)))
        return seconds if ranks.is_writer else []


def elsewhere(*command: str) -> str:
    """What a Python process of the project prints on its last line, with one thread."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    if ended.returncode:
        raise SystemExit(ended.stderr)
    return ended.stdout


def compare_corpora(data_dir: str, times: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        repeat_corpus(Path(data_dir), Path(folder) / "repeated", times)
        sizes = {1: data_dir, times: str(Path(folder) / "repeated")}
        found = {
            size: json.loads(
                elsewhere(__file__, "--child", "corpus", "--data_dir", path).splitlines()[-1]
            )
            for size, path in sizes.items()
        }
    print(f"{'one thread':<28}" + "".join(f"{size:>10}x" for size in found) + f"{'ratio':>10}")
    figures = {}
    for name in found[1]:
        one, more = (each[name] for each in found.values())
        print(f"{name:<28}{one:>11,.1f}{more:>11,.1f}{more / one:>10.2f}")
        figures |= {f"{name}_1x": one, f"{name}_{times}x": more, f"{name}_ratio": more / one}
    return figures


def compare_processes(data_dir: str) -> dict[str, float]:
    figures = {}
    for name, config in (("small", SMALL), ("full_size", ())):
        run = ("train_teacher.py", *config, "--data_dir", data_dir, "--device", "cpu", "--dry_run")
        rates = []
        for count, launch in ((1, ()), (2, LAUNCH)):
            said = re.search(r"train frames/s +([\d,]+)", elsewhere(*launch, *run)).group(1)
            rates.append(float(said.replace(",", "")))
            figures[f"{name}_frames_per_second_{count}_processes"] = rates[-1]
        figures[f"{name}_two_over_one"] = rates[1] / rates[0]
        print(
            f"{name} teacher: {rates[0]:,.0f} frames/s with one process, {rates[1]:,.0f} with two"
        )
    large, little = json.loads(elsewhere(*LAUNCH, __file__, "--child", "exchange").splitlines()[-1])
    print(
        f"gloo between the two: {1000 * large:,.0f} ms for the gradients of 50 M parameters, {1000 * little:.1f} ms for 4 KB"
    )
    figures |= {
        "exchange_milliseconds_50m": 1000 * large,
        "exchange_milliseconds_4kb": 1000 * little,
    }
    return figures | {"full_size_two_over_one": figures.pop("full_size_two_over_one")}


def compare_rounding(data_dir: str) -> dict[str, float]:
    child = (__file__, "--child", "rounding", "--data_dir", data_dir)
    one, reversed_, two = (
        np.array(json.loads(elsewhere(*command).splitlines()[-1]))
        for command in (child, (*child, "--reverse"), (*LAUNCH, *child))
    )
    figures = {}
    print("update        loss   two processes   one, its batches reversed   (relative difference)")
    for update in range(0, TRACED, 6):
        apart = [abs(other[update] / one[update] - 1) for other in (two, reversed_)]
        print(f"{update:>6}{one[update]:>12.6f}{apart[0]:>16.1e}{apart[1]:>28.1e}")
        figures |= {
            f"two_processes_update_{update}": apart[0],
            f"reversed_update_{update}": apart[1],
        }
    return figures


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="scaling.py", description=__doc__)
    parser.add_argument("--data_dir", help="corpus folder (default: the built-in one)")
    parser.add_argument("--times", type=int, default=10, help="repetitions (default: 10)")
    parser.add_argument("--part", choices=PARTS, help="only this part (default: all)")
    add_json_option(parser)
    parser.add_argument(
        "--child",
        choices=("corpus", "rounding", "exchange"),
        help="measure in this process; used by the script itself",
    )
    parser.add_argument(
        "--reverse", action="store_true", help="with --child rounding: batches in another order"
    )
    options = parser.parse_args(argv)
    data_dir = str(Path(options.data_dir or builtin_corpus()).resolve())
    if options.child == "corpus":
        print(json.dumps(measure_corpus(data_dir)))
    elif options.child:
        rounding = options.child == "rounding"
        if (
            measured := measure_rounding(data_dir, options.reverse)
            if rounding
            else measure_exchange()
        ):
            print(json.dumps(measured))
    else:
        print(describe_machine())
        compare = {
            "corpus": lambda: compare_corpora(data_dir, options.times),
            "processes": lambda: compare_processes(data_dir),
            "rounding": lambda: compare_rounding(data_dir),
        }
        figures = {}
        for part in [options.part] if options.part else PARTS:
            figures |= compare[part]()
        finish(options, figures, list(figures)[-1])
    return 0


if __name__ == "__main__":
    run_script(main)
