"""The folder of a run: made, locked against other runs, an earlier run moved aside."""

import contextlib
import errno
import math
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from data.output_place import FolderLock, make_folder
from errors import DataError, UsageError, shown_names
from models.checkpoint import (
    BEST,
    CHECKPOINTS,
    checkpoint_in,
    copy_checkpoint,
    load_checkpoint,
    remove_leftovers,
)
from models.safe_write import hash_path, partial_path
from training.divergence import DUMP

if TYPE_CHECKING:
    from training.trainer import Trainer

LOCK = "run.lock"
# Errors of writing alone: full disks, quotas, read-only disks
_DISK_CANNOT_STORE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
_PROGRAM = Path(__file__).resolve().parents[2]
# A run writes both at its start. A folder with both holds a run, even without a checkpoint.
_FIRST = ("config.yaml", "environment.json")
# The other files that a run, or the overfit check, replaces
_REPORTS = (
    "result.json",
    "metrics.jsonl",
    "MODEL_CARD.md",
    "report.html",
    "dev_hypotheses.csv",
    "hypotheses.csv",
    *(hash_path(Path(name)).name for name in CHECKPOINTS),
)
_OF_A_RUN = {
    *CHECKPOINTS,
    *_FIRST,
    *_REPORTS,
    *(partial_path(Path(name)).name for name in (*CHECKPOINTS, *_REPORTS)),
    LOCK,
    DUMP,
    "tensorboard",
}
# Endings of files that a user may keep in the folder of a new run: logs, notes, settings, job
# scripts, the output of a batch system (train.o12345), and files without an ending
_BESIDE_A_RUN = re.compile(r"(\.(log|out|err|txt|md|ya?ml|sh|sbatch|slurm|pbs|[oe][0-9]+))?")
_SHOWN = 5  # names in a message


class RunLock(FolderLock):
    """The lock of a run's folder. Raises UsageError when another run has it, OSError when its file
    cannot be made."""

    name = LOCK

    def __init__(self, folder: Path):
        super().__init__(
            folder,
            lambda holder: (
                f"another run is working in {folder} ({holder}): wait for it, stop it, or give "
                "another --output_dir"
            ),
        )


def run_folder(output_dir: str) -> Path:
    """The path of a run's folder. It stays valid when an earlier run is moved aside.

    '.' and '..' would not stay valid, because they follow the folder that is moved. A path with
    them becomes a full path.
    """
    folder = Path(output_dir)
    return folder.resolve() if not folder.name or ".." in folder.parts else folder


def claim_run_folder(
    folder: Path, inputs: Iterable[Path] = (), goes_on_from: Path | None = None
) -> RunLock:
    """Make the folder of a run and lock it against other runs.

    Args:
        folder: the folder of the run.
        inputs: files and folders that the run reads, which must not be in its folder.
        goes_on_from: the checkpoint in the folder from which its run goes on. None: move an earlier
            run in the folder out of the way, so that nothing is overwritten.

    Raises UsageError when another run has the lock, or the folder has inputs or files of the
    user's; DataError when the folder cannot be made or written to.
    """
    make_folder(folder)
    aside = goes_on_from is None
    try:
        if aside:
            _refuse_inputs_in(folder, inputs)
        lock = RunLock(folder)
        try:
            if not _has_run(folder):
                _refuse_replaced_files(folder, goes_on_from)
                if aside:
                    _refuse_other_files(folder)
            elif aside:
                _refuse_other_runs_in(folder)
        except UsageError:
            lock.release()
            raise
        if aside and sys.platform == "win32":
            lock.release()  # Windows does not move a folder that has an open file
            move_aside(folder)
            make_folder(folder)
            lock = RunLock(folder)
        elif aside and move_aside(folder):
            make_folder(folder)
            moved, lock = lock, RunLock(folder)
            moved.release()
        remove_leftovers(folder)
    except OSError as error:
        raise DataError(f"cannot write to the output folder {folder}: {error.strerror}") from error
    return lock


