"""What the scripts' command lines share."""

import argparse
import difflib
import os
import shutil
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

_WIDEST = 100  # columns; longer lines are hard to read
_METAVARS = {int: "N", float: "X", Path: "PATH"}


class Parser(argparse.ArgumentParser):
    """An argument parser whose help reads as documentation in a terminal of any width, and whose
    errors are one line naming the nearest option.

    Of the description, indented lines are commands to copy: they stay lines of their own, folded
    where they are too long. Everything else is filled. Each option's default is shown behind its
    help.
    """

    def __init__(self, **options):
        super().__init__(formatter_class=_HelpFormatter, allow_abbrev=False, **options)

    def parse_args(self, args=None, namespace=None):
        namespace, unknown = self.parse_known_args(args, namespace)
        if unknown:
            known = [option for action in self._actions for option in action.option_strings]
            near = difflib.get_close_matches(unknown[0].split("=")[0], known, n=1, cutoff=0.5)
            hint = f": did you mean {near[0]}?" if near else ""
            self.error(f"unknown option {' '.join(unknown)}{hint}")
        return namespace

    def error(self, message: str) -> NoReturn:
        # Of the processes that torchrun started here: one says it
        first = os.environ.get("LOCAL_RANK", "0") == "0"
        self.exit(2, f"error: {message} (see {self.prog} --help)\n" if first else None)


class _HelpFormatter(argparse.HelpFormatter):
    """Examples folded, the rest filled; a default behind each help text that does not say its own;
    a short usage line."""

    def __init__(self, prog: str):
        width = min(shutil.get_terminal_size().columns, _WIDEST) - 2
        super().__init__(prog, max_help_position=28, width=width)

    def _get_default_metavar_for_optional(self, action: argparse.Action) -> str:
        # --data_dir DIR
        return _METAVARS.get(action.type) or action.dest.rsplit("_", 1)[-1].upper()

    def add_usage(self, usage, actions, groups, prefix=None) -> None:
        """The options that must be given, the others as [options]: all of them stand below with
        what they mean."""
        if usage is None:
            words = [self._prog]
            for action in actions:
                if action.required or not action.option_strings:
                    metavar = self._format_args(
                        action, self._get_default_metavar_for_optional(action)
                    )
                    words += [*action.option_strings[:1], metavar]
            if prefix is None:  # else it is the beginning of a subcommand's own usage
                words.append("[options]")
                words = textwrap.wrap(
                    " ".join(words), self._width - len("usage: "), break_on_hyphens=False
                )
            usage = ("\n       " if prefix is None else " ").join(words).replace("%", "%%")
        super().add_usage(usage, actions, groups, prefix)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines: list[str] = []
        for line in text.splitlines():
            if line.startswith(" "):
                lines += _fold_command(line, width, bool(lines) and lines[-1].endswith("\\"))
            elif line and lines and lines[-1] and not lines[-1].startswith(" "):
                lines[-1] += f" {line}"
            else:
                lines.append(line)
        filled = (line if line.startswith(" ") else textwrap.fill(line, width) for line in lines)
        return textwrap.indent("\n".join(filled), indent)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        unsaid = any(action.default is value for value in (None, argparse.SUPPRESS, False))
        if unsaid or "%(default)" in (action.help or ""):
            return action.help
        return f"{action.help} (default: %(default)s)"


def number_between(low: float, high: float) -> Callable[[str], float]:
    """An argparse type: a number in a range, also as a fraction such as 4/3."""

    def number(text: str) -> float:
        numerator, _, denominator = text.partition("/")
        try:
            value = float(numerator) / float(denominator or 1)
        except (ValueError, ZeroDivisionError):
            value = float("nan")
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(
                f"expected a number from {low:g} to {high:g}, or W/H, found '{text}'"
            )
        return value

    return number


def _fold_command(line: str, width: int, continued: bool) -> list[str]:
    """A command as lines that the shell joins again, cut before options where it is too long;
    `continued`: it is the rest of one that is already folded."""
    lines = []
    indent = " " * (len(line) - len(line.lstrip()))
    further = indent if continued else indent + "    "
    while len(line) > width and (cut := line.rfind(" --", len(further) + 1, width - 1)) > 0:
        lines.append(f"{line[:cut]} \\")
        line = further + line[cut:].lstrip()
    return [*lines, line]
