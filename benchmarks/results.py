"""What every benchmark prints and writes: the machine, the file of --json, and a last line; and how
it ends when its training is stopped."""

import argparse
import contextlib
import json
import math
import os
import platform
import re
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from errors import DataError, UsageError


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """Add --json FILE, which `finish` writes."""
    parser.add_argument(
        "--json", type=_new_file, metavar="FILE", help="also write the figures to this file"
    )
    parser.set_defaults(script=parser.prog.removesuffix(".py"))


def _new_file(text: str) -> Path:
    """An argparse type: refuse a file that cannot be written before the measuring starts."""
    path = Path(text)
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(
            f"cannot be written to: {text}, expected a file in an existing folder"
        )
    return path


@contextlib.contextmanager
def stopped_training_is_ctrl_c() -> Iterator[None]:
    """Context in which a training that a signal stops ends the benchmark as Ctrl-C does, without a
    traceback."""
    from training.stop_signals import InterruptedRunError

    try:
        yield
    except InterruptedRunError:
        raise KeyboardInterrupt from None


def require_linux(script: str, reason: str) -> None:
    """Raise UsageError on another system than Linux."""
    if sys.platform != "linux":
        raise UsageError(f"{script} measures on Linux only: {reason}")


def figure_name(*words: str) -> str:
    """Join words with underscores: 'default recipe', 'dev' -> default_recipe_dev."""
    return "_".join(re.findall(r"\w+", " ".join(words)))


def finish(args: argparse.Namespace, figures: dict[str, float], headline: str) -> None:
    """Write the figures to the file of --json, and print the figure named `headline`.

    The file has the keys script, machine, date and figures. A figure that is not finite is null.
    The file appears only when it is complete. Raises DataError when it cannot be written.
    """
    if args.json is not None:
        finite = {name: value if math.isfinite(value) else None for name, value in figures.items()}
        content = {
            "script": args.script,
            "machine": machine(),
            "date": str(date.today()),
            "figures": finite,
        }
        partial = args.json.with_name(f"{args.json.name}.partial")
        try:
            partial.write_text(
                json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
            )
            os.replace(partial, args.json)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise DataError(f"--json {args.json} cannot be written: {error.strerror}") from None
    print(f"{headline}: {_format(figures[headline])}")


def _format(value: float) -> str:
    """Integers without decimals, others with two decimals, below 1 with three digits."""
    if float(value).is_integer():
        return str(int(value))
    return f"{value:.2f}" if abs(value) >= 1 or not math.isfinite(value) else f"{value:.3g}"


def machine() -> str:
    """The GPU if there is one, threads, processor, version of torch."""
    import torch  # only here, so that --help is quick

    name = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            models = [
                line.split(":", 1)[1].strip() for line in file if line.startswith("model name")
            ]
        name = models[0] if models else name
    text = f"{torch.get_num_threads()} threads of {name}"
    if torch.cuda.is_available():
        text = f"{torch.cuda.get_device_name()}, {text}"
    return f"{text}, torch {torch.__version__}"


def describe_machine() -> str:
    """The date, then `machine`."""
    return f"{date.today()}, {machine()}"
