"""Measure what a full training costs on this machine, and check that the device computes correctly.

    benchmarks/gpu.sh
    python benchmarks/gpu.py --steps overfit phases agreement --seconds 540
    python benchmarks/gpu.py --steps training --epochs 40 --work gpu_run
    python benchmarks/gpu.py --device cpu --small

Prints one table of times, memory and limits. Steps:

overfit     overfit_test.py, timed
corpus      the corpus for the other steps: --data_dir, else data/corpora/rehearsal if it exists,
            else a simulated corpus of PHOENIX-2014's size (5,671 train sentences, 1,231 glosses),
            made on all cores
phases      for each --batch_size and --frames_per_batch: the time of each phase of an update, peak
            memory, and the time of 150 epochs; with --compile also compiled, for the first size
agreement   one batch on the CPU and on the device in float32, and bf16 against float32
training    train_teacher.py with configs/phoenix2014.yaml until --epochs or --seconds are over

A step fails when it raises an error, does not learn five sentences, or computes something else than
the CPU. The other steps still run; the exit code is 1. The table shows the targets in gpu_steps.py
as met or missed; they do not change the exit code.

CUDA events on the device time the phases. `queued` is the share of an update in which the host
still gives the device work: near 100 % the device waits for the host. Files are written only to
--work and the corpus folder.
"""

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.gpu_steps import EPOCHS, ROOT, STEPS, Session
from benchmarks.results import add_json_option, describe_machine, finish
from command_line import Parser
from errors import ProjectError, UsageError, run_script

REHEARSAL = ROOT / "data" / "corpora" / "rehearsal"


def make_parser() -> Parser:
    parser = Parser(prog="gpu.py", description=__doc__)
    parser.add_argument(
        "--steps", nargs="+", choices=STEPS, default=list(STEPS), help="(default: all)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--data_dir", type=Path, help="corpus folder (default: see above)")
    parser.add_argument(
        "--batch_size",
        type=int,
        nargs="+",
        default=[8, 12, 32],
        help="sentences per batch (default: 8 12 32)",
    )
    parser.add_argument(
        "--frames_per_batch",
        type=int,
        nargs="*",
        default=[1_200, 1_800, 4_800],
        help="frames per batch (default: 1200 1800 4800, about 8, 12 and 32 sentences)",
    )
    parser.add_argument(
        "--compile",
        action="store_true",
        help="also measure the first batch size compiled, which takes minutes",
    )
    parser.add_argument("--updates", type=int, default=30, help="timed updates per size")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="epochs of the training")
    parser.add_argument(
        "--seconds",
        type=float,
        default=570.0,
        help="after this time no step starts, and the training stops",
    )
    parser.add_argument(
        "--work", type=Path, help="folder that keeps logs and runs (default: a temporary folder)"
    )
    parser.add_argument(
        "--small",
        action="store_true",
        help="tiny models and corpus: check that the script runs",
    )
    add_json_option(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    options = make_parser().parse_args(argv)
    if min(*options.batch_size, *options.frames_per_batch, options.updates, options.epochs) < 1:
        raise UsageError(
            "--batch_size, --frames_per_batch, --updates and --epochs: expected 1 or more"
        )
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        return measure(options, work.resolve())


def measure(options, work: Path) -> int:
    """Run every step. Returns 1 when one of them failed."""
    from models.devices import choose_device

    ends = time.monotonic() + options.seconds
    session = Session(options, choose_device(options.device), work, ends)
    if options.data_dir is not None:
        session.corpus = options.data_dir
    elif REHEARSAL.is_dir() and not options.small:
        session.corpus = REHEARSAL
    needed = set(options.steps)
    if session.corpus is None and {"phases", "agreement", "training"} & needed:
        needed.add("corpus")
    print(describe_machine())
    failed = 0
    for name in [name for name in STEPS if name in needed]:
        started = time.perf_counter()
        if session.seconds_left() <= 0:
            session.show(name, f"not started: the {options.seconds:g} seconds were over")
            failed += 1
            continue
        try:
            passed, reason = STEPS[name](session), "see above"
        # Torch's errors are RuntimeErrors
        except (ProjectError, RuntimeError, OSError, ValueError, LookupError) as error:
            passed, reason = False, f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
        if not passed:
            failed += 1
            session.show(name, f"FAILED: {reason}")
        session.figures[f"{name}_step_seconds"] = time.perf_counter() - started
    finish(options, {**session.figures, "failed_steps": failed}, "failed_steps")
    return 1 if failed else 0


if __name__ == "__main__":
    run_script(main)
