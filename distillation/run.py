"""A student's run: open the teacher, check that it fits the settings, and train."""

import dataclasses
from functools import partial
from pathlib import Path

from data.corpus import Corpus
from data.ctc_targets import PreparedSplit
from data.vocabulary import Vocabulary
from distillation.config import DistillationConfig, StudentConfig
from distillation.known_glosses import refuse_unknown_glosses
from distillation.student_trainer import StudentTrainer
from distillation.teachers import OnlineTeacher, StoredTeacher, same_teacher
from errors import DataError, UsageError
from models.i3d_teacher import count_parameters
from settings import Overrides
from training.config import TrainingCommand
from training.distributed import Ranks
from training.resume import StartPlan
from training.run import train
from training.setup import Run, folder_of_corpus, prepare_run

LARGEST_SHARE = 0.1  # of the teacher's parameters; above it, a warning
_DEMO_CONFIG, _DEMO_STUDENT = "configs/student_demo.yaml", 300_000  # its parameters, about


def train_student(command: TrainingCommand, given: Overrides) -> int:
    """Train a student. `given` are the settings of the command line. Returns the exit code."""

    def prepare(plan: StartPlan, ranks: Ranks) -> Run:
        return prepare_student(plan, command.extend_vocabulary, ranks)

    return train("distill_student.py", command, given, StudentConfig(), prepare, _find_corpus)


def prepare_student(
    plan: StartPlan,
    extend_vocabulary: bool = False,
    ranks: Ranks | None = None,
) -> Run:
    """Open and check the teacher or the soft targets, and prepare the student's run.

    Args:
        plan: what was asked for, with a `StudentConfig`.
        extend_vocabulary, ranks: as in `prepare_run`.

    Writes nothing. Raises UsageError and DataError.
    """
    config = plan.config
    assert isinstance(config, StudentConfig)
    options, overrides = config.distillation, plan.overrides
    _check_one_teacher(options, overrides)
    source: OnlineTeacher | StoredTeacher | None = None
    if options.soft_weight:
        source = _open_source(options, plan)
        if isinstance(source, StoredTeacher):
            config = _with_stored_settings(config, source, overrides)
        if config.training.data_dir is None:
            config = config.updated({"training": {"data_dir": _corpus_of(source)}})
    plan = dataclasses.replace(plan, config=config)
    if plan.checkpoint is not None and source is not None and _same_source(plan, source):
        plan = plan.without_changes_of("teacher", "soft_targets")  # it was only moved
    if plan.checkpoint is not None and not plan.changed:
        _check_same_teacher(plan, source)
    run = prepare_run(
        plan,
        extend_vocabulary,
        make_trainer=partial(StudentTrainer, source=source),
        vocabulary=source.vocabulary if source is not None else None,
        ranks=ranks,
        beside=source.model if isinstance(source, OnlineTeacher) else None,
        check=partial(_check_source, source) if source is not None else None,
    )
    if source is not None:
        parameters = count_parameters(run.trainer.model)
        print(_describe_teacher(source, parameters))
        if source.parameters is not None and parameters > LARGEST_SHARE * source.parameters:
            print(_large_student_warning(source.parameters, parameters))
    return run


def _find_corpus(plan: StartPlan) -> str | None:
    """The folder of the corpus that `prepare_student` opens."""
    config = plan.config
    assert isinstance(config, StudentConfig)
    _check_one_teacher(config.distillation, plan.overrides)
    if config.training.data_dir is not None or not config.distillation.soft_weight:
        return folder_of_corpus(plan)
    return _corpus_of(_open_source(config.distillation, plan))


def _corpus_of(source: OnlineTeacher | StoredTeacher) -> str:
    """The corpus folder of a teacher. Raises DataError if it is not here."""
    path: str = source.corpus_path
    if not Path(path).is_dir():
        raise DataError(
            f"{source.place} was made from the corpus {path}, which does not exist here: give its "
            "folder with --data_dir"
        )
    return path


def _check_one_teacher(options: DistillationConfig, overrides: Overrides) -> None:
    """Raise UsageError unless the settings name exactly one teacher, or none with soft_weight 0."""
    if options.teacher and options.soft_targets:
        raise UsageError("--teacher and --soft_targets both name a teacher: give one of them")
    if not (options.teacher or options.soft_targets) and options.soft_weight:
        raise UsageError(
            "no teacher: give --teacher CHECKPOINT or --soft_targets DIR; "
            "--soft_weight 0 trains without a teacher"
        )
    if not options.soft_weight:
        for name in ("teacher", "soft_targets"):
            if overrides.get("distillation", {}).get(name):
                raise UsageError(
                    f"--{name} has no effect with --soft_weight 0: leave one of them out"
                )


