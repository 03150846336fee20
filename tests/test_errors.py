"""Errors become one line and an exit code."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from errors import MAX_MESSAGE, DataError, run_script, screen_may_vanish, shown_names


def test_no_message_breaks_its_line_or_reaches_the_terminal():
    assert str(DataError("a\nb\x1b[2J\u2028ü")) == "a\\nb\\x1b[2J\\u2028ü"
    assert len(str(DataError("x" * 100_000))) == MAX_MESSAGE + 1


def test_an_error_of_the_operating_system_is_one_line_and_exit_code_3(capsys):
    def main() -> int:
        raise PermissionError(13, "Permission denied", "/some/file")

    with pytest.raises(SystemExit) as ended:
        run_script(main)
    assert ended.value.code == 3
    assert capsys.readouterr().err == "error: [Errno 13] Permission denied: '/some/file'\n"


def test_work_goes_on_when_the_reader_of_its_screen_has_gone(monkeypatch):
    reader, writer = os.pipe()
    with open(writer, "w", buffering=1, encoding="utf-8") as screen:
        monkeypatch.setattr(sys, "stdout", screen)
        with screen_may_vanish():
            print("seen")
            assert os.read(reader, 100) == b"seen\n" and not sys.stdout.isatty()
            os.close(reader)
            for _ in range(3):
                print("unseen", flush=True)
        assert sys.stdout is screen


@pytest.mark.parametrize("to_its_end", [True, False])
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_a_stream_that_is_closed_is_the_null_device(tmp_path, closed, to_its_end):
    """Also of a child process. A file that is opened later gets none of their numbers."""
    code = f"""
import subprocess, sys
from errors import UsageError, run_script
def main():
    print("out", flush=True)
    print("err", file=sys.stderr, flush=True)
    with open("{tmp_path}/file", "w") as file:
        file.write(str(file.fileno() > 2) + sys.stdin.read())
    child = "import sys; print(1); sys.stderr.write('1')"
    subprocess.run([sys.executable, "-c", child], check=True)
    raise UsageError("wrong")
run_script(main, {to_its_end})
"""
    ended = subprocess.run(
        ["sh", "-c", f'"$0" -c "$1" {closed}', sys.executable, code],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        cwd=Path(__file__).parent.parent,
    )
    assert ended.returncode == 2, ended.stderr
    assert ended.stdout == ("" if closed in (">&-", "<&- >&- 2>&-") else "out\n1\n")
    assert ended.stderr == ("" if "2>&-" in closed else "err\n1error: wrong\n")
    assert (tmp_path / "file").read_text() == "True"


def test_other_errors_of_a_screen_are_not_hidden(monkeypatch):
    class FullDisk:
        def write(self, _):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stdout", FullDisk())
    with screen_may_vanish(), pytest.raises(OSError, match="No space left"):
        print("x")


@pytest.mark.parametrize("to_its_end", [True, False])
def test_the_exit_code_without_a_reader(monkeypatch, to_its_end):
    """Of a check, such as overfit_test.py, it says how the check ended."""
    reader, writer = os.pipe()
    os.close(reader)
    done = []

    def main() -> int:
        print("x")
        done.append(True)
        return 1

    with open(writer, "w", buffering=1, encoding="utf-8") as screen:
        monkeypatch.setattr(sys, "stdout", screen)
        with pytest.raises(SystemExit) as ended:
            run_script(main, to_its_end)
    assert (ended.value.code, bool(done)) == ((1, True) if to_its_end else (0, False))


@pytest.mark.parametrize("name, code", [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 130)])
def test_a_signal_undoes_the_work_and_is_named(name, code, capsys):
    undone = []

    def work() -> int:
        try:
            signal.raise_signal(getattr(signal, name))
            return 0
        finally:
            undone.append(True)

    before = signal.getsignal(getattr(signal, name))
    with pytest.raises(SystemExit) as end:
        run_script(work)
    assert end.value.code == code and undone
    assert capsys.readouterr().err == ("stopped\n" if code == 130 else f"stopped by {name}\n")
    assert signal.getsignal(getattr(signal, name)) == before


def test_a_second_signal_does_not_break_off_what_the_first_one_undoes(capsys):
    undone = []

    def work() -> int:
        try:
            signal.raise_signal(signal.SIGTERM)
            return 0
        finally:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGHUP)
            undone.append(True)

    with pytest.raises(SystemExit) as end:
        run_script(work)
    assert end.value.code == 143 and undone
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_signal_that_is_ignored_stays_ignored():
    """As SIGHUP is under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with pytest.raises(SystemExit) as end:
            run_script(lambda: signal.raise_signal(signal.SIGHUP) or 0)
        assert end.value.code == 0
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_first_names_are_shown_and_the_others_counted():
    assert shown_names(["a", "b"], 2) == "a, b"
    assert shown_names(iter(["a\n", "b", "c", "d"]), 2) == "a\\n, b and 2 more"
    assert shown_names([]) == ""
