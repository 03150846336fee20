"""What the scripts' command lines share."""

import argparse
import difflib
from collections.abc import Callable
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """An argument parser whose help shows examples as written and whose errors are one line naming the nearest option."""

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
        self.exit(2, f"error: {message} (see {self.prog} --help)\n")


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Defaults shown behind each help text that does not say its own."""

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
            raise argparse.ArgumentTypeError(f"expected a number from {low:g} to {high:g}, or W/H, found '{text}'")
        return value

    return number
