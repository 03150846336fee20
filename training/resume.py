"""How a run starts: fresh, exact continuation of a checkpoint, or fine-tune from it.

`plan_start` collects the settings and loads the checkpoint. `StartPlan.decide` chooses how to start
when the corpus is known. No other code makes this choice.
"""

import dataclasses
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from errors import DataError, UsageError, shown_names
from models.build import model_kind
from models.checkpoint import BEST, LAST, PREVIOUS, checkpoint_in, load_checkpoint
from models.retired_keys import without_retired_keys
from settings import Overrides, declarations, sections_of
from training.config import Config
from training.corpus_checks import CorpusContent

FRESH, CONTINUE, FINE_TUNE = "fresh", "continue", "fine-tune"
NAMES = ("last", "best", "auto")  # of checkpoints in the output folder, for `--resume`
SCRIPTS = {"teacher": "train_teacher.py", "student": "distill_student.py"}
# The settings of the model that may differ from the checkpoint's: the weights fit all the same.
CHANGEABLE_MODEL_KEYS = {"dropout"}


@dataclass(frozen=True)
class Start:
    """How a run starts.

    Attributes:
        kind: 'fresh', 'continue' or 'fine-tune'.
        reason: why, in words, for the user.
        config: the configuration of the run.
        checkpoint: the content of the checkpoint, and `path` its file; None for a fresh run.
    """

    kind: str
    reason: str
    config: Config
    checkpoint: dict | None = None
    path: Path | None = None

    def __str__(self) -> str:
        """One line, such as 'continue from checkpoints/mine/last.pth: no setting ...'."""
        if self.kind == FINE_TUNE:
            folder = self.config.training.output_dir
            return (
                f"new run: a fine-tune in {folder}, not a continuation: {self.reason}; it starts "
                f"with the weights of {self.path}"
            )
        return f"{self.kind}{f' from {self.path}' if self.path else ''}: {self.reason}"

    def without_checkpoint(self) -> "Start":
        """The same without the checkpoint's tensors, once model and optimiser have them."""
        return dataclasses.replace(self, checkpoint=None)


@dataclass(frozen=True)
class Change:
    """A setting that differs from the checkpoint's. name: as the user gives it, such as --epochs
    or augmentation.mix. key: of its section."""

    name: str
    key: str
    old: object
    new: object

    def __str__(self) -> str:
        return f"{self.name} differs from the checkpoint's ({self.old}, now {self.new})"


