"""The configuration of a run: dataclass defaults < YAML (--config) < command line. No torch in
here."""

import dataclasses
import difflib
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Self

import yaml

from data.augmentation_config import AugmentationConfig
from errors import UsageError
from models.config import ModelConfig

OPTIMIZERS = ("adamw", "adam")
DECODERS = ("greedy", "adaptive", "beam")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
MAX_CONFIG_BYTES, MAX_VALUE = 50_000, 1_000  # characters of one value
MAX_WHOLE = 10**15  # of a setting


@dataclass(frozen=True)
class TrainingConfig:
    """How a run trains. The defaults are those of a full training; `data_dir` None is the built-in
    simulated corpus."""

    data_dir: str | None = None
    output_dir: str = "checkpoints/teacher"
    epochs: int = 150
    batch_size: int = 8
    # In place of batch_size: as many sentences as fit, with their padding; 0: batch_size
    frames_per_batch: int = 0
    learning_rate: float = 3e-4
    min_learning_rate: float = 1e-6
    warmup_epochs: float = 5.0
    weight_decay: float = 1e-4
    optimizer: str = "adamw"
    accumulation_steps: int = 2
    max_grad_norm: float = 1.0
    patience: int = 15
    decoder: str = "adaptive"
    precision: str = "auto"
    device: str = "auto"
    compile: bool = False  # the convolutional front of the teacher, with torch.compile
    seed: int = 0
    deterministic: bool = False
    checkpoint_minutes: float = 0.0  # between saves inside an epoch; 0: none
    # Leave train sentences out that cannot be trained on, instead of refusing the corpus
    skip_bad: bool = False
    conv_loss_weight: float = 1.0  # of CTC on the convolution, beside 1 for CTC on the sequence
    distillation_weight: float = 1.0  # of what the sequence head teaches the convolution head
    distillation_temperature: float = 8.0  # both heads' logits are divided by this for it
    # Weight of the uniform distribution against both heads, so that no gloss dies out
    label_smoothing: float = 0.02
    # Probability that a part of the body is hidden from the model for a whole sentence
    part_mask: float = 0.05
    # Of the divergence between two views of a sentence, which take twice the time
    consistency_weight: float = 0.0

    def __post_init__(self):
        problems = []
        for name in ("epochs", "batch_size", "accumulation_steps", "patience"):
            if getattr(self, name) < 1:
                problems.append(f"{name} {getattr(self, name)}: expected 1 or more")
        if self.frames_per_batch < 0:
            problems.append(f"frames_per_batch {self.frames_per_batch}: expected 0 (none) or more")
        for name in ("learning_rate", "max_grad_norm", "distillation_temperature"):
            if not 0 < getattr(self, name) < float("inf"):
                problems.append(f"{name} {getattr(self, name)}: expected a number above 0")
        weights = ("conv_loss_weight", "distillation_weight", "consistency_weight")
        for name in ("min_learning_rate", "warmup_epochs", "weight_decay", *weights):
            if not 0 <= getattr(self, name) < float("inf"):
                problems.append(f"{name} {getattr(self, name)}: expected 0 or more")
        for name, below in (("label_smoothing", 1), ("part_mask", 1)):
            if not 0 <= getattr(self, name) < below:
                problems.append(
                    f"{name} {getattr(self, name)}: expected 0 or more and below {below}"
                )
        if self.consistency_weight and not self.part_mask:
            problems.append(
                "consistency_weight compares two views with different parts hidden: set part_mask, too"
            )
        if not 0 <= self.checkpoint_minutes < float("inf"):
            problems.append(
                f"checkpoint_minutes {self.checkpoint_minutes}: expected 0 (none) or more"
            )
        for name, known in (
            ("optimizer", OPTIMIZERS),
            ("decoder", DECODERS),
            ("precision", PRECISIONS),
        ):
            if getattr(self, name) not in known:
                problems.append(
                    f"{name} '{getattr(self, name)}': expected one of {', '.join(known)}"
                )
        if self.min_learning_rate > self.learning_rate:
            problems.append(
                f"min_learning_rate {self.min_learning_rate} is above learning_rate {self.learning_rate}"
            )
        if problems:
            raise UsageError("; ".join(problems))


