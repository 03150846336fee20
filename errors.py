"""The errors that a user sees as one line, their exit codes, and `run_script`, which every script
uses.

Exit codes of every script: 0 done, 1 a check failed, 2 usage, 3 data, 4 training diverged,
129/130/143 stopped by a signal.
"""

import contextlib
import errno
import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any, TextIO, cast

from processor import wait_asleep

MAX_MESSAGE = 1500  # characters
# What torch, ONNX Runtime, OpenCV and C++ write where there is no memory left
_NO_MEMORY = (
    "can't allocate memory",
    "failed to allocate memory",
    "not enough memory",
    "insufficient memory",
    "out of memory",
    "bad_alloc",
    "alloc_failed",
)


def printable(text: str) -> str:
    """A text of which nothing can break the line or send commands to the terminal."""
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def shown_names(names: Iterable[str], most: int = 10) -> str:
    """The first `most` names, for a message, and how many more there are."""
    names = [printable(name) for name in names]
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def counted(count: int, noun: str) -> str:
    """A number with its noun, such as '1 epoch', '3 glosses' or '2,836 updates'."""
    plural = "" if count == 1 else "es" if noun.endswith("s") else "s"
    return f"{count:,} {noun}{plural}"


class ProjectError(Exception):
    """Base of all errors that the user sees as one line, without a traceback.

    Unprintable characters of a message are escaped, see `printable`.
    """

    exit_code = 1

    def __init__(self, message: str):
        line = printable(message[:MAX_MESSAGE])
        super().__init__(line + ("…" if len(message) > MAX_MESSAGE else ""))


class UsageError(ProjectError):
    """A wrong option, config key or combination of them."""

    exit_code = 2


class DataError(ProjectError):
    """A file that is missing, broken or of another kind than expected; also a full disk."""

    exit_code = 3


class DivergenceError(ProjectError):
    """Training produced numbers that are not finite and cannot continue."""

    exit_code = 4


class StoppedError(KeyboardInterrupt):
    """SIGTERM, or SIGHUP when the terminal is closed. Code that cleans up after Ctrl-C also cleans
    up after these. Its text is the name of the signal."""

    def __init__(self, signum: int):
        super().__init__(signal.Signals(signum).name)
        self.exit_code = 128 + signum


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that the memory is too small, of the machine or of a GPU."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    words = str(error).lower()
    return not isinstance(error, ProjectError) and any(known in words for known in _NO_MEMORY)


def is_full_disk(error: BaseException | None) -> bool:
    """Whether an error, or one that it was raised from, means that a disk or a quota is full."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return full or (error is not None and is_full_disk(error.__cause__))


def no_memory_message(error: BaseException, advice: str = "") -> str:
    """One line about too little memory. Without advice: what helps whatever the work is."""
    reason = (str(error) or "no memory").splitlines()[0]
    if not advice and "CUDA" in reason:
        advice = "stop other programs on the GPU, or compute on the CPU (--device cpu)"
    advice = advice or "stop other programs, or use a machine with more memory"
    return f"the memory is too small: {advice}: {reason}"


@contextlib.contextmanager
def enough_memory(advice: str) -> Iterator[None]:
    """Turn out-of-memory errors inside the block into a UsageError with this advice."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise UsageError(no_memory_message(error, advice)) from None


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Context in which the first SIGTERM or SIGHUP raises StoppedError. A second one is ignored: it
    would break off what the first one undoes. A signal that is ignored, as under nohup, or that has
    a handler, stays as it is."""

    def stop(signum: int, _: FrameType | None) -> None:
        for each in changed:
            signal.signal(each, signal.SIG_IGN)
        raise StoppedError(signum)

    changed = []
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGHUP"):  # Windows has no SIGHUP
            signum = getattr(signal, name, None)
            if signum is not None and signal.getsignal(signum) == signal.SIG_DFL:
                signal.signal(signum, stop)
                changed.append(signum)
    try:
        yield
    finally:
        for signum in changed:
            signal.signal(signum, signal.SIG_DFL)


def run_script(main: Callable[[], int], to_its_end: bool = False) -> None:
    """Run the `main` of a script and exit with its code. A `ProjectError` and too little memory
    become one line on stderr. `main` imports torch, so that OpenMP's threads wait as `wait_asleep`
    says.

    Output is flushed after every line, also into a file or a pipe. Characters that the locale does
    not have are escaped. Output without a place, as after `>&-`, is dropped.

    to_its_end: the work goes on when the reader of its output has gone, because it makes files or
        its exit code is a result. Otherwise it stops then, as in `transcribe.py clip.mp4 | head`.
    """
    _open_closed_streams()
    _ensure_utf8()
    wait_asleep()
    # matplotlib warns when the home folder is read-only, which does not matter here.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    try:
        vanish = screen_may_vanish() if to_its_end else contextlib.nullcontext()
        with vanish, _stopped_by_signals():
            code = main()
    except ProjectError as error:
        print(f"error: {error}", file=sys.stderr)
        code = error.exit_code
    except StoppedError as stop:
        print(f"stopped by {stop}", file=sys.stderr)
        code = stop.exit_code
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        code = 130
    except BrokenPipeError:  # the reader of a pipe has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:  # an error that no other place has turned into a ProjectError
        if is_out_of_memory(error):
            print(f"error: {printable(no_memory_message(error))}", file=sys.stderr)
            code = UsageError.exit_code
        elif isinstance(error, OSError):
            print(f"error: {error}", file=sys.stderr)
            code = DataError.exit_code
        else:
            raise
    sys.exit(code)


class _Screen:
    """A stream that is silent from the moment on at which nobody reads it any more."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, act: Callable[[], object]) -> None:
        try:
            act()
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def screen_may_vanish() -> Iterator[None]:
    """Context of work that goes on when its screen is gone: the reader of a pipe has ended, or the
    terminal was closed. Nothing is printed from then on."""
    with (
        contextlib.redirect_stdout(cast(TextIO, _Screen(sys.stdout))),
        contextlib.redirect_stderr(cast(TextIO, _Screen(sys.stderr))),
    ):
        yield


def _open_closed_streams() -> None:
    """Open the null device as stdin, stdout and stderr where they are closed. Otherwise they are
    None in Python, and the next file that is opened gets their number, 0 to 2, and what libraries
    print."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # it gets the lowest number that is free
            os.set_inheritable(opened, True)
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))


def _ensure_utf8() -> None:
    """Restart in Python's UTF-8 mode where the locale has ASCII only (LC_ALL=C, PYTHONUTF8=0).

    There, paths with other letters can be opened, but not written into a file.
    """
    if sys.getfilesystemencoding() == "ascii":
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
