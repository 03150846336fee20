"""SIGTERM, Ctrl-C and a terminal that is closed (SIGHUP) during training: the run stops once it can
write a checkpoint."""

import signal
import threading
from types import FrameType
from typing import Any

from tqdm import tqdm

_SIGNALS = [signal.SIGTERM, signal.SIGINT]
if hasattr(signal, "SIGHUP"):  # not on Windows
    _SIGNALS.append(signal.SIGHUP)


class InterruptedRunError(Exception):
    """The run was stopped by a signal; `last.pth` has all that is needed to continue it exactly."""

    def __init__(self, signum: int):
        super().__init__(signal.Signals(signum).name)
        self.exit_code = 128 + signum


class StopSignals:
    """Context that only records the first SIGTERM, SIGHUP or Ctrl-C. A second one stops the run at
    once.

    A signal that is ignored stays ignored. A shell script starts `command &` so that Ctrl-C in the
    terminal does not reach the command.

    insistent: ignore the later signals. Under torchrun a process can get the same signal twice:
    from the program that started the run, and from torchrun. After 30 seconds torchrun ends the
    processes itself.
    """

    def __init__(self, insistent: bool = False):
        self.received: int | None = None
        self._insistent = insistent
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            for signum in _SIGNALS:
                if signal.getsignal(signum) != signal.SIG_IGN:
                    self._previous[signum] = signal.signal(signum, self._note)
        return self

    def __exit__(self, *_) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)

    def _note(self, signum: int, _: FrameType | None) -> None:
        if self.received is not None:
            return
        self.received = signum
        advice = "" if self._insistent else " (a second time: stop at once)"
        tqdm.write(f"{signal.Signals(signum).name}: finishing this update, then saving{advice}")
        if not self._insistent:
            for each, handler in self._previous.items():
                signal.signal(each, handler)
