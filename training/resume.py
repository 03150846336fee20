"""How a run starts: fresh, continuing a checkpoint exactly, or fine-tuning from it; and why."""

from dataclasses import dataclass
from pathlib import Path

from errors import DataError, UsageError
from models.build import model_kind
from models.checkpoint import BEST, LAST, PREVIOUS, load_checkpoint
from training.config import Config
from training.saved_config import read_config

FRESH, CONTINUE, FINE_TUNE = "fresh", "continue", "fine-tune"
# Settings that do not shape what is learned: giving them never turns a continued run into a
# fine-tune. skip_bad is one of them: it only says whether a corpus is refused.
NEUTRAL_KEYS = (
    "data_dir",
    "output_dir",
    "device",
    "decoder",
    "deterministic",
    "compile",
    "checkpoint_minutes",
    "skip_bad",
)
NEUTRAL = {("training", key) for key in NEUTRAL_KEYS}
# What of the model may differ from the checkpoint's: the weights fit all the same.
CHANGEABLE_MODEL_KEYS = {"dropout"}
_TEACHER = Config()


@dataclass(frozen=True)
class Start:
    """kind: 'fresh', 'continue' or 'fine-tune'; reason: in words, for the user; checkpoint and its
    path unless fresh."""

    kind: str
    reason: str
    config: Config
    checkpoint: dict | None = None
    path: Path | None = None

    def for_corpus(self, fingerprint: str) -> "Start":
        """The start once the corpus is known: another corpus than the checkpoint's makes it a
        fine-tune."""
        if self.kind != CONTINUE or self.checkpoint["corpus"]["fingerprint"] == fingerprint:
            return self
        known = self.checkpoint["corpus"]
        reason = f"the corpus is not the one that the checkpoint was trained on ({known['name']}, {known['path']})"
        return Start(FINE_TUNE, reason, _beside(self.config, self.path), self.checkpoint, self.path)


def find_checkpoint(resume: str, output_dir: Path) -> tuple[dict, Path] | None:
    """The checkpoint that `--resume` names: a path, or 'last', 'best' or 'auto' in the output
    folder.

    'auto' is the newest that is whole, or None when the folder has none; what is passed over is
    said. Raises DataError when what is named is missing or damaged.
    """
    if resume != "auto":
        path = {"last": output_dir / LAST, "best": output_dir / BEST}.get(resume, Path(resume))
        return load_checkpoint(path), path
    whole = []
    for path in (output_dir / LAST, output_dir / PREVIOUS, output_dir / BEST):
        if path.exists():
            try:
                whole.append((load_checkpoint(path), path))
            except DataError as error:
                print(f"--resume auto: {error}")
            else:
                if path.name == LAST:  # nothing is newer
                    break
    return max(whole, key=lambda one: _position(one[0]), default=None)


def _position(checkpoint: dict) -> tuple[int, int]:
    """How far a run had come: epoch and update of it."""
    progress = checkpoint["training"]["progress"]
    place = [
        progress.get(name) if isinstance(progress, dict) else None for name in ("epoch", "group")
    ]
    return tuple(one if isinstance(one, int) else 0 for one in place)


def plan_start(resume: str | None, overrides: dict[str, dict], default: Config = _TEACHER) -> Start:
    """Decide from `--resume` and the settings given in the YAML file and on the command line.

    overrides: {section: {key: value}} of what was given; what was not comes from the checkpoint, or
    is the default, which is of the kind of run that is asked for. Raises UsageError for unknown or
    impossible settings, DataError for an unusable checkpoint.
    """
    if resume is None:
        return Start(FRESH, "no --resume", default.updated(overrides))
    given = overrides.get("training")
    output_dir = str(
        (given.get("output_dir") if isinstance(given, dict) else None)
        or default.training.output_dir
    )
    found = find_checkpoint(resume, Path(output_dir))
    if found is None:
        reason = f"--resume auto found no usable checkpoint in {output_dir}"
        return Start(FRESH, reason, default.updated(overrides))
    return start_from(*found, overrides, default)


def start_from(
    checkpoint: dict, path: Path, overrides: dict[str, dict], default: Config = _TEACHER
) -> Start:
    """Continue a loaded checkpoint, or fine-tune from it where settings that shape training were
    given. Raises as above."""
    if (kind := model_kind(checkpoint)) != default.kind:
        script = {"teacher": "train_teacher.py", "student": "distill_student.py"}.get(
            kind, "the script that trained it"
        )
        raise UsageError(
            f"--resume {path}: a checkpoint of a {kind}, not of a {default.kind}; go on with {script}"
        )
    trained = read_config(checkpoint, path)
    config = trained.updated(_with_fitting_minimum(overrides, trained))
    before, after = trained.to_dict(), config.to_dict()
    changed = [
        (section, key)
        for section, keys in after.items()
        for key in keys
        if after[section][key] != before[section][key] and (section, key) not in NEUTRAL
    ]
    fixed = [
        key for section, key in changed if section == "model" and key not in CHANGEABLE_MODEL_KEYS
    ]
    if fixed:
        raise UsageError(
            f"--resume {path}: model.{fixed[0]} is {before['model'][fixed[0]]} in the checkpoint and cannot become "
            f"{after['model'][fixed[0]]}; leave it out, or train anew without --resume"
        )
    kind = FINE_TUNE if changed else CONTINUE
    if changed:
        values = (
            f"{key} {before[section][key]} -> {after[section][key]}" for section, key in changed
        )
        reason = f"given and different from the checkpoint: {', '.join(values)}"
    else:
        reason = "nothing that shapes training was changed"
    if "output_dir" not in overrides.get("training", {}):
        config = config.updated({"training": {"output_dir": str(path.parent)}})
    return Start(
        kind, reason, config if kind == CONTINUE else _beside(config, path), checkpoint, path
    )


def _beside(config: Config, checkpoint: Path) -> Config:
    """A fine-tune never takes its checkpoint's folder: it goes beside it, with _finetune behind the
    name."""
    folder = checkpoint.parent.resolve()
    if Path(config.training.output_dir).resolve() != folder:
        return config
    shown = checkpoint.parent if checkpoint.parent.name else folder
    return config.updated(
        {"training": {"output_dir": str(shown.with_name(folder.name + "_finetune"))}}
    )


def _with_fitting_minimum(overrides: dict[str, dict], trained: Config) -> dict[str, dict]:
    """A learning rate given below the checkpoint's minimum brings the minimum down with it, at the
    checkpoint's ratio."""
    given, known = overrides.get("training", {}), trained.training
    rate = given.get("learning_rate")
    if (
        rate is None
        or "min_learning_rate" in given
        or not 0 < float(rate) < known.min_learning_rate
    ):
        return overrides
    minimum = float(rate) * known.min_learning_rate / known.learning_rate
    return {**overrides, "training": {**given, "min_learning_rate": minimum}}
