"""The scripts in a terminal, in a pipe and on a bare machine: help, progress bars, letters,
colours."""

import fcntl
import importlib
import json
import os
import pty
import re
import resource
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
SUBCOMMANDS = (
    *("synthesize", "extract", "merge", "import", "compose"),
    *("resample", "split", "check"),
)
HELPS = ["train_teacher.py", "evaluate.py", "overfit_test.py", "prepare_data.py"]
HELPS += [f"prepare_data.py {command}" for command in SUBCOMMANDS]


def help_of(run_main, monkeypatch, command: str, columns: int) -> str:
    """The help of a script or of its subcommand in a terminal of that width."""
    monkeypatch.setenv("COLUMNS", str(columns))
    script, *subcommand = command.split()
    ended = run_main(importlib.import_module(Path(script).stem).main, *subcommand, "--help")
    assert ended.returncode == 0 and ended.stderr == ""
    return ended.stdout


def examples_in(shown: str) -> list[str]:
    """The commands in a help text, with folded lines joined as the shell joins them."""
    lines = re.sub(r" \\\n +", " ", shown).splitlines()
    return [line.strip() for line in lines if re.match(" {4}(RANK=|python )", line)]


# ---------------------------------------------------------------- help


@pytest.mark.parametrize("command", HELPS)
def test_help_is_quick_and_fits_into_80_columns_examples_first(run_script, command):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = run_script(*command.split(), "--help", env={**os.environ, "COLUMNS": "80"})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5
    assert ended.returncode == 0 and ended.stderr == ""
    shown = ended.stdout
    assert max(map(len, shown.splitlines())) <= 80
    assert shown.index("    python ") < shown.index("options:\n")
    usage = shown.split("\n\n")[0]
    assert len(usage.splitlines()) <= 2 and usage.endswith("[options]")


@pytest.mark.parametrize("command", HELPS)
def test_examples_are_commands_at_any_width(run_main, monkeypatch, command):
    """Folded lines give the same commands as unfolded ones."""
    whole = examples_in(help_of(run_main, monkeypatch, command, 10_000))
    assert whole != []
    for columns in (60, 80, 200):
        assert examples_in(help_of(run_main, monkeypatch, command, columns)) == whole


@pytest.mark.parametrize("command", HELPS[:3])
def test_each_option_has_help_and_a_default(run_main, monkeypatch, command):
    shown = help_of(run_main, monkeypatch, command, 100)
    entries = re.split(r"\n  (?=-)", shown.split("\noptions:\n")[1])
    assert len(entries) > 8
    for entry in entries[1:]:
        words = " ".join(entry.split())
        assert (
            "(default: " in words
            or words.startswith(("--checkpoint PATH", "--version"))
            or "--help" in words
        ), entry
    groups = re.findall(r"^([a-z].*):$", shown.split("\n\n", 1)[1], flags=re.MULTILINE)
    assert len([name for name in groups if name != "options"]) >= 2, "options are in groups"


# ---------------------------------------------------------------- output