@dataclass(frozen=True)
class StartPlan:
    """What was asked for, and the checkpoint to start from.

    Attributes:
        config: the settings of the run, by the precedence of training/config.py.
        checkpoint, path: the checkpoint and its file; None for a fresh run.
        changed: settings that shape training and differ from the checkpoint's.
        reason: why there is no checkpoint.
        named: 'last', 'best' or 'auto', where `--resume` has that word instead of a path.
        overrides: the settings given in the YAML file and on the command line.
        content: what reading the corpus's files showed, where that is known already.
    """

    config: Config
    checkpoint: dict | None = None
    path: Path | None = None
    changed: tuple[Change, ...] = ()
    reason: str = "no --resume"
    named: str | None = None
    overrides: Overrides = field(default_factory=dict)
    content: CorpusContent | None = None

    def without_changes_of(self, *names: str) -> "StartPlan":
        """The same plan, where these settings count as unchanged."""
        kept = tuple(change for change in self.changed if change.key not in names)
        return dataclasses.replace(self, changed=kept)

    def decide(
        self, fingerprint: str, corpus: Path = Path(), changed_files: Sequence[str] = ()
    ) -> Start:
        """Fresh, continue or fine-tune, on the corpus with this fingerprint.

        Args:
            corpus: its folder.
            changed_files: of train and dev, those that differ from their hashes in corpus.json.

        Raises DataError if a run is to be continued, and the corpus has changed meanwhile.
        """
        if self.checkpoint is None:
            return Start(FRESH, self.reason, self.config)
        known = self.checkpoint["corpus"]
        is_same_folder = corpus.resolve() == Path(known["path"]).resolve()
        if self.changed:
            reason = "; ".join(map(str, self.changed))
        elif known["fingerprint"] == fingerprint:
            reason = "no setting that shapes training was changed"
            return Start(CONTINUE, reason, self.config, self.checkpoint, self.path)
        elif not is_same_folder and self._data_dir_is_given:
            reason = (
                "the corpus is not the one that the checkpoint was trained on "
                f"({known['name']}, {known['path']})"
            )
        elif self.named is not None:
            # A job that is started again must not begin a new run each time.
            raise DataError(self._corpus_has_changed(corpus, changed_files))
        else:
            reason = (
                f"the corpus {known['name']} ({known['path']}) has changed since the checkpoint "
                f"was written{_in_words(changed_files)}"
            )
        return Start(FINE_TUNE, reason, self._fine_tune(), self.checkpoint, self.path)

    @property
    def _data_dir_is_given(self) -> bool:
        return self.overrides.get("training", {}).get("data_dir") is not None

    def _corpus_has_changed(self, corpus: Path, changed_files: Sequence[str]) -> str:
        assert self.path is not None and self.checkpoint is not None
        best = self.path.with_name(BEST)
        source = best if best.exists() else self.path
        has_folder = self.config.training.data_dir is not None
        folder = f" --data_dir {shlex.quote(str(corpus))}" if has_folder else ""
        return (
            f"--resume {self.named}: the corpus {self.checkpoint['corpus']['name']} ({corpus}) has "
            f"changed since {self.path} was written{_in_words(changed_files)}: restore it, or "
            f"start a fine-tune with --resume {shlex.quote(str(source))}{folder}"
        )

    def _fine_tune(self) -> Config:
        """The configuration of a fine-tune.

        It never writes into the folder of its checkpoint, but into one beside it, with _finetune
        behind the name. It has no flat start unless one is given: weights that were trained for an
        epoch know already where the glosses are.
        """
        assert self.path is not None and self.checkpoint is not None
        changes: dict[str, object] = {}
        folder = self.path.parent.resolve()
        if Path(self.config.training.output_dir).resolve() == folder:
            parent = self.path.parent
            shown = folder if not parent.name or ".." in parent.parts else parent
            changes["output_dir"] = str(shown.with_name(folder.name + "_finetune"))
        is_trained = self.checkpoint["training"]["progress"].get("history") != []
        if is_trained and "flat_start_epochs" not in self.overrides.get("training", {}):
            changes["flat_start_epochs"] = 0.0
        return self.config.updated({"training": changes})


def _in_words(changed_files: Sequence[str]) -> str:
    """How a corpus has changed: which files differ, or else its description."""
    files = shown_names(changed_files, 5)
    return f" (not as in corpus.json: {files})" if files else " (its corpus.json is another one)"


def plan_start(
    resume: str | None, overrides: Overrides, default: Config | None = None
) -> StartPlan:
    """Find the checkpoint of `--resume` and merge the settings.

    Args:
        resume: a path, or 'last', 'best' or 'auto' in the output folder; None for a fresh run.
        overrides: the settings given in the YAML file and on the command line. All others come
            from the checkpoint, or are the defaults.
        default: the default settings of this kind of run; None: those of a teacher.

    Raises UsageError for unknown or impossible settings, DataError for an unusable checkpoint.
    """
    default = default or Config()
    if resume is None:
        return StartPlan(default.updated(overrides), overrides=overrides)
    given = overrides.get("training")
    output_dir = given.get("output_dir") if isinstance(given, dict) else None
    folder = Path(str(output_dir or default.training.output_dir))
    found = find_checkpoint(resume, folder)
    if found is None and checkpoint_in(folder) is None and not _names_a_run(overrides):
        raise UsageError(
            f"--resume auto: {folder} has no usable checkpoint; check --output_dir, or leave out "
            "--resume for a new run"
        )
    has_run = (folder / "config.yaml").exists()
    if found is None and has_run and not _names_a_corpus(overrides):
        raise UsageError(
            f"--resume auto: {folder} has a run, but no usable checkpoint; --config "
            f"{folder / 'config.yaml'} without --resume starts it again"
        )
    if found is None:
        reason = f"--resume auto found no usable checkpoint in {folder}"
        return StartPlan(default.updated(overrides), reason=reason, overrides=overrides)
    plan = plan_from_checkpoint(*found, overrides, default)
    return dataclasses.replace(plan, named=resume if resume in NAMES else None)


def _names_a_run(overrides: Overrides) -> bool:
    """Whether settings beside the output folder are given, so that a new run can be meant."""
    training = overrides.get("training")
    others = set(training) - {"output_dir"} if isinstance(training, dict) else set()
    return bool(others or set(overrides) - {"training"})


