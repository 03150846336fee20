"""SIGTERM and Ctrl-C while a run trains: noted, and obeyed once what is under way can be saved."""

import signal
import threading
from types import FrameType

from tqdm import tqdm


class InterruptedRunError(Exception):
    """The run was stopped by a signal; `last.pth` holds all that is needed to go on exactly where
    it was."""

    def __init__(self, signum: int):
        super().__init__(signal.Signals(signum).name)
        self.exit_code = 128 + signum


class StopSignals:
    """While entered, the first SIGTERM or Ctrl-C is noted and the second one acts at once.

    insistent: so does no other one. Whoever starts several processes may signal them besides
    torchrun, which passes on what it gets and ends the processes by itself after 30 seconds.
    """

    def __init__(self, insistent: bool = False):
        self.received: int | None = None
        self._insistent = insistent
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGTERM, signal.SIGINT):
                self._previous[signum] = signal.signal(signum, self._note)
        return self

    def __exit__(self, *_) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)

    def _note(self, signum: int, _: FrameType | None) -> None:
        if self.received is not None:
            return
        self.received = signum
        advice = "" if self._insistent else " (once more to leave at once)"
        tqdm.write(f"{signal.Signals(signum).name}: finishing this update, then saving{advice}")
        if not self._insistent:
            for each, handler in self._previous.items():
                signal.signal(each, handler)
