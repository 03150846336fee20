"""A training from the command line to the results: plan, prepare, train, evaluate."""

import contextlib
import shlex
import sys
from collections.abc import Callable
from typing import Any

from errors import (
    DataError,
    DivergenceError,
    UsageError,
    counted,
    enough_memory,
    is_full_disk,
)
from inference.posteriors import NotFiniteError
from models.checkpoint import LAST, check_space, checkpoint_in
from models.i3d_teacher import count_parameters
from reports.provenance import describe_session, record_session
from settings import Overrides, merge_overrides, read_overrides
from training.config import Config, TrainingCommand
from training.distributed import Ranks, connect_processes
from training.dry_run import dry_run
from training.final_evaluation import evaluate_best_model
from training.resume import CONTINUE, FINE_TUNE, FRESH, StartPlan, plan_start
from training.run_files.run_folder import claim_run_folder, keep_best_model, writable
from training.run_files.run_log import RunLog, write_config
from training.setup import (
    Run,
    able_to_compile,
    folder_of_corpus,
    prepare_on_all_ranks,
    prepare_run,
    smaller_batches,
    train_statistics,
)
from training.stop_signals import InterruptedRunError


def train_teacher(command: TrainingCommand, given: Overrides) -> int:
    """Train a teacher. `given` are the settings of the command line. Returns the exit code."""

    def prepare(plan: StartPlan, ranks: Ranks) -> Run:
        return prepare_run(plan, command.extend_vocabulary, ranks=ranks)

    return train("train_teacher.py", command, given, Config(), prepare)


def train(
    script: str,
    command: TrainingCommand,
    given: Overrides,
    default: Config,
    prepare: Callable[[StartPlan, Ranks], Run],
    find_corpus: Callable[[StartPlan], str | None] = folder_of_corpus,
) -> int:
    """What every training script does, on all ranks.

    Args:
        script: the name of the script, for the advice after a stop.
        command: what was asked for.
        given: the settings of the command line.
        default: the default settings, of the kind of run.
        prepare: `prepare_run`, or a function that ends in it.
        find_corpus: the folder of the corpus that `prepare` opens.

    Returns the exit code. Raises ProjectError.
    """

    def make_plan() -> StartPlan:
        yaml = read_overrides(command.config, type(default)) if command.config else {}
        plan = plan_start(command.resume, merge_overrides(yaml, given), default)
        if wrong := plan.config.without_effect(given):
            raise UsageError("; ".join(wrong))
        return plan

    with connect_processes() as ranks:
        run = prepare_on_all_ranks(ranks, make_plan, lambda plan: prepare(plan, ranks), find_corpus)
        if command.resume is not None or run.start.kind != FRESH:
            print(f"{run.start}{_place(run)}")
        if command.dry_run:
            dry_run(run)
            return ranks.end(0)
        again = f"python {script} --resume auto --output_dir {shlex.quote(str(run.folder))}"
        try:
            execute(run)
        except InterruptedRunError as stop:
            if ranks.is_rank_0:
                print(f"stopped by {stop}; continue with: {again}", file=sys.stderr)
            return ranks.end(stop.exit_code)
        except KeyboardInterrupt:
            if run.trainer.progress.finished:
                print(
                    "stopped in the final evaluation: the training is complete; evaluate it with: "
                    f"{again}",
                    file=sys.stderr,
                )
            raise
        except DataError as error:
            if is_full_disk(error) and checkpoint_in(run.folder) is not None:
                raise DataError(f"{error}; free some space, then: {again}") from error
            raise
        return ranks.end(0)


def _place(run: Run) -> str:
    """Where a run continues inside an epoch, in words."""
    progress, plan = run.trainer.progress, run.trainer.plan
    if not progress.group:
        return ""
    updates = len(plan.begin(progress.epoch))
    return f"; in epoch {progress.epoch}, after {progress.group} of {counted(updates, 'update')}"


def execute(run: Run) -> dict[str, Any]:
    """Train a prepared run to its end and write the results.

    Returns the content of result.json, on rank 0. Raises InterruptedRunError after a signal,
    DivergenceError, DataError on a full disk, and UsageError when the memory is too small or
    torch.compile fails.
    """
    trainer = run.trainer
    try:
        with (
            writable(run.folder),
            enough_memory(smaller_batches(run.config.training)),
            able_to_compile(run.config.training),
            contextlib.ExitStack() as held,
        ):
            _claim_folder(run, held)
            trainer.connect_ranks()
            session = _record_start(run)
            if trainer.progress.finished:
                _complete_folder(run)
            else:
                trainer.fit()
            trainer.ranks.disconnect()
            return evaluate_best_model(run, session) if trainer.ranks.is_rank_0 else {}
    except NotFiniteError:
        rate = run.config.training.learning_rate
        raise DivergenceError(
            f"the best model in {run.folder} predicts values that are not finite: the training "
            f"diverged; lower --learning_rate (now {rate:g}) or use --precision fp32"
        ) from None


def _claim_folder(run: Run, held: contextlib.ExitStack) -> None:
    """Lock the folder of the run on rank 0, until `held` is closed, and see that the best model of
    a continued run is in it."""
    trainer, start = run.trainer, run.start
    path = start.path if start.kind == CONTINUE else None
    in_place = path is not None and path.parent.resolve() == run.folder.resolve()
    with trainer.ranks.all_must_succeed():
        if trainer.ranks.is_rank_0:
            check_space(run.folder, count_parameters(trainer.model), reuse=in_place)
            inputs = trainer.input_paths
            if path is not None and not in_place:
                inputs.append(path)
            goes_on_from = path if in_place else None
            held.enter_context(claim_run_folder(run.folder, inputs, goes_on_from))
            if path is not None:
                keep_best_model(trainer, path)


def _record_start(run: Run) -> dict[str, Any]:
    """Write config.yaml and environment.json, and the first checkpoint of a run that is not
    continued. Returns what environment.json records of this session."""
    trainer, start = run.trainer, run.start
    session = describe_session(
        run.corpus,
        trainer.device,
        trainer.machine,
        run.config.training.seed,
        f"{start.kind}{f' from {start.path}' if start.path else ''} ({start.reason})",
        trainer.ranks.world,
    )
    if trainer.ranks.is_rank_0:
        write_config(trainer.folder, run.config.to_dict())
        record_session(trainer.folder, session)
    if start.kind == FRESH:
        trainer.model.set_statistics(*train_statistics(trainer))
        trainer.save()  # a good state before the first epoch, in a folder that is writable
    if start.kind == FINE_TUNE:
        trainer.start_from_loaded_model()
    return session


def _complete_folder(run: Run) -> None:
    """A complete run is continued: in another folder, write the files that are missing there."""
    trainer = run.trainer
    epochs = len(trainer.progress.history)
    print(f"this run is complete ({counted(epochs, 'epoch')}): nothing left to train")
    absent = not (trainer.folder / LAST).exists()
    if trainer.ranks.from_rank_0(lambda: absent):
        if trainer.ranks.is_rank_0:
            RunLog(trainer.folder, trainer.progress.history).close()
        trainer.save()
