"""Measure how fast two trainings are beside each other, against one alone.

    python benchmarks/machine/busy.py
    python benchmarks/machine/busy.py --seconds 20 --rounds 3 --threads 2

A training is updates of the demo-size teacher (configs/demo.yaml) on random features. It runs

- alone, and beside another one of its kind;
- with threads that sleep while they wait for each other (processor.py, what the scripts set), and
  with OpenMP's default, which spins for milliseconds;
- with one thread, for comparison.

They take turns, so that a disturbance affects all. The figures are medians of the rounds: frames
per second alone, and the share of it that the slower one of two keeps. Two trainings that share the
cores evenly keep 50 %. The default takes about two minutes.
"""

import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.results import add_json_option, describe_machine, finish
from command_line import Parser
from errors import run_script
from processor import WAITING, cores_allowed

ROOT = Path(__file__).resolve().parents[2]
SLEEP, SPIN, ONE = "sleeping threads", "spinning threads", "one thread"
# Of GNU's OpenMP: what it does where the user sets nothing. Other runtimes know the second one.
DEFAULT_WAITING = {"GOMP_SPINCOUNT": "300000", "KMP_BLOCKTIME": "200"}


class Training:
    """A process that trains for some seconds as soon as it is asked to."""

    def __init__(self, kind: str, threads: int, seconds: float):
        environment = {name: value for name, value in os.environ.items() if name not in WAITING}
        if kind == SPIN:
            environment |= DEFAULT_WAITING
        environment["OMP_NUM_THREADS"] = str(1 if kind == ONE else threads)
        command = [sys.executable, __file__, "--train", str(seconds)]
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def start(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("start\n")
        self._process.stdin.flush()

    def rate(self) -> float:
        """Frames per second."""
        assert self._process.stdout is not None
        return float(self._process.stdout.readline())


def measure(kind: str, threads: int, seconds: float, count: int) -> float:
    """Frames per second of the slowest of some trainings at once."""
    trainings = [Training(kind, threads, seconds) for _ in range(count)]
    for training in trainings:
        training.start()
    return min(training.rate() for training in trainings)


def train(seconds: float) -> None:
    """Print 'ready', wait for a line, train, and print the frames per second."""
    import torch

    from benchmarks.speed import BATCH, FRAMES
    from benchmarks.step import Step
    from models.devices import choose_device
    from settings import read_overrides
    from training.config import Config

    torch.manual_seed(0)
    config = Config().updated(read_overrides(ROOT / "configs" / "demo.yaml", Config))
    step = Step(choose_device("cpu"), config=config.model)
    for _ in range(3):
        step.update()
    print("ready", flush=True)
    sys.stdin.readline()
    started, updates = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        step.update()
        updates += 1
    print(updates * BATCH * FRAMES / (time.perf_counter() - started), flush=True)


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="busy.py", description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=2, help="measurements of each kind")
    parser.add_argument("--threads", type=int, help="of a training (default: the allowed cores)")
    parser.add_argument("--train", type=float, help="seconds; what this script starts itself with")
    add_json_option(parser)
    options = parser.parse_args(argv)
    if options.train:
        train(options.train)
        return 0
    threads = options.threads or cores_allowed()
    print(f"{describe_machine()}; {threads} threads for each training")
    rates: dict[tuple[str, int], list[float]] = defaultdict(list)
    for _ in range(options.rounds):
        for kind in (SLEEP, SPIN, ONE):
            for count in (1, 2):
                rates[kind, count].append(measure(kind, threads, options.seconds, count))
    figures = {}
    for kind in (SLEEP, SPIN, ONE):
        alone, beside = (statistics.median(rates[kind, count]) for count in (1, 2))
        name = kind.replace(" ", "_")
        figures |= {f"{name}_alone": alone, f"{name}_kept_beside_another": beside / alone}
        print(
            f"{kind}: {alone:,.0f} frames/s alone, {beside:,.0f} beside another one "
            f"({100 * beside / alone:.0f} %)"
        )
    finish(options, figures, "sleeping_threads_kept_beside_another")
    return 0


if __name__ == "__main__":
    run_script(main)