def _names_a_corpus(overrides: Overrides) -> bool:
    """Whether the settings name a corpus, or change a section other than `training`."""
    training = overrides.get("training")
    has_corpus = isinstance(training, dict) and training.get("data_dir") is not None
    return has_corpus or bool(set(overrides) - {"training"})


def find_checkpoint(resume: str, output_dir: Path) -> tuple[dict, Path] | None:
    """The checkpoint that `--resume` names: a path, or 'last', 'best' or 'auto' in the output
    folder.

    'auto' is the newest undamaged checkpoint, or None when the folder has none; damaged ones are
    named. Raises DataError when the named checkpoint is missing or damaged.
    """
    if resume != "auto":
        path = {"last": output_dir / LAST, "best": output_dir / BEST}.get(resume, Path(resume))
        if path.is_dir() and (found := checkpoint_in(path)) is not None:
            folder = shlex.quote(str(path))
            raise UsageError(
                f"--resume {path} is a folder: to continue its run: --resume auto --output_dir "
                f"{folder}; to fine-tune from it: --resume {shlex.quote(str(found))}"
            )
        return load_checkpoint(path), path
    usable = []
    for path in (output_dir / LAST, output_dir / PREVIOUS, output_dir / BEST):
        if path.exists():
            try:
                usable.append((load_checkpoint(path), path))
            except DataError as error:
                print(f"--resume auto: {error}")
            else:
                if path.name == LAST:  # no other checkpoint is newer
                    break
    return max(usable, key=lambda one: _position(one[0]), default=None)


def _position(checkpoint: dict) -> tuple[int, ...]:
    """How far the run had come: epoch and update."""
    progress = checkpoint["training"]["progress"]
    place = [
        progress.get(name) if isinstance(progress, dict) else None for name in ("epoch", "group")
    ]
    return tuple(one if isinstance(one, int) else 0 for one in place)


def plan_from_checkpoint(
    checkpoint: dict, path: Path, overrides: Overrides, default: Config
) -> StartPlan:
    """Plan a start from a loaded checkpoint. Raises as `plan_start`."""
    if (kind := model_kind(checkpoint)) != default.kind:
        script = SCRIPTS.get(kind, "the script that trained it")
        raise UsageError(
            f"--resume {path}: a checkpoint of a {kind}, not of a {default.kind}; use {script}"
        )
    trained = read_config(checkpoint, path, default)
    config = trained.updated(_with_fitting_minimum(overrides, trained))
    before, after = trained.to_dict(), config.to_dict()
    changed = []
    for section, kind_of_section in sections_of(type(config)).items():
        for key, declared in declarations(kind_of_section).items():
            old, new = before[section][key], after[section][key]
            if old == new or not declared.shapes_training:
                continue
            if section == "model" and key not in CHANGEABLE_MODEL_KEYS:
                raise UsageError(
                    f"--resume {path}: model.{key} is {old} in the checkpoint and cannot become "
                    f"{new}; leave it out, or start a new training without --resume"
                )
            name = f"--{declared.option or key}" if declared.group else f"{section}.{key}"
            changed.append(Change(name, key, old, new))
    if "output_dir" not in overrides.get("training", {}):
        config = config.updated({"training": {"output_dir": str(path.parent)}})
    return StartPlan(config, checkpoint, path, tuple(changed), overrides=overrides)


def read_config(checkpoint: dict, path: Path | str, default: Config) -> Config:
    """The configuration that a checkpoint was trained with. Raises DataError."""
    try:
        return default.updated(without_retired_keys(checkpoint["config"], path))
    except UsageError as error:
        raise DataError(
            f"checkpoint {path} has a configuration that this version does not know: {error}"
        ) from None


def _with_fitting_minimum(overrides: Overrides, trained: Config) -> Overrides:
    """If the given learning rate is below the checkpoint's minimum, lower the minimum, too. The
    ratio of learning rate and minimum stays that of the checkpoint."""
    given, known = overrides.get("training", {}), trained.training
    rate = given.get("learning_rate")
    if rate is None or "min_learning_rate" in given:
        return overrides
    if not 0 < float(rate) < known.min_learning_rate:
        return overrides
    minimum = float(rate) * known.min_learning_rate / known.learning_rate
    return {**overrides, "training": {**given, "min_learning_rate": minimum}}
