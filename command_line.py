"""What the command lines of the scripts share: options made from settings, help, errors."""

import argparse
import dataclasses
import difflib
import os
import shutil
import sys
import textwrap
import types
import typing
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from settings import (
    Declaration,
    Overrides,
    Settings,
    SettingsFile,
    declarations,
    given_settings,
    options_of,
    sections_of,
)
from version import VERSION

_WIDEST = 100  # columns; longer lines are hard to read
_METAVARS = {int: "N", float: "X", Path: "PATH"}

SettingsType = TypeVar("SettingsType", bound=Settings)


class Parser(argparse.ArgumentParser):
    """An argument parser with readable help and one-line errors that name the nearest option.

    Indented lines of the description are commands to copy: each stays on its own line, and a long
    one is split with a backslash. All other lines are filled. Each help text ends with the default.
    """

    def __init__(self, **options: Any):
        super().__init__(formatter_class=_HelpFormatter, allow_abbrev=False, **options)
        self._groups: dict[str, argparse._ArgumentGroup] = {}

    def group(self, title: str) -> argparse._ArgumentGroup:
        """The group of options with this heading; it is made at the first call."""
        if title not in self._groups:
            self._groups[title] = self.add_argument_group(title)
        return self._groups[title]

    def add_version(self) -> "Parser":
        """Add --version. Returns the parser itself."""
        self.add_argument("--version", action="version", version=f"%(prog)s {VERSION}")
        return self

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        words = sys.argv[1:] if args is None else list(args)
        empty = _empty_argument(words)
        if empty is not None:
            self.error(f"{empty} is empty: expected a value; is a variable of the shell not set?")
        unknown = self._unknown(words)
        if unknown:
            known = [option for action in self._actions for option in action.option_strings]
            near = _nearest(unknown[0].split("=")[0], known)
            hint = f": did you mean {near}?" if near else ""
            self.error(f"unknown option {' '.join(unknown)}{hint}")
        return super().parse_args(words, namespace)

    def _unknown(self, words: list[str]) -> list[str]:
        """The words that belong to no option. They are found before a required option is missed,
        because it may be one of them, misspelled."""
        required = [action for action in self._actions if action.required]
        for action in required:
            action.required = False
        try:
            return self.parse_known_args(words)[1]
        finally:
            for action in required:
                action.required = True

    def error(self, message: str) -> NoReturn:
        # Of the processes that torchrun started on this machine, the first one prints the error.
        first = os.environ.get("LOCAL_RANK", "0") == "0"
        self.exit(2, f"error: {message} (see {self.prog} --help)\n" if first else None)


def _empty_argument(words: Sequence[str]) -> str | None:
    """What the first empty argument belongs to: its option, or its place among the arguments. A
    path that is empty would mean the current folder."""
    option = None
    for number, word in enumerate(words, 1):
        name, sign, value = word.partition("=")
        if word.startswith("--"):
            option = name
            if sign and not value:
                return name
        elif not word:
            return option or f"argument {number}"
    return None


def _nearest(word: str, options: Sequence[str]) -> str | None:
    """The option that a word probably means: the only one with these initials, as --lr of
    --learning_rate, or with this beginning, else one that is written almost like it."""
    names = {option.lstrip("-"): option for option in options}
    name = word.lstrip("-").replace("-", "_")
    initials = [found for found in names if "".join(part[:1] for part in found.split("_")) == name]
    begun = [found for found in names if found.startswith(name)]
    # Without the dashes, which all options have
    alike = difflib.get_close_matches(name, names, 1)
    return next((names[near[0]] for near in (initials, begun, alike) if len(near) == 1), None)


# ------------------------------------------------------------------------ options from settings


def add_options(parser: Parser, kind: type[Settings]) -> None:
    """Add an option for each setting of a flat dataclass. `parse_request` reads them back."""
    hints = typing.get_type_hints(kind)
    defaults = {field.name: field.default for field in dataclasses.fields(typing.cast(Any, kind))}
    for name, declared in declarations(kind).items():
        _add(parser, declared.option or name, declared, hints[name], defaults[name], False)


def parse_request(
    parser: Parser, argv: Sequence[str] | None, kind: type[SettingsType]
) -> SettingsType:
    """The command line as an instance of the dataclass that `add_options` was given.

    Raises UsageError for values that are not allowed.
    """
    return request_of(parser.parse_args(argv), kind)


def request_of(options: argparse.Namespace, kind: type[SettingsType]) -> SettingsType:
    """Parsed options as an instance of their dataclass. Raises UsageError."""
    given = vars(options)
    values = {name: given[declared.option or name] for name, declared in declarations(kind).items()}
    return kind(**{key: tuple(v) if isinstance(v, list) else v for key, v in values.items()})


