"""Check before a long job that its output can be written. Locks of folders; files that are written
whole."""

import contextlib
import hashlib
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Self

from filelock import lock_descriptor

from errors import DataError, UsageError

LONGEST_NAME = 255  # bytes


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


def check_output_files(paths: Sequence[Path], overwrite: bool, otherwise: str = "") -> None:
    """Refuse files that exist already or cannot be written. Called before work starts.

    A link counts as a file, also if it leads nowhere. Devices and pipes, such as /dev/stdout, are
    no files in this sense.

    Args:
        paths: the files that will be written.
        overwrite: the user allows to replace them.
        otherwise: what else the user can do where a file exists, for the message.

    Raises UsageError that names the first such file and how many there are, or a folder in its
    place; DataError if a file cannot be made in its folder.
    """
    for path in paths:
        if len(os.fsencode(path.name)) > LONGEST_NAME:
            raise UsageError(
                f"{path}: the name has {len(os.fsencode(path.name))} bytes, a file can have "
                f"{LONGEST_NAME}: choose a shorter one"
            )
    files = [path for path in paths if not is_device(path)]
    existing = [] if overwrite else [path for path in files if is_occupied(path)]
    if existing:
        more = f" (and {len(existing) - 1} more)" if len(existing) > 1 else ""
        raise UsageError(
            f"{existing[0]} already exists{more}: choose another place, or give --overwrite to "
            f"replace it{otherwise}"
        )
    for path in files:
        if path.is_dir():
            raise UsageError(f"{path} is a folder: expected the name of a file to write")
    check_places(Path(os.path.realpath(path)) for path in files)


def is_device(path: Path) -> bool:
    """Whether a path is a device or a pipe, which is written to and not replaced."""
    return path.exists() and not path.is_file() and not path.is_dir()


def is_occupied(path: Path) -> bool:
    """Whether a file, or a link that leads nowhere, has this name."""
    return path.is_file() or (path.is_symlink() and not path.exists())


