"""The folder of a run: made, locked against other runs, an earlier run moved aside."""

import contextlib
import fcntl
import os
import platform
from pathlib import Path

from errors import DataError, UsageError
from models.checkpoint import (
    BEST,
    LAST,
    remove_leftovers,
)
from reports.result_files import make_folder

LOCK = "run.lock"


class RunLock:
    """Holds a folder from the moment it is made until `release`, or to the end of a `with`.

    The file in the folder says who holds it; only the kernel's lock on it counts. Raises UsageError
    when another run holds the folder, OSError when the file cannot be made. Where the file system
    has no locks (some network file systems) this is said and the run goes on.
    """

    def __init__(self, folder: Path):
        self._path = folder / LOCK
        while True:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.read(self._descriptor, 200).decode(errors="replace").strip()
                os.close(self._descriptor)
                raise UsageError(
                    f"another run is working in {folder} ({holder or 'just begun'}): wait for it, stop it, or give "
                    "another --output_dir"
                ) from None
            except OSError as error:
                print(
                    f"note: {folder} cannot be locked ({error.strerror}): see that no other run works there"
                )
            # A run that ended meanwhile has taken the file that was opened away
            if self._is_ours():
                break
            os.close(self._descriptor)
        os.ftruncate(self._descriptor, 0)
        with contextlib.suppress(OSError):  # a full disk: the lock holds all the same
            os.write(self._descriptor, f"process {os.getpid()} on {platform.node()}\n".encode())

    def _is_ours(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._descriptor), os.stat(self._path))
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Let go of the folder; of a folder that was moved meanwhile only the lock, not the file."""
        if self._is_ours():
            with contextlib.suppress(OSError):
                os.unlink(self._path)
        os.close(self._descriptor)

    def __enter__(self) -> "RunLock":
        return self

    def __exit__(self, *_) -> None:
        self.release()


def claim_run_folder(folder: Path, aside: bool) -> RunLock:
    """Make a run's folder and hold it against other runs until the lock is released.

    aside: an earlier run in it is moved out of the way, so that nothing is overwritten. Raises
    UsageError when another run holds it, DataError when it cannot be made or written to.
    """
    make_folder(folder)
    try:
        lock = RunLock(folder)
        if aside and move_aside(folder):
            make_folder(folder)
            moved, lock = lock, RunLock(folder)
            moved.release()
        remove_leftovers(folder)
    except OSError as error:
        raise DataError(f"cannot write to the output folder {folder}: {error.strerror}") from error
    return lock


def move_aside(folder: Path) -> bool:
    """Move an earlier run out of the way of a fresh one; False when there is none."""
    if not any((folder / name).exists() for name in (BEST, LAST, "result.json", "metrics.jsonl")):
        return False
    number = 1
    while (kept := folder.with_name(f"{folder.name}.earlier-{number}")).exists():
        number += 1
    try:
        folder.rename(kept)
        (kept / LOCK).unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"cannot move the earlier run {folder} to {kept}: {error.strerror}"
        ) from error
    print(f"{folder} held an earlier run: moved to {kept}")
    return True


def run_folder(output_dir: str) -> Path:
    """The run's folder, by a name that still means it after an earlier run there was moved aside
    (not '.')."""
    folder = Path(output_dir)
    return folder if folder.name else folder.resolve()