def _open_source(options: DistillationConfig, plan: StartPlan) -> OnlineTeacher | StoredTeacher:
    """Raises DataError; if the checkpoint of the plan names the place, with the way to give another
    one."""
    name = "teacher" if options.teacher else "soft_targets"
    try:
        if options.teacher:
            return OnlineTeacher(Path(options.teacher), plan.config.training.data_dir is None)
        assert options.soft_targets is not None
        return StoredTeacher(Path(options.soft_targets))
    except DataError as error:
        if plan.checkpoint is None or name in plan.overrides.get("distillation", {}):
            raise
        raise DataError(
            f"{error}; {plan.path} was trained with it: if it was moved, give its new place with "
            f"--{name}"
        ) from None


def _with_stored_settings(
    config: StudentConfig, source: StoredTeacher, overrides: Overrides
) -> StudentConfig:
    """The configuration with the settings that the soft targets fix.

    Raises UsageError where the user gave another value for one of them.
    """
    updated = config.updated(source.settings())
    asked, fixed = config.to_dict(), updated.to_dict()
    for section in source.settings():
        for name in overrides.get(section, {}):
            if asked[section][name] != fixed[section][name]:
                raise UsageError(
                    f"{section}.{name} {asked[section][name]}: the soft targets "
                    f"{source.targets.path} were exported with {fixed[section][name]}; "
                    "leave the option out, export other soft targets, or use --teacher"
                )
    return updated


def _same_source(plan: StartPlan, source: OnlineTeacher | StoredTeacher) -> bool:
    """Whether the checkpoint of the plan was trained with this teacher, or these soft targets."""
    assert plan.checkpoint is not None
    before, exported = plan.checkpoint.get("teacher") or {}, "soft_targets_sha256"
    same_targets = before.get(exported) == source.identity.get(exported)
    return same_targets and same_teacher(before, source.identity)


def _check_same_teacher(plan: StartPlan, source: OnlineTeacher | StoredTeacher | None) -> None:
    """Raise DataError when a run would continue with another teacher."""
    assert plan.checkpoint is not None
    before = plan.checkpoint.get("teacher") or {}
    now = source.identity if source is not None else {}
    exported = "soft_targets_sha256"
    if isinstance(source, StoredTeacher) and before.get(exported, now[exported]) != now[exported]:
        raise DataError(
            f"the soft targets have changed: {plan.path} was trained with others than those that "
            f"are in {source.place} now: put them back, or train a new student"
        )
    if not same_teacher(before, now):
        raise DataError(
            f"the teacher has changed: {plan.path} was trained with "
            f"{_name(before)}, now it is {_name(now)}: "
            "put that checkpoint back, or train a new student"
        )


def _name(identity: dict[str, str]) -> str:
    """The teacher in an error message."""
    if not identity:
        return "no teacher"
    return f"{identity.get('path')} (SHA-256 {identity.get('sha256', '')[:8]})"


def _check_source(
    source: OnlineTeacher | StoredTeacher,
    corpus: Corpus,
    vocabulary: Vocabulary,
    train: PreparedSplit,
) -> None:
    """Raise DataError when the teacher does not fit the corpus or the vocabulary."""
    source.check(corpus, vocabulary)
    refuse_unknown_glosses(corpus.path, train, source.identity["path"])


def _describe_teacher(source: OnlineTeacher | StoredTeacher, student_parameters: int) -> str:
    if source.parameters is None:
        return f"teacher: {source.identity['path']}, stored soft targets"
    share = 100 * student_parameters / source.parameters
    return (
        f"teacher: {source.identity['path']}, {source.parameters / 1e6:.1f} M parameters "
        f"(the student has {share:.1f} %)"
    )


def _large_student_warning(teacher_parameters: int, student_parameters: int) -> str:
    fits = LARGEST_SHARE * teacher_parameters >= _DEMO_STUDENT
    advice = (
        f"--config {_DEMO_CONFIG} has about {_DEMO_STUDENT / 1e6:.1f} M"
        if fits and student_parameters > 2 * _DEMO_STUDENT  # it is not this one already
        else "lower the sizes under `model` in a YAML file (--config)"
    )
    return (
        f"warning: the student has {100 * student_parameters / teacher_parameters:.1f} % of the "
        f"teacher's parameters, and a small student has at most {100 * LARGEST_SHARE:.0f} %: "
        f"{advice}"
    )
