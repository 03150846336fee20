"""Where outputs are written: found out before work starts, not after it."""

import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from filelock import lock_descriptor

from errors import DataError, UsageError


def check_places(paths: Iterable[Path]) -> None:
    """Raise DataError unless a file or a folder can be made at each path.

    The nearest folder above a path that exists must be a folder, and a temporary file in it must be
    possible. Folders that do not exist yet are not made.
    """
    tried: set[Path] = set()
    for path in paths:
        above = nearest_existing(path)
        if above in tried:
            continue
        if not above.is_dir():
            raise DataError(f"cannot write {path}: {above} is not a folder")
        try:
            with tempfile.TemporaryFile(dir=above):
                pass
        except OSError as error:
            raise DataError(f"cannot write {path}: {above}: {error.strerror}") from None
        tried.add(above)


def check_new_folder(path: Path, option: str, own_leftover: bool) -> None:
    """Raise UsageError or DataError unless a folder can be made at `path`, with all its content.

    The content is first written to `<path>.partial`, which is renamed to `path` at the end. So
    `path` must be absent or an empty folder, and `<path>.partial` must not be the user's.

    Args:
        option: names the path on the command line.
        own_leftover: what is at `<path>.partial` was left by an interrupted run of this command.
    """
    partial = path.with_name(path.name + ".partial") if path.name else path
    try:
        occupied = path.exists() and (not path.is_dir() or any(path.iterdir()))
        empty = partial.is_dir() and set(os.listdir(partial)) <= {WritingLock.NAME}
        not_ours = os.path.lexists(partial) and not (own_leftover or empty)
    except OSError as error:
        raise DataError(f"cannot write to {path}: {error.strerror}") from None
    if occupied or not path.name:
        raise UsageError(f"{path} already exists: choose another {option} or remove it first")
    if path.is_symlink():
        raise UsageError(
            f"{option} {path} is a link: give the folder that it leads to, {os.readlink(path)}"
        )
    if os.path.ismount(path):
        raise UsageError(
            f"{option} {path} is a mounted disk: give a new folder on it, such as {path / 'new'}"
        )
    if not_ours:
        raise UsageError(
            f"{partial} already exists and is not from an interrupted run of this command, which "
            f"would write there: rename it, or choose another {option}"
        )
    check_places([path])


class BeingWrittenError(UsageError):
    """Another process is writing this output."""


class WritingLock:
    """Marks a folder as being written, by a locked file in it, until `release`.

    Only the kernel's lock counts, so a process that was killed leaves none. On file systems without
    locks nothing is locked.

    Raises BeingWrittenError when another process has the lock, OSError when the file cannot be
    made.
    """

    NAME = ".writing"

    def __init__(self, folder: Path, output: Path):
        """output: what the user called the output, for the message."""
        self._path = folder / self.NAME
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            free = lock_descriptor(descriptor, blocking=False)
        except OSError:
            free = True
        self._descriptor: int | None = descriptor
        if not free:
            os.close(descriptor)
            raise BeingWrittenError(
                f"another process is writing {output}: wait for it, stop it, or choose another "
                "output"
            )

    def release(self) -> None:
        """Unlock the folder, and remove the file. A second call does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
            self._path.unlink(missing_ok=True)


@contextlib.contextmanager
def writing_into(folder: Path) -> Iterator[None]:
    """Context of work whose results are written into a folder: no other process writes there.

    Folders that do not exist are made, and removed again if nothing was written into them. Raises
    BeingWrittenError when another process has the folder, DataError when it cannot be made or
    written to.
    """
    new = [each for each in (folder, *folder.parents) if not os.path.lexists(each)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = WritingLock(folder, folder)
    except OSError as error:
        raise DataError(f"cannot write to the output folder {folder}: {error.strerror}") from error
    try:
        yield
    finally:
        lock.release()
        for each in new:
            with contextlib.suppress(OSError):
                each.rmdir()  # only if it is empty


def nearest_existing(path: Path) -> Path:
    """The nearest place above a path that exists: a folder, unless something else is in the way."""
    return next(parent for parent in path.absolute().parents if os.path.lexists(parent))


def ignores_case(folder: Path) -> bool:
    """Whether the file system of a writable folder takes `A` and `a` for the same name."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix="case-") as file:
        path = Path(file.name)
        return path.with_name(path.name.swapcase()).exists()
