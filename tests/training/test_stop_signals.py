"""The first signal waits for the end of the update, the second one ends the process at once."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

import train_teacher
from models.checkpoint import load_checkpoint
from training.stop_signals import InterruptedRunError, StopSignals


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_first_signal_is_recorded_and_the_second_acts(signum, capsys):
    acted = []
    previous = signal.signal(signum, lambda *_: acted.append(1))
    try:
        with StopSignals() as signals:
            assert signals.received is None
            signal.raise_signal(signum)
            assert signals.received == signum and not acted
            signal.raise_signal(signum)
            assert acted == [1]
        signal.raise_signal(signum)
        assert acted == [1, 1], "the earlier handler is restored"
    finally:
        signal.signal(signum, previous)
    assert "finishing this update, then saving" in capsys.readouterr().out
    assert InterruptedRunError(signum).exit_code == 128 + signum


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_is_ignored_at_the_start_stays_ignored(signum):
    """As in `python train_teacher.py &` in a shell script, where Ctrl-C in the terminal is not for
    the training. The other signal still stops it."""
    other = {signal.SIGTERM: signal.SIGINT, signal.SIGINT: signal.SIGTERM}[signum]
    previous = signal.signal(signum, signal.SIG_IGN)
    try:
        with StopSignals() as signals:
            signal.raise_signal(signum)
            assert signals.received is None
            signal.raise_signal(other)
            assert signals.received == other
            assert signal.getsignal(signum) == signal.SIG_IGN
    finally:
        signal.signal(signum, previous)


def test_a_second_signal_ends_the_process_at_once(make_settings, tmp_path):
    """The first SIGTERM waits for the update. The second one does not."""
    (tmp_path / "config.yaml").write_text(
        yaml.safe_dump(make_settings(tmp_path / "run", epochs=500, patience=500))
    )
    code = (
        "import sys, time, train_teacher, training.trainer as t\n"
        "update = t.Trainer.update\n"
        "def slow(self, batches):\n    print('updating', flush=True); time.sleep(60)\n"
        "t.Trainer.update = slow\n"
        "train_teacher.main(sys.argv[1:])"
    )
    root = Path(train_teacher.__file__).parent
    command = [sys.executable, "-c", code, "--config", str(tmp_path / "config.yaml")]
    process = subprocess.Popen(
        command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    while "updating" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert process.poll() is None, "it waits for the update"
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == -signal.SIGTERM, "before the update of 60 s ends"
    assert (
        load_checkpoint(tmp_path / "run" / "last.pth")["training"]["progress"]["gradient_norms"]
        == []
    )