@contextlib.contextmanager
def writable(folder: Path) -> Iterator[None]:
    """Turn errors of the operating system inside the block, such as a full disk, into a DataError
    that names the run's folder, or the file elsewhere that could not be read."""
    try:
        yield
    except OSError as error:
        file = (
            Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else None
        )
        # `realpath` never fails; `Path.resolve` does, at a link that leads to itself
        if (
            file is not None
            and error.errno not in _DISK_CANNOT_STORE
            and not Path(os.path.realpath(file)).is_relative_to(os.path.realpath(folder))
        ):
            raise DataError(f"cannot read {file}: {error.strerror or error}") from error
        raise DataError(f"cannot write to {folder}: {error.strerror or error}") from error


def move_aside(folder: Path) -> bool:
    """Move an earlier run out of the way of a fresh one; False when there is none."""
    if not _has_run(folder):
        return False
    place, number = folder.resolve(), 1  # if it is a link, its target is moved and the link stays
    while (kept := place.with_name(f"{place.name}.earlier-{number}")).exists():
        number += 1
    others = _not_of_a_run(folder)
    try:
        place.rename(kept)
        (kept / LOCK).unlink(missing_ok=True)
        place.mkdir()
    except OSError as error:
        raise DataError(
            f"cannot move the earlier run {folder} to {kept}: {error.strerror}; give another "
            "--output_dir"
        ) from error
    if place == folder.absolute():
        kept = folder.with_name(kept.name)
    with_others = f", together with what no run wrote: {_names(others)}" if others else ""
    print(f"{folder} has an earlier run: moved to {kept}{with_others}")
    return True


def _has_run(folder: Path) -> bool:
    """Whether the folder has an earlier run, also one that was killed at its start. A checkpoint
    without its hash can be of another program."""
    checkpoints = [folder / name for name in CHECKPOINTS]
    return any(path.exists() and hash_path(path).exists() for path in checkpoints) or all(
        (folder / name).exists() for name in _FIRST
    )


def _not_of_a_run(folder: Path) -> list[Path]:
    """What no run or evaluation wrote, without hidden files and empty folders. Raises OSError."""
    return [
        path
        for path in sorted(folder.iterdir())
        if path.name not in _OF_A_RUN
        and not (path.is_dir() and _is_empty_or_evaluation(path))
        and (path.is_dir() or not path.name.startswith("."))
    ]


def _is_empty_or_evaluation(folder: Path) -> bool:
    try:
        names = os.listdir(folder)
    except OSError:  # such as a folder of another user
        return False
    return not names or (folder.name.startswith("evaluation") and "result.json" in names)


def _names(paths: Iterable[Path]) -> str:
    return shown_names((path.name for path in paths), _SHOWN)


