"""Try every reader of files on broken files.

    python -m tests.fuzzing.harness                          # 10,000 inputs per reader
    python -m tests.fuzzing.harness --only yaml npy --count 500 --seed 7

Only the project's own errors may come out, UsageError and DataError with one line each. Hypothesis
draws the changes of good files: bits and bytes change, parts are cut out, repeated or inserted,
lengths and counts become large numbers, words of the format appear in other places. Checkpoints are
also written anew with odd values inside, which no checksum shows.

Each reader runs in a separate process. It may use 1 GiB more than at its start, and 10 seconds of
computing per input. Exit code: 0 when nothing else came out, else 1. The folder --keep keeps the
inputs that caused harm.
"""

import argparse
import contextlib
import io
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from errors import ProjectError
from tests.fuzzing.mutations import mutated
from tests.fuzzing.targets import MAKERS, Target

MEMORY = 1 << 30  # bytes more than the process has at its start
SECONDS, WAIT = 10, 120  # limits per input: of computing, and by the clock


@dataclass
class Outcome:
    """The result of fuzzing one reader.

    harm: what must not come out, each kind once, with the path of its input. memory: largest
    resident memory in MiB above the start.
    """

    tried: int = 0
    refused: int = 0
    read: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    memory: int = 0
    messages: Counter = field(default_factory=Counter)
    harm: dict[str, str] = field(default_factory=dict)


class HangError(BaseException):
    """An input took too long. No reader's `except Exception` catches it."""


def fuzz(name: str, count: int, start: int = 0, keep: Path | None = None) -> Outcome:
    """Try `count` broken files on one reader, in a separate process.

    Args:
        name: the reader, a key of `MAKERS`.
        count: number of inputs.
        start: the seed of the changes.
        keep: folder for the inputs that cause harm.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                outcome = _fuzz_here(MAKERS[name](folder), folder, count, start, keep)
                content = {**vars(outcome), "messages": dict(outcome.messages)}
                (folder / "outcome.json").write_text(json.dumps(content))
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status == 0:
            content = json.loads((folder / "outcome.json").read_text())
            return Outcome(**{**content, "messages": Counter(content["messages"])})
        last_input = max(folder.glob("input-*"), key=os.path.getmtime, default=None)
        return Outcome(harm={f"the process ended with {status}": _kept(keep, name, last_input)})


def _kept(keep: Path | None, kind: str, path: Path | None) -> str:
    """Copy the input to `keep`. Returns where it is."""
    if keep is None or path is None:
        return "not kept"
    keep.mkdir(parents=True, exist_ok=True)
    name = "".join(c if c.isalnum() else "_" for c in kind)[:80]
    return str(shutil.copy(path, keep / f"{name}-{path.name}"))


def _raise_hang(*_: object) -> None:
    raise HangError


@contextlib.contextmanager
def _silent():
    """Drop what the reader prints."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def _fuzz_here(target: Target, folder: Path, count: int, start: int, keep: Path | None) -> Outcome:
    """`fuzz` in this process, whose memory it limits."""
    outcome, begin = Outcome(), time.perf_counter()
    for name, content in target.seeds.items():  # the good files must be readable
        path = folder / f"input-{name}"
        path.write_bytes(content)
        with _silent():
            target.read(path)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for signum in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(signum, _raise_hang)

    @seed(start)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def attempt(data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(target.seeds)))
        path = folder / f"input-{name}"
        if target.odd is not None and data.draw(st.booleans()):
            target.odd(data, path)
        else:
            path.write_bytes(mutated(data, target.seeds[name], target.words))
        _try(target, path, outcome, keep)

    attempt()
    outcome.seconds = time.perf_counter() - begin
    outcome.memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - resident) // 1024
    return outcome


def _try(target: Target, path: Path, outcome: Outcome, keep: Path | None) -> None:
    """Read one broken file and count what comes out."""
    started, harm = time.process_time(), None
    signal.alarm(WAIT)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        with _silent():
            target.read(path)
        outcome.read += 1
    except ProjectError as error:
        outcome.refused += 1
        message = str(error)
        outcome.messages[type(error).__name__] += 1
        if "\n" in message or len(message) > 2000:
            lines = message.count("\n") + 1
            harm = f"a message of {lines} lines, {len(message)} characters: {message[:80]!r}"
    except HangError:
        harm = f"more than {SECONDS} seconds of computing, or {WAIT} by the clock"
    except Exception as error:
        harm = f"{type(error).__name__} in {_place(error)}: {str(error)[:100]}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
    outcome.tried += 1
    outcome.slowest = max(outcome.slowest, time.process_time() - started)
    if harm is not None and _kind(harm) not in map(_kind, outcome.harm):
        outcome.harm[harm] = _kept(keep, _kind(harm), path)


def _place(error: Exception) -> str:
    """File, line and function of the project where the error was raised."""
    places = [
        f"{Path(frame.filename).name}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
        if "site-packages" not in frame.filename and "/lib/python" not in frame.filename
    ]
    return places[-1]


def _kind(harm: str) -> str:
    """The harm without its message: type and place of the error."""
    return harm.split(":")[0] + harm.partition(":")[2].partition(":")[0]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzzing.harness",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=sorted(MAKERS),
        default=list(MAKERS),
        help="readers (default: all)",
    )
    parser.add_argument(
        "--count", type=int, default=10_000, help="inputs per reader (default: 10000)"
    )
    parser.add_argument("--seed", type=int, default=0, help="same seed, same inputs (default: 0)")
    parser.add_argument("--keep", type=Path, help="folder for the inputs that cause harm")
    options = parser.parse_args(argv)
    print("reader            inputs  refused   read  slowest   seconds  memory")
    kinds_of_harm = 0
    for name in options.only:
        outcome = fuzz(name, options.count, options.seed, options.keep)
        print(
            f"{name:<16}{outcome.tried:>8}{outcome.refused:>9}{outcome.read:>7}"
            f"{outcome.slowest:>7.2f} s{outcome.seconds:>8.0f} s{outcome.memory:>5} MiB",
            flush=True,
        )
        for harm, kept in outcome.harm.items():
            print(f"  {harm} ({kept})")
        kinds_of_harm += len(outcome.harm)
    print(f"kinds of harm: {kinds_of_harm}")
    return 1 if kinds_of_harm else 0


if __name__ == "__main__":
    sys.exit(main())
