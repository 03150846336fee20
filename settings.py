"""Settings are declared once: a dataclass field has the type, default, range and help of a setting.

The options of the scripts (command_line.py), the keys of YAML files, the checks of values and
docs/settings.md all follow from that field. No torch in here, so that command lines parse fast.

    @dataclass(frozen=True)
    class TrainingConfig(Settings):
        epochs: int = setting(150, "passes over the train split", low=1, group="optimisation")
"""

import dataclasses
import difflib
import math
import os
import re
import types
import typing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import yaml

from errors import UsageError

MAX_CONFIG_BYTES, MAX_VALUE = 50_000, 1_000  # of a YAML file; characters of one value
MAX_WHOLE = 10**15  # the largest whole number of a setting

Overrides = dict[str, dict[str, Any]]  # {section: {key: value}}


@dataclass(frozen=True)
class Declaration:
    """What a field declares beside its type and default.

    Args:
        help: one line for --help and the documentation.
        low, high: the smallest and largest allowed value.
        above, below: the same, but the limit itself is not allowed.
        choices: the allowed words.
        group: heading of the option in --help. A setting without a group has no option; it is set
            in a YAML file.
        option: name of the option, where it is not the name of the field.
        metavar: placeholder of the value in --help.
        default_text: what --help shows as the default, where the value itself would not help.
        shapes_training: False for a setting that changes nothing about what is learned.
        fraction: a number may be given as a fraction such as 4/3.
        positional: a positional argument; all that are given, for a tuple.
    """

    help: str
    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()
    group: str = ""
    option: str = ""
    metavar: str | None = None
    default_text: str | None = None
    shapes_training: bool = True
    fraction: bool = False
    positional: bool = False

    def allows(self, value: object) -> bool:
        """Whether a value of the right type is one of the choices and inside the range."""
        if self.choices:
            values = value if isinstance(value, tuple) else (value,)
            return all(one in self.choices for one in values)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return True
        return (
            math.isfinite(value)
            and (self.low is None or value >= self.low)
            and (self.high is None or value <= self.high)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    @property
    def expected(self) -> str:
        """The allowed values in words, such as '1 or more'."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.low is not None and self.high is not None:
            return f"{self.low:g} to {self.high:g}"
        words = []
        if self.low is not None:
            words.append(f"{self.low:g} or more")
        if self.above is not None:
            words.append(f"a number above {self.above:g}")
        if self.high is not None:
            words.append(f"at most {self.high:g}")
        if self.below is not None:
            words.append(f"below {self.below:g}")
        return " and ".join(words) or "a finite number"


def setting(default: Any = dataclasses.MISSING, help: str = "", **declaration: Any) -> Any:
    """A dataclass field that is a setting; the other arguments are those of `Declaration`."""
    return dataclasses.field(
        default=default, metadata={"setting": Declaration(help, **declaration)}
    )


class Settings:
    """Base of a dataclass of settings. Every value is checked against its declaration.

    `prefix` stands before a name in messages, such as 'model.'.
    """

    prefix: ClassVar[str] = ""

    def __post_init__(self) -> None:
        """Raises UsageError that names all values that are not allowed."""
        wrong = []
        for name, declared in declarations(type(self)).items():
            value = getattr(self, name)
            if value is not None and not declared.allows(value):
                shown = f"'{value}'" if isinstance(value, str) else value
                wrong.append(f"{self.prefix}{name} {shown}: expected {declared.expected}")
        if wrong or (wrong := self.conflicts()):
            raise UsageError("; ".join(wrong))

    def conflicts(self) -> list[str]:
        """What is wrong with values that are allowed one by one, in words. For subclasses."""
        return []

    def impossible_paths(self, **expected: str) -> list[str]:
        """What is wrong with settings that are paths: {setting: what is expected}. A YAML file can
        leave one empty, and has no shell that knows what ~ is. Checkpoints store paths in UTF-8."""
        wrong = []
        for name, what in expected.items():
            path = getattr(self, name)
            if path is not None and not path.strip():
                wrong.append(f"{self.prefix}{name} is empty: expected the path of {what}")
            elif path is not None and path.startswith("~"):
                shown = f"{self.prefix}{name} {path}"
                wrong.append(f"{shown}: only a shell knows what ~ is; write the whole path")
            elif path is not None and not _can_be_stored(path):
                shown = f"{self.prefix}{name} {path!a}"
                wrong.append(f"{shown}: not the path of {what} in UTF-8; choose another name")
        return wrong


def _can_be_stored(path: str) -> bool:
    """Whether a path, from the root on, has neither a zero byte nor bytes that are not UTF-8."""
    if "\0" in path:
        return False
    whole = os.path.realpath(path)
    return whole == whole.encode(errors="ignore").decode()


def declarations(kind: type) -> dict[str, Declaration]:
    """The declaration of each setting of a dataclass, by the name of its field."""
    return {
        field.name: field.metadata["setting"]
        for field in dataclasses.fields(kind)
        if "setting" in field.metadata
    }


@dataclass(frozen=True)
class SettingsFile:
    """Base of a configuration: sections, each a dataclass of settings, as in a YAML file."""

    def to_dict(self) -> Overrides:
        """Plain values only (lists for tuples), as YAML files and checkpoints have them."""
        return {
            section: {
                key: list(value) if isinstance(value, tuple) else value
                for key, value in keys.items()
            }
            for section, keys in dataclasses.asdict(self).items()
        }

    def updated(self, overrides: Overrides) -> Self:
        """A configuration with the given values in place. Raises UsageError for an unknown key, a
        value of the wrong type, or one that is not allowed."""
        typed = check_types(overrides, type(self))
        sections = {
            field.name: dataclasses.replace(getattr(self, field.name), **typed.get(field.name, {}))
            for field in dataclasses.fields(self)
        }
        return type(self)(**sections)


def sections_of(kind: type[SettingsFile]) -> dict[str, type[Settings]]:
    """The dataclass of each section of a configuration."""
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def options_of(kind: type[SettingsFile]) -> Iterator[tuple[str, str, str, Declaration]]:
    """Option, section, key and declaration of each setting that has an option."""
    for section, settings in sections_of(kind).items():
        for key, declared in declarations(settings).items():
            if declared.group:
                yield declared.option or key, section, key, declared


def given_settings(options: dict[str, Any], kind: type[SettingsFile]) -> Overrides:
    """{section: {key: value}} of the options that were given on a command line."""
    homes = {option: (section, key) for option, section, key, _ in options_of(kind)}
    overrides: Overrides = {}
    for option, value in options.items():
        section, key = homes[option]
        overrides.setdefault(section, {})[key] = value
    return overrides


def merge_overrides(*layers: Overrides) -> Overrides:
    """Later layers win, key by key."""
    merged: Overrides = {}
    for layer in layers:
        for section, keys in layer.items():
            merged[section] = {**merged.get(section, {}), **keys}
    return merged


# ------------------------------------------------------------------------------ keys and types


def check_types(overrides: Overrides, kind: type[SettingsFile]) -> Overrides:
    """The overrides with every value in its key's type.

    Raises UsageError that names the section that has the key, the nearest section or key, or the
    expected type.
    """
    sections = sections_of(kind)
    typed = {}
    for section, keys in overrides.items():
        if section not in sections:
            hint = _section_that_has(section, sections) or _nearest(section, sections)
            raise UsageError(f"unknown config section '{section}'{hint}")
        typed[section] = check_section(section, keys, sections[section], sections)
    return typed


def check_section(
    section: str, keys: object, kind: type[Settings], sections: dict[str, type[Settings]]
) -> dict[str, Any]:
    """The keys of one section with every value in its key's type; `sections` are all that there
    are. Raises as `check_types`."""
    if not isinstance(keys, dict):
        raise UsageError(f"config section '{section}': expected 'key: value' lines, found {keys!r}")
    hints = typing.get_type_hints(kind)
    known = {field.name: hints[field.name] for field in dataclasses.fields(typing.cast(Any, kind))}
    for key in keys:
        if key not in known:
            hint = _section_that_has(key, sections) or _nearest(key, known)
            raise UsageError(f"unknown config key '{section}.{key}'{hint}")
    return {key: _typed(f"{section}.{key}", value, known[key]) for key, value in keys.items()}


def _section_that_has(key: object, sections: dict[str, type[Settings]]) -> str:
    """A hint at the sections that have a key; empty if none has."""
    names = [f"'{name}'" for name, kind in sections.items() if key in declarations(kind)]
    return f": it is a key of the section {' and of '.join(names)}" if names else ""


def _nearest(name: object, known: Iterable[str]) -> str:
    known = list(known)
    near = difflib.get_close_matches(str(name)[:100], known, n=1, cutoff=0)
    return f": did you mean '{near[0]}'?" if near else f" (known: {', '.join(known)})"


def _typed(where: str, value: object, kind: Any) -> object:
    """The value as `kind` (bool, int, float, str, X | None, tuple of floats or ints); UsageError
    when it is not one."""
    if isinstance(kind, types.UnionType):
        if value is None:
            return None
        kind = typing.get_args(kind)[0]
    if typing.get_origin(kind) is tuple:
        kinds = typing.get_args(kind)
        if not isinstance(value, (list, tuple)) or len(value) != len(kinds):
            raise UsageError(
                f"config key '{where}': expected a list of {len(kinds)} numbers, found {value!r}"
            )
        return tuple(_typed(where, one, part) for one, part in zip(value, kinds, strict=True))
    if kind is float and isinstance(value, (int, str)) and not isinstance(value, bool):
        try:
            return float(value)  # YAML parses 3e-4 as text
        except (ValueError, OverflowError):
            pass
    if kind is float and isinstance(value, float):
        return value
    if kind is int and type(value) is int and abs(value) > MAX_WHOLE:
        raise UsageError(
            f"config key '{where}': expected a number of at most {MAX_WHOLE:.0e}, found a larger "
            "one"
        )
    if kind in (bool, int, str) and type(value) is kind:
        return value
    small = not isinstance(value, int) or abs(value) <= MAX_WHOLE
    found = repr(value) if small else "a very large number"
    raise UsageError(f"config key '{where}': expected {kind.__name__}, found {found:.300}")


# ------------------------------------------------------------------------------------ YAML files


_OTHER_BASE = re.compile(r"[-+]?(0[0-7_]+|[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?)")


class _Loader(yaml.SafeLoader):
    """yaml.safe_load that refuses four things, because no settings file needs them.

    It refuses values of thousands of characters: Python refuses to print such numbers. It refuses
    references to anchors (*name): with them a short file can describe endless lists. It refuses a
    section or key that is there twice: the first one would be lost. It refuses numbers of another
    base that do not look so: for YAML 1.1, 1:30 is 90 (base 60), and 010 is 8 (base 8).
    """

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        known = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in known:
                    line = key.start_mark.line + 1
                    raise yaml.YAMLError(
                        f"line {line} has '{key.value}' for the second time: leave one"
                    )
                known.add(key.value)
        return super().construct_mapping(node, deep)

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError(f"line {line} refers to another place, *name is not read")
        if isinstance(event, yaml.ScalarEvent) and len(event.value) > MAX_VALUE:
            raise yaml.YAMLError(f"line {line} has a value of {len(event.value)} characters")
        plain = isinstance(event, yaml.ScalarEvent) and event.implicit[0]
        taken = yaml.safe_load(event.value) if plain and _OTHER_BASE.fullmatch(event.value) else ""
        if not isinstance(taken, str):
            raise yaml.YAMLError(
                f"line {line} has {event.value}, which YAML takes for {taken}: write a decimal "
                "number, or a text in quotes"
            )
        return super().compose_node(parent, index)


def read_overrides(path: Path, kind: type[SettingsFile]) -> Overrides:
    """{section: {key: value}} of a YAML file for a configuration of this kind.

    Raises UsageError that names the file.
    """
    try:
        if (size := path.stat().st_size) > MAX_CONFIG_BYTES:
            raise UsageError(f"--config {path} has {size} bytes: expected some lines of settings")
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise UsageError(
            f"--config {path}: {error.strerror}: expected a YAML file of settings, such as "
            "configs/teacher.yaml"
        ) from None
    # ValueError: a date of 99 months, or a number of 5,000 digits.
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UsageError(f"--config {path} is not readable YAML: {reason}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        known = ", ".join(sections_of(kind))
        raise UsageError(f"--config {path}: expected sections {known}; found {content!r:.80}")
    try:
        return check_types(content, kind)
    except UsageError as error:
        raise UsageError(f"--config {path}: {error}") from None