def make_folder(folder: Path) -> None:
    """Make the folder of a run or an evaluation. Raises DataError when it cannot be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError as error:
        raise DataError(f"cannot make the output folder {folder}: {error.strerror}") from error
    if not writable:
        raise DataError(f"cannot write to the output folder {folder}: permission denied")


def check_new_folder(
    path: Path, option: str, own_leftover: bool, inputs: Iterable[Path] = ()
) -> None:
    """Raise UsageError or DataError unless a folder can be made at `path`, with all its content.

    The content is first written to `<path>.partial`, which is renamed to `path` at the end. So
    `path` must be absent or an empty folder, and `<path>.partial` must not be the user's.

    Args:
        option: names the path on the command line.
        own_leftover: what is at `<path>.partial` was left by an interrupted run of this command.
        inputs: what the command reads. The new folder must not be one of them, nor lie above one.
    """
    _refuse_inputs(path, option, inputs)
    partial = path.with_name(path.name + ".partial") if path.name else path
    try:
        occupied = path.exists() and (not path.is_dir() or any(path.iterdir()))
        empty = partial.is_dir() and set(os.listdir(partial)) <= {WritingLock.name}
        not_ours = os.path.lexists(partial) and not (own_leftover or empty)
    except OSError as error:
        raise DataError(f"cannot write to {path}: {error.strerror}") from None
    if occupied or not path.name:
        # Only what this project made may be advised to be removed
        ours = (path / "corpus.json").is_file()
        removal = " or remove it first" if ours else ", which must be new or empty"
        raise UsageError(f"{path} already exists: choose another {option}{removal}")
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


def _refuse_inputs(path: Path, option: str, inputs: Iterable[Path]) -> None:
    """Raise UsageError when the new folder is an input, or when an input is in it."""
    real = Path(os.path.realpath(path))
    for each in inputs:
        place = Path(os.path.realpath(each))
        if os.path.lexists(place) and place.is_relative_to(real):
            what = "is an input" if place == real else f"contains the input {each}"
            raise UsageError(f"{option} {path} {what} of this command: choose a new folder")


class BeingWrittenError(UsageError):
    """Another process is writing this output."""


class FolderLock:
    """Locks a folder from the moment it is made until `release` or the end of a `with`.

    The file in the folder names the process that has the lock. Only the kernel's lock on this file
    counts, so a killed process leaves no lock. If the file system has no locks (some network file
    systems), a note is printed.

    Raises BeingWrittenError when another process has the lock, OSError when the file cannot be
    made.
    """

    name = ".writing"

    def __init__(self, folder: Path, busy: Callable[[str], str]):
        """busy: makes the message where another process has the lock, with the process in words."""
        self._path = folder / self.name
        while True:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                free = lock_descriptor(self._descriptor, blocking=False)
            except OSError as error:
                print(
                    f"note: {folder} cannot be locked ({error.strerror}): make sure that no other "
                    "process works there"
                )
                free = True
            if not free:
                holder = self._holder()
                os.close(self._descriptor)
                raise BeingWrittenError(busy(holder))
            # A process that has just ended may have removed the file between our open and our lock
            if self._is_ours():
                break
            os.close(self._descriptor)
        os.ftruncate(self._descriptor, 0)
        with contextlib.suppress(OSError):  # on a full disk the lock works all the same
            os.write(self._descriptor, f"process {os.getpid()} on {platform.node()}\n".encode())
        self._held = True

    def _holder(self) -> str:
        """The process that has the lock. Windows does not let other processes read this."""
        try:
            text = os.read(self._descriptor, 200).decode(errors="replace").strip()
        except OSError:
            return "its process is not known"
        return text or "just started"

    def _is_ours(self) -> bool:
        if sys.platform == "win32":
            return True  # Windows does not remove a file that is open
        try:
            return os.path.samestat(os.fstat(self._descriptor), os.stat(self._path))
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Unlock the folder and remove the file; a second call does nothing. In a folder that was
        moved the file stays."""
        if not self._held:
            return
        self._held = False
        if sys.platform == "win32":  # Windows does not remove a file that is open
            os.close(self._descriptor)
            with contextlib.suppress(OSError):
                os.unlink(self._path)
            return
        if self._is_ours():
            with contextlib.suppress(OSError):
                os.unlink(self._path)
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class WritingLock(FolderLock):
    """The lock of a folder into which an output is written. output: what the user called it."""

    def __init__(self, folder: Path, output: Path):
        super().__init__(
            folder,
            lambda holder: (
                f"another process is writing {output} ({holder}): wait for it, stop it, or choose "
                "another output"
            ),
        )


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


def partial_beside(path: Path) -> Path:
    """Where a file is written until it is complete, with its suffix. The name is the same each
    time, so that a repeat replaces what a killed process left; it is a hash, because a name can
    have up to 255 bytes, and need not be UTF-8."""
    name = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:12]
    return path.with_name(f".{name}.partial{path.suffix}")


def write_whole(path: Path, text: str, errors: str = "strict") -> None:
    """Write a text file in UTF-8, complete or not at all. A link stays, its file is replaced.

    errors: what becomes of characters that UTF-8 does not have, as in `str.encode`. Raises OSError.
    """
    real = Path(os.path.realpath(path))
    partial = partial_beside(real)
    try:
        partial.write_text(text, encoding="utf-8", errors=errors, newline="\n")
        partial.replace(real)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def nearest_existing(path: Path) -> Path:
    """The nearest place above a path that exists: a folder, unless something else is in the way."""
    return next(parent for parent in path.absolute().parents if os.path.lexists(parent))


def ignores_case(folder: Path) -> bool:
    """Whether the file system of a writable folder takes `A` and `a` for the same name."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix="case-") as file:
        path = Path(file.name)
        return path.with_name(path.name.swapcase()).exists()