@dataclass(frozen=True)
class Config:
    """Everything that a run is made from; sections of the YAML file carry these names."""

    kind: ClassVar[str] = "teacher"  # of model that the run trains

    training: TrainingConfig = field(default_factory=TrainingConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)

    def to_dict(self) -> dict:
        """Plain values only (lists for tuples), as YAML and checkpoints hold them."""
        values = dataclasses.asdict(self)
        return {
            section: {
                key: list(value) if isinstance(value, tuple) else value
                for key, value in keys.items()
            }
            for section, keys in values.items()
        }

    def updated(self, overrides: dict[str, dict]) -> Self:
        """A config with the given {section: {key: value}} in place. Raises UsageError on an unknown
        or ill-typed key."""
        typed = check_types(overrides, type(self))
        sections = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return type(self)(
            **{
                name: dataclasses.replace(part, **typed.get(name, {}))
                for name, part in sections.items()
            }
        )


def check_types(overrides: dict[str, dict], kind: type[Config] = Config) -> dict[str, dict]:
    """The overrides with every value as its key's type. Raises UsageError naming the nearest
    section, key or type."""
    kinds = typing.get_type_hints(kind)
    sections = {section.name: kinds[section.name] for section in dataclasses.fields(kind)}
    typed = {}
    for section, keys in overrides.items():
        if section not in sections:
            raise UsageError(f"unknown config section '{section}'{_nearest(section, sections)}")
        if not isinstance(keys, dict):
            raise UsageError(
                f"config section '{section}': expected 'key: value' lines, found {keys!r}"
            )
        hints = typing.get_type_hints(sections[section])
        for key in keys:
            if key not in hints:
                raise UsageError(f"unknown config key '{section}.{key}'{_nearest(key, hints)}")
        typed[section] = {
            key: _typed(f"{section}.{key}", value, hints[key]) for key, value in keys.items()
        }
    return typed


def _nearest(name: object, known: typing.Iterable[str]) -> str:
    known = list(known)
    near = difflib.get_close_matches(str(name)[:100], known, n=1, cutoff=0)
    return f": did you mean '{near[0]}'?" if near else f" (known: {', '.join(known)})"


def _typed(where: str, value: object, kind: object) -> object:
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
            return float(value)  # YAML reads 3e-4 as text
        except (ValueError, OverflowError):
            pass
    if kind is float and isinstance(value, float):
        return value
    if kind is int and type(value) is int and abs(value) > MAX_WHOLE:
        raise UsageError(
            f"config key '{where}': expected a number of at most {MAX_WHOLE:.0e}, found a larger one"
        )
    if kind in (bool, int, str) and type(value) is kind:
        return value
    found = (
        repr(value)
        if not isinstance(value, int) or abs(value) <= MAX_WHOLE
        else "a very large number"
    )
    raise UsageError(f"config key '{where}': expected {kind.__name__}, found {found:.300}")


class _Loader(yaml.SafeLoader):
    """yaml.safe_load without what no settings have: values of thousands of characters (Python
    refuses to print such numbers), and anchors, with which a short file of lists that repeat each
    other stands for endless ones."""

    def compose_node(self, parent, index):
        event = self.peek_event()
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError(f"line {line} refers to another place, *name is not read")
        if isinstance(event, yaml.ScalarEvent) and len(event.value) > MAX_VALUE:
            raise yaml.YAMLError(f"line {line} has a value of {len(event.value)} characters")
        return super().compose_node(parent, index)


def read_overrides(path: Path, kind: type[Config] = Config) -> dict[str, dict]:
    """{section: {key: value}} of a YAML file for a run of this kind. Raises UsageError naming the
    file."""
    try:
        if (size := path.stat().st_size) > MAX_CONFIG_BYTES:
            raise UsageError(f"--config {path} has {size} bytes: expected some lines of settings")
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise UsageError(f"--config {path}: {error.strerror}") from None
    # A date of 99 months, 5,000 digits
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        raise UsageError(
            f"--config {path} is not readable YAML: {' '.join(str(error).split())[:300]}"
        ) from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        known = ", ".join(section.name for section in dataclasses.fields(kind))
        raise UsageError(f"--config {path}: expected sections {known}; found {content!r:.80}")
    try:
        return check_types(content, kind)
    except UsageError as error:
        raise UsageError(f"--config {path}: {error}") from None


def given_settings(options: dict, homes: dict[str, tuple[str, str]]) -> dict[str, dict]:
    """{section: {key: value}} of options given on a command line; those without a (section, key) in
    `homes` are training's."""
    overrides: dict[str, dict] = {}
    for name, value in options.items():
        section, key = homes.get(name, ("training", name))
        overrides.setdefault(section, {})[key] = value
    return overrides


def merge_overrides(*layers: dict[str, dict]) -> dict[str, dict]:
    """Later layers win, key by key."""
    merged: dict[str, dict] = {}
    for layer in layers:
        for section, keys in layer.items():
            merged[section] = {**merged.get(section, {}), **keys}
    return merged