def in_terminal(command: list[str], columns: int, **environment) -> str:
    """The output of a command in a terminal of that width, with escape sequences and carriage
    returns."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    options = {"TERM": "xterm-256color", **environment}
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=slave, stdout=slave, stderr=slave, env={**os.environ, **options}
    )
    os.close(slave)
    written = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # on Linux: the other end is closed
            break
        if not part:
            break
        written += part
    os.close(master)
    assert process.wait() == 0, written.decode()
    return written.decode("utf-8")


def test_the_progress_bar_has_loss_wer_and_time_in_80_columns_without_colour(tiny_yaml):
    options = ["--config", str(tiny_yaml), "--epochs", "2"]
    written = in_terminal(
        [sys.executable, "train_teacher.py", *options], 80, NO_COLOR="1", TQDM_MININTERVAL="0"
    )
    assert not re.search(r"\x1b\[[0-9;]*m", written)
    parts = re.split(r"[\r\n]+", written)
    bars = [part for part in parts if re.match(r"epoch +\d+/\d+ \|", part)]
    assert re.search(r"^epoch 1/2 \|████    \| 1/2 <00:\d\d, ETA 00:\d\d$", bars[2]), (
        bars
    )  # the loss is known one update later
    assert any(
        re.search(r"^epoch 1/2 \|████████\| 2/2 <00:00, loss \d+\.\d\d, ETA 00:\d\d$", bar)
        for bar in bars
    ), bars
    assert re.search(
        r"^epoch 2/2 \|████████\| 2/2 <00:00, loss \d+\.\d\d, WER \d+\.\d %, ETA 00:00$", bars[-1]
    ), bars
    assert max(map(len, bars)) <= 80


def test_a_line_is_written_as_soon_as_it_is_printed():
    code = (
        "import time; from errors import run_script; "
        "run_script(lambda: (print('first'), time.sleep(20))[1])"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    options = {"cwd": ROOT, "stdout": subprocess.PIPE, "text": True, "env": environment}
    with subprocess.Popen([sys.executable, "-c", code], **options) as process:
        started = time.monotonic()
        assert process.stdout.readline() == "first\n"
        assert time.monotonic() - started < 15, "the line arrives while the script still runs"
        process.kill()


def test_letters_that_the_locale_does_not_have_are_escaped():
    code = "from errors import run_script; run_script(lambda: print('Süden 天气') or 0)"
    environment = {
        **os.environ,
        "PYTHONIOENCODING": "latin-1",
        "PYTHONUTF8": "0",
        "LC_ALL": "C.UTF-8",
    }
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, env=environment
    )
    assert ended.returncode == 0 and ended.stdout == "Süden \\u5929\\u6c14\n".encode("latin-1")


def test_a_bare_machine(make_corpus, tiny_settings, tmp_path):
    """No terminal, no git, a home folder that cannot be written to, an ASCII locale, a path with a
    space and letters, glosses of any script."""
    base = tmp_path / "mein Ordner ü 天"
    base.mkdir()
    corpus = make_corpus(
        base / "korpus",
        {"train": ["SÜDEN 天气", "天气 $INDEX", "$INDEX SÜDEN"], "dev": ["天气 SÜDEN"]},
        name="Wetter 天气",
    )
    tiny_settings["training"] |= {
        "data_dir": str(corpus),
        "output_dir": str(base / "lauf"),
        "epochs": 1,
    }
    (base / "c.yaml").write_text(
        yaml.safe_dump(tiny_settings, allow_unicode=True), encoding="utf-8"
    )
    environment = {
        "PATH": str(tmp_path),
        "HOME": "/proc/none",
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "OMP_NUM_THREADS": "1",
    }
    for command in (
        ["train_teacher.py", "--config", str(base / "c.yaml")],
        ["evaluate.py", "--checkpoint", str(base / "lauf" / "best_model.pth"), "--device", "cpu"],
    ):
        ended = subprocess.run(
            [sys.executable, *command], cwd=ROOT, capture_output=True, env=environment, timeout=120
        )
        assert ended.returncode == 0, ended.stderr.decode()
        assert ended.stderr == b"" and b"\r" not in ended.stdout, "no progress bar in a pipe"
        assert "Wetter 天气" in ended.stdout.decode()
    (session,) = json.loads((base / "lauf" / "environment.json").read_text(encoding="utf-8"))[
        "sessions"
    ]
    assert session["git"]["reason"] == "git is not installed" and str(base) in session["command"]
    for page in ("lauf/report.html", "lauf/evaluation_dev_adaptive/report.html"):
        text = (base / page).read_text(encoding="utf-8")
        assert "SÜDEN" in text and "天气" in text and str(base / "korpus") in text
    assert yaml.safe_load((base / "lauf" / "config.yaml").read_text(encoding="utf-8"))["training"][
        "data_dir"
    ] == str(corpus)
