"""How every benchmark ends: its figures in a JSON file where one was asked for, and one last line
`name: value`."""

import argparse
import json
import math
import os
import re
from datetime import date
from pathlib import Path

from benchmarks.machine import machine
from errors import DataError


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """--json FILE, which `finish` writes."""
    parser.add_argument(
        "--json", type=_new_file, metavar="FILE", help="write the figures there, too"
    )
    parser.set_defaults(script=parser.prog.removesuffix(".py"))


def _new_file(text: str) -> Path:
    """An argparse type: refused before the minutes of measuring, not after them."""
    path = Path(text)
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(
            f"cannot be written to: {text}, expected a file in a folder that is there"
        )
    return path


def figure_name(*words: str) -> str:
    """One name of letters, digits and underscores: 'default recipe', 'dev' -> default_recipe_dev."""
    return "_".join(re.findall(r"\w+", " ".join(words)))


def finish(args: argparse.Namespace, figures: dict[str, float], headline: str) -> None:
    """Write {"script", "machine", "date", "figures"} to the file of --json and print the figure
    named `headline`.

    A figure that is not finite is null in the file. The file is whole or not there. Raises
    DataError when it cannot be written.
    """
    if args.json is not None:
        known = {name: value if math.isfinite(value) else None for name, value in figures.items()}
        content = {
            "script": args.script,
            "machine": machine(),
            "date": str(date.today()),
            "figures": known,
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
    print(f"{headline}: {_shown(figures[headline])}")


def _shown(value: float) -> str:
    """Whole numbers as they are, others with two decimals, small ones with three digits."""
    if float(value).is_integer():
        return str(int(value))
    return f"{value:.2f}" if abs(value) >= 1 or not math.isfinite(value) else f"{value:.3g}"
