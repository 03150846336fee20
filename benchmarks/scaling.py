"""Measure how training scales with the size of the corpus and with the number of processes.

    python benchmarks/scaling.py
    python benchmarks/scaling.py --data_dir data/corpora/mine --times 10 --part corpus \
        --json scaling.json

Parts:

corpus      a corpus against the same corpus repeated --times times, each in a separate process: the
            start (open, hash, check all sentences, statistics), updates of a small teacher, and the
            feeding of one epoch. The memory is the peak of the process's own memory (RssAnon); the
            system can take back memory-mapped pages of the corpus, so they do not count.
processes   frames per second of one and of two processes in dry runs, with the small and the
            full-size teacher; and the time of an exchange between the two.
rounding    losses of the first updates, with differences relative to one process: of two
            processes, and of one process whose batches have their sentences in reverse order.

Each process has one thread. The repeated corpus (about 3 KB per frame) is in a temporary folder.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks.results import add_json_option, describe_machine, finish, require_linux
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
    """Write a corpus whose train split repeats that of `source` `times` times, under new ids."""
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
    """Memory of this process without memory-mapped files."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+)", status).group(1)) / 1024


class Peak:
    """The highest `own_mebibytes` inside the `with` block, measured every 20 ms."""

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
    """A prepared run of the small teacher on a corpus."""
    from settings import merge_overrides, read_overrides
    from training.config import Config
    from training.resume import plan_start
    from training.setup import prepare_run, train_statistics

    overrides = {"training": {"data_dir": data_dir, "device": "cpu"}, "model": {"dropout": 0.0}}
    run = prepare_run(
        plan_start(None, merge_overrides(read_overrides(ROOT / SMALL[1], Config), overrides))
    )
    trainer = run.trainer
    trainer.model.set_statistics(*train_statistics(trainer, 20_000))
    return run


def measure_corpus(data_dir: str) -> dict[str, float]:
    """Times and memory of one corpus. Runs in a separate process."""
    figures = {}
    with Peak() as peak:
        started = time.perf_counter()
        trainer = small_run(data_dir).trainer
        figures["start_seconds"] = time.perf_counter() - started
        groups = trainer.plan.begin(1)
        figures["train_sentences"] = len(trainer.train.split)
        figures["train_frames"] = int(trainer.train.split.lengths.sum())
        figures["own_mebibytes_at_start"] = own_mebibytes()
        started = time.perf_counter()
        trainer.model.train()
        for batches in trainer.feed(groups[:UPDATES]):
            trainer.update(batches)
        trainer.finish_pending_update()
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
    """Mean losses of the first updates, on rank 0; [] on other ranks."""
    from training.distributed import connect_processes

    losses = []
    with connect_processes() as ranks:
        trainer = small_run(data_dir).trainer
        record_update = trainer.progress.record_update

        def keep_and_record(group, sentence_losses, *rest):
            losses.append(statistics.fmean(sentence_losses))
            return record_update(group, sentence_losses, *rest)

        trainer.progress.record_update = keep_and_record
        trainer.ranks = ranks
        trainer.connect_ranks()
        groups = trainer.plan.begin(1)[:TRACED]
        if reverse:
            groups = [[rows[::-1].copy() for rows in group] for group in groups]
        trainer.model.train()
        for batches in trainer.feed(groups):
            trainer.update(batches)
            trainer.progress.group += 1
        trainer.finish_pending_update()
        return losses if ranks.is_rank_0 else []


def measure_exchange() -> list[float]:
    """Median seconds of an all-reduce of 50 M and of 1,000 float32 values, on rank 0."""
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
        return seconds if ranks.is_rank_0 else []


def output_of(*command: str) -> str:
    """The output of a Python process with one thread, started in the project's folder."""
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
        measured = {
            size: json.loads(
                output_of(__file__, "--child", "corpus", "--data_dir", path).splitlines()[-1]
            )
            for size, path in sizes.items()
        }
    print(f"{'one thread':<28}" + "".join(f"{size:>10}x" for size in measured) + f"{'ratio':>10}")
    figures = {}
    for name in measured[1]:
        one, more = (each[name] for each in measured.values())
        print(f"{name:<28}{one:>11,.1f}{more:>11,.1f}{more / one:>10.2f}")
        figures |= {f"{name}_1x": one, f"{name}_{times}x": more, f"{name}_ratio": more / one}
    return figures


def compare_processes(data_dir: str) -> dict[str, float]:
    figures = {}
    for name, config in (("small", SMALL), ("full_size", ())):
        run = ("train_teacher.py", *config, "--data_dir", data_dir, "--device", "cpu", "--dry_run")
        rates = []
        for count, launch in ((1, ()), (2, LAUNCH)):
            rate = re.search(r"train frames/s +([\d,]+)", output_of(*launch, *run)).group(1)
            rates.append(float(rate.replace(",", "")))
            figures[f"{name}_frames_per_second_{count}_processes"] = rates[-1]
        figures[f"{name}_two_over_one"] = rates[1] / rates[0]
        print(
            f"{name} teacher: {rates[0]:,.0f} frames/s with one process, {rates[1]:,.0f} with two"
        )
    large, small = json.loads(output_of(*LAUNCH, __file__, "--child", "exchange").splitlines()[-1])
    print(
        f"gloo between the two: {1000 * large:,.0f} ms for the gradients of 50 M parameters, "
        f"{1000 * small:.1f} ms for 4 KB"
    )
    figures |= {
        "exchange_milliseconds_50m": 1000 * large,
        "exchange_milliseconds_4kb": 1000 * small,
    }
    return figures | {"full_size_two_over_one": figures.pop("full_size_two_over_one")}


def compare_rounding(data_dir: str) -> dict[str, float]:
    child = (__file__, "--child", "rounding", "--data_dir", data_dir)
    one, reversed_, two = (
        np.array(json.loads(output_of(*command).splitlines()[-1]))
        for command in (child, (*child, "--reverse"), (*LAUNCH, *child))
    )
    figures = {}
    print("update        loss   two processes   one, batches reversed       (relative difference)")
    for update in range(0, TRACED, 6):
        differences = [abs(other[update] / one[update] - 1) for other in (two, reversed_)]
        print(f"{update:>6}{one[update]:>12.6f}{differences[0]:>16.1e}{differences[1]:>28.1e}")
        figures |= {
            f"two_processes_update_{update}": differences[0],
            f"reversed_update_{update}": differences[1],
        }
    return figures


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="scaling.py", description=__doc__)
    parser.add_argument("--data_dir", help="corpus folder (default: the built-in corpus)")
    parser.add_argument(
        "--times", type=int, default=10, help="repetitions of the train split (default: 10)"
    )
    parser.add_argument("--part", choices=PARTS, help="only this part (default: all)")
    add_json_option(parser)
    parser.add_argument(
        "--child",
        choices=("corpus", "rounding", "exchange"),
        help="for the script itself: measure in this process",
    )
    parser.add_argument(
        "--reverse", action="store_true", help="with --child rounding: reverse the batches"
    )
    options = parser.parse_args(argv)
    require_linux("scaling.py", "it reads the memory of a process from /proc")
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
