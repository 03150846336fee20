"""Check that a refactoring changes no figure: run two checkouts, and compare their figures.

    python benchmarks/same_figures.py --checkout ../before --output before.json
    python benchmarks/same_figures.py --output after.json
    python benchmarks/same_figures.py --compare before.json after.json

--output runs a checkout through its command lines alone, on the CPU with one thread and seed 0:

train       three epochs with configs/demo.yaml on the built-in corpus
overfit     the learning curve of overfit_test.py
evaluate    a checkpoint with the decoders greedy, adaptive and beam: WER, counts and hypotheses;
            the checkpoint of --checkpoint, else the one that `train` made

--compare prints "the same to the last digit", or the differences with exit code 1. Two machines may
round differently: run both checkouts on the same one. Takes about five minutes per checkout.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.results import add_json_option, finish
from command_line import Parser
from errors import DataError, UsageError, run_script

ROOT = Path(__file__).resolve().parent.parent
DECODERS = ("greedy", "adaptive", "beam")
OF_THE_MACHINE = ("frames_per_second", "peak_memory_gb", "seconds")
COMPARED = (
    *("wer", "wer_interval", "substitutions", "deletions", "insertions"),
    *("by_signer", "by_length"),
)
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class Checkout:
    """A folder with the scripts of the project, and the Python that runs them."""

    def __init__(self, folder: Path, python: str):
        self.folder, self.python = folder.resolve(), python

    def run(self, script: str, *words: object, allowed: tuple[int, ...] = (0,)) -> str:
        """Run a script with one thread on the CPU. Returns what it prints.

        Raises DataError when its exit code is not one of the allowed ones.
        """
        command = [self.python, script, *map(str, words), "--device", "cpu"]
        environment = {**os.environ, **ONE_THREAD}
        ended = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True
        )
        if ended.returncode not in allowed:
            last_line = (ended.stderr.strip().splitlines() or ["no message"])[-1]
            raise DataError(
                f"{self.folder / script} ended with exit code {ended.returncode}: {last_line}"
            )
        return ended.stdout


def train(checkout: Checkout, folder: Path) -> list[dict[str, Any]]:
    """The figures of three epochs, without times and memory."""
    words = ("--config", "configs/demo.yaml", "--epochs", 3, "--seed", 0, "--output_dir", folder)
    checkout.run("train_teacher.py", *words)
    rows = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [
        {name: value for name, value in json.loads(row).items() if name not in OF_THE_MACHINE}
        for row in rows
    ]


def overfit(checkout: Checkout, folder: Path) -> list[list[str]]:
    """The printed rows of the learning curve: epoch, loss, WER, share of blanks, gradient norm."""
    # Exit code 1: the check ran, but the teacher did not memorise the sentences
    text = checkout.run("overfit_test.py", "--seed", 0, "--output_dir", folder, allowed=(0, 1))
    return [row[:5] for row in map(str.split, text.splitlines()) if is_curve_row(row)]


def is_curve_row(words: list[str]) -> bool:
    """Whether a printed line has an epoch and at least four further numbers, and nothing else."""
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        return False
    return len(numbers) >= 5 and numbers[0].is_integer()


def evaluate(checkout: Checkout, checkpoint: Path, folder: Path) -> dict[str, dict[str, Any]]:
    """WER, counts and hypotheses of the checkpoint, by decoder."""
    figures = {}
    for decoder in DECODERS:
        output = folder / decoder
        words = ("--checkpoint", checkpoint, "--decoder", decoder, "--output_dir", output)
        checkout.run("evaluate.py", *words)
        result = json.loads((output / "result.json").read_text(encoding="utf-8"))
        figures[decoder] = {name: result[name] for name in COMPARED}
        text = (output / "hypotheses.csv").read_text(encoding="utf-8")
        figures[decoder]["hypotheses"] = text.splitlines()
    return figures


def all_figures(checkout: Checkout, checkpoint: Path | None) -> dict[str, Any]:
    """Run every part in a temporary folder."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        figures: dict[str, Any] = {"train": train(checkout, folder / "train")}
        print(f"train: {len(figures['train'])} epochs", flush=True)
        figures["overfit"] = overfit(checkout, folder / "overfit")
        print(f"overfit: {len(figures['overfit'])} checks", flush=True)
        checkpoint = checkpoint or folder / "train" / "best_model.pth"
        figures["evaluate"] = evaluate(checkout, checkpoint.resolve(), folder)
        print(f"evaluate: {len(figures['evaluate'])} decoders", flush=True)
    return figures


def count(figures: Any) -> int:
    """Number of single figures."""
    if isinstance(figures, dict):
        return sum(map(count, figures.values()))
    if isinstance(figures, list):
        return sum(map(count, figures))
    return 1


def differences(before: Any, after: Any, name: str = "") -> list[str]:
    """One line per figure that differs or that only one of the two has."""
    if isinstance(before, dict) and isinstance(after, dict):
        names = [*before, *(key for key in after if key not in before)]
        pairs = [(key, before.get(key, _MISSING), after.get(key, _MISSING)) for key in names]
    elif isinstance(before, list) and isinstance(after, list):
        length = max(len(before), len(after))
        padded = [[*values, *[_MISSING] * (length - len(values))] for values in (before, after)]
        pairs = [(str(place), *pair) for place, pair in enumerate(zip(*padded, strict=True))]
    else:
        same = type(before) is type(after) and (before == after or _both_nan(before, after))
        return [] if same else [f"{name}: {before!r} before, {after!r} after"]
    return [
        line
        for key, old, new in pairs
        for line in differences(old, new, f"{name}.{key}" if name else str(key))
    ]


class _Missing:
    """In place of a figure that only the other file has."""

    def __repr__(self) -> str:
        return "missing"


_MISSING = _Missing()


def _both_nan(before: Any, after: Any) -> bool:
    return before != before and after != after


def read_figures(path: Path) -> Any:
    """The content of a file of --output. Raises DataError."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a file of --output: {error}") from None


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="same_figures.py", description=__doc__)
    parser.add_argument(
        "--checkout", type=Path, default=ROOT, metavar="DIR", help="(default: this one)"
    )
    parser.add_argument(
        "--python", default=sys.executable, metavar="PATH", help="(default: the running Python)"
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="write the figures to this file"
    )
    parser.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="evaluate this one (default: see above)"
    )
    parser.add_argument(
        "--compare", type=Path, nargs=2, metavar=("A", "B"), help="compare two files of --output"
    )
    add_json_option(parser)
    options = parser.parse_args(argv)
    if (options.output is None) == (options.compare is None):
        raise UsageError("give either --output FILE or --compare A B")
    if options.output is not None:
        figures = all_figures(Checkout(options.checkout, options.python), options.checkpoint)
        text = json.dumps(figures, indent=1, ensure_ascii=False) + "\n"
        options.output.write_text(text, encoding="utf-8")
        finish(options, {"figures": count(figures)}, "figures")
        return 0
    before, after = map(read_figures, options.compare)
    found = differences(before, after)
    print("\n".join(found) if found else "the same to the last digit")
    finish(options, {"figures": count(before), "differences": len(found)}, "differences")
    return 1 if found else 0


if __name__ == "__main__":
    run_script(main)