def add_config_options(
    parser: Parser,
    config: SettingsFile,
    only: Collection[str] | None = None,
    texts: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Add an option for each setting of a configuration that has one.

    An option that is not given stays out of the result, so that a YAML file or a checkpoint can
    decide.

    Args:
        config: has the defaults that --help shows.
        only: leave out all other options.
        texts: what a script's own help shows, {option: {field of `Declaration`: text}}.
    """
    for option, section, key, declared in options_of(type(config)):
        if only is None or option in only:
            settings = getattr(config, section)
            hint = typing.get_type_hints(sections_of(type(config))[section])[key]
            shown = dataclasses.replace(declared, **(texts or {}).get(option, {}))
            _add(parser, option, shown, hint, getattr(settings, key), True)


def parse_training_command(
    parser: Parser,
    argv: Sequence[str] | None,
    command: type[SettingsType],
    config: type[SettingsFile],
) -> tuple[SettingsType, Overrides]:
    """The command of a training script, and {section: {key: value}} of the settings given."""
    options = vars(parser.parse_args(argv))
    asked = {name: options.pop(name) for name in declarations(command)}
    return command(**asked), given_settings(options, config)


def _add(
    parser: Parser, option: str, declared: Declaration, hint: Any, default: Any, layered: bool
) -> None:
    """Add one option. layered: without the option the result has no value for it."""
    group = parser.group(declared.group) if declared.group else parser
    if isinstance(hint, types.UnionType):
        hint = typing.get_args(hint)[0]
    several = typing.get_origin(hint) is tuple
    kind = typing.get_args(hint)[0] if several else hint
    required = default is dataclasses.MISSING
    shown = declared.default_text or ("" if required else _default_text(default))
    text = f"{declared.help} (default: {shown})" if shown else declared.help
    options: dict[str, Any] = {"help": text.replace("%", "%%")}
    if layered:
        options["default"] = argparse.SUPPRESS
    elif not required:
        options["default"] = default
    if kind is bool:
        action = argparse.BooleanOptionalAction if layered else "store_true"
        group.add_argument(f"--{option}", action=action, **options)
        return
    options |= {"type": _fraction if declared.fraction else kind, "metavar": declared.metavar}
    if declared.choices:
        options["choices"] = declared.choices
    if several:
        options["nargs"] = "*" if declared.positional and not required else "+"
    if declared.positional:
        group.add_argument(option, **options)
    else:
        group.add_argument(f"--{option}", required=required and not layered, **options)


def _default_text(default: object) -> str:
    if default is None:
        return ""
    if isinstance(default, bool):
        return "on" if default else "off"
    if isinstance(default, tuple):
        return " ".join(map(str, default))
    return str(default)


def _fraction(text: str) -> float:
    """A number, also written as a fraction such as 4/3."""
    numerator, _, denominator = text.partition("/")
    try:
        return float(numerator) / float(denominator or 1)
    except (ValueError, ZeroDivisionError):
        raise argparse.ArgumentTypeError(
            f"expected a number or a fraction such as 4/3, found '{text}'"
        ) from None


# ------------------------------------------------------------------------------------------ help


class _HelpFormatter(argparse.HelpFormatter):
    """Examples folded, all other text filled, and a short usage line."""

    def __init__(self, prog: str):
        width = min(shutil.get_terminal_size().columns, _WIDEST) - 2
        super().__init__(prog, max_help_position=28, width=width)

    def _get_default_metavar_for_optional(self, action: argparse.Action) -> str:
        known = _METAVARS.get(typing.cast(Any, action.type))
        return known or action.dest.rsplit("_", 1)[-1].upper()  # --data_dir DIR

    def add_usage(self, usage: Any, actions: Any, groups: Any, prefix: str | None = None) -> None:
        """The required options, then [options]: the list below explains all of them."""
        if usage is None:
            words = [self._prog]
            for action in actions:
                if action.required or not action.option_strings:
                    metavar = self._format_args(
                        action, self._get_default_metavar_for_optional(action)
                    )
                    words += [*action.option_strings[:1], metavar]
            if prefix is None:  # with a prefix it is the beginning of the usage of a subcommand
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


def _fold_command(line: str, width: int, continued: bool) -> list[str]:
    """A command as lines that the shell joins again, cut before options where it is too long.

    continued: the line continues a command that is folded already.
    """
    lines = []
    indent = " " * (len(line) - len(line.lstrip()))
    further = indent if continued else indent + "    "
    while len(line) > width and (cut := line.rfind(" --", len(further) + 1, width - 1)) > 0:
        lines.append(f"{line[:cut]} \\")
        line = further + line[cut:].lstrip()
    return [*lines, line]