def refuse_file_as_folder(folder: Path) -> None:
    """Raise UsageError if the folder of a run cannot be made, because a file has its name."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--output_dir {folder} is a file: choose another one")


def _refuse_other_runs_in(folder: Path) -> None:
    """Raise UsageError if the earlier run that would be moved aside has other runs or this program
    in it."""
    if folder.resolve() in (_PROGRAM, *_PROGRAM.parents):
        raise UsageError(
            f"--output_dir {folder} has this program in it, and files of an earlier run, which "
            "would be moved aside together with it: choose another --output_dir"
        )
    for path in sorted(folder.iterdir()):
        if path.is_dir() and checkpoint_in(path) is not None:
            raise UsageError(
                f"--output_dir {folder} has an earlier run, which would be moved aside together "
                f"with the run {path}: choose another --output_dir"
            )


def _refuse_inputs_in(folder: Path, inputs: Iterable[Path]) -> None:
    """Raise UsageError if the folder is an input of the run, such as its corpus, or contains one.
    The next run would move the input aside."""
    for path in inputs:
        if folder.resolve() in (path.resolve(), *path.resolve().parents):
            found = "is" if folder.resolve() == path.resolve() else f"contains {path},"
            raise UsageError(
                f"--output_dir {folder} {found} an input of this run: choose another --output_dir"
            )


def _refuse_replaced_files(folder: Path, goes_on_from: Path | None) -> None:
    """Raise UsageError if a folder without an earlier run has a file that a run would replace.
    goes_on_from: a checkpoint that may be there."""
    mine: set[str] = set()
    if goes_on_from is not None:  # a run's checkpoint has those of its run beside it
        own = CHECKPOINTS if goes_on_from.name in CHECKPOINTS else (goes_on_from.name,)
        mine = {*own, *(hash_path(folder / name).name for name in own)}
    for name in (*CHECKPOINTS, *_FIRST, *_REPORTS, DUMP):
        if name not in mine and os.path.lexists(folder / name):
            raise UsageError(
                f"{folder / name} already exists and is not of an earlier run: this run would "
                "replace it; choose another --output_dir, or move the file away"
            )


def _refuse_other_files(folder: Path) -> None:
    """Raise UsageError if a folder without an earlier run has files and folders that the next run
    would move aside. Logs, notes and the like may be there."""
    found = [path for path in _not_of_a_run(folder) if not _may_be_beside_a_run(path)]
    if found:
        raise UsageError(
            f"--output_dir {folder} has files that are not of a run: {_names(found)}; expected a "
            "new folder, one with logs and notes at most, or that of an earlier run: choose "
            "another --output_dir"
        )


def _may_be_beside_a_run(path: Path) -> bool:
    """Whether this is a log, a note, a job script or the like, or a folder of such files. A hidden
    folder is not: it can be a Git repository."""
    if path.is_dir():
        is_plain = not path.is_symlink() and not path.name.startswith(".")
        return is_plain and all(map(_may_be_beside_a_run, path.iterdir()))
    return _BESIDE_A_RUN.fullmatch(path.suffix.lower()) is not None


def _is_of_epoch(path: Path, epoch: int) -> bool:
    """Whether a file is an undamaged checkpoint that was written at the end of this epoch. A best
    model may have a tuned decoder, which last.pth lacks."""
    try:
        progress = load_checkpoint(path)["training"]["progress"]
        return len(progress["history"]) == epoch
    except (DataError, KeyError, TypeError):
        return False


def keep_best_model(trainer: "Trainer", checkpoint: Path) -> None:
    """Make sure that the folder of a continued run has its best model.

    The model can be missing: the run is continued in another folder, or it was killed after it
    wrote last.pth and before it wrote best_model.pth. If the best model is damaged, a warning names
    it, and the best model of the following epochs is kept instead.

    Args:
        trainer: of the continued run.
        checkpoint: the file that the run continues from.

    Raises DataError when the best model is nowhere.
    """
    progress, stopping = trainer.progress, trainer.stopping
    if not math.isfinite(stopping.best_wer):
        return  # no epoch is finished yet
    is_best = stopping.best_epoch == len(progress.history) and progress.group == 0
    source, best = checkpoint.with_name(BEST), trainer.folder / BEST
    if is_best and not _is_of_epoch(source, stopping.best_epoch):
        source = checkpoint
    if not source.exists():
        raise DataError(
            f"{checkpoint} cannot be continued: its best model so far (epoch "
            f"{stopping.best_epoch}) is not beside it: put {BEST} there, or give a setting that "
            "makes it a fine-tune, such as --epochs"
        )
    try:
        if source != checkpoint:
            load_checkpoint(source)  # raises when it is damaged
    except DataError as error:
        if progress.finished:
            raise
        print(
            f"warning: {error}; the best model of the epochs up to {len(progress.history)} is lost"
        )
        stopping.forget_best()
    else:
        if source.resolve() != best.resolve():
            copy_checkpoint(source, best)
