"""Checkpoints written while training goes on: the full-size teacher's has 0.6 GB and takes seconds
to be written, hashed and read back, about as long as a GPU takes for an epoch."""

import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from torch import Tensor

from errors import DataError
from models.checkpoint import BEST, LAST, PREVIOUS, copy_checkpoint, save_checkpoint


class CheckpointWriter:
    """Writes last.pth of a run's folder, and best_model.pth where it is the best: one at a time, in
    the order given.

    What could not be written is raised by the next call that can know it, as DataError. At the end
    of a `with` all is written; where that fails while another error is on its way, it is said.
    """

    def __init__(self) -> None:
        self._pending: Future | None = None

    def write(self, folder: Path, content: dict[str, Any], best: bool = False) -> None:
        """Begin to write `content` (see `save_checkpoint`) once the one before is written. It may
        change as soon as this returns. Raises DataError when the one before could not be written.
        """
        self.wait()
        thread = ThreadPoolExecutor(1, "checkpoint")
        self._pending = thread.submit(_write, folder, snapshot(content), best)
        thread.shutdown(wait=False)

    def wait(self) -> None:
        """Until all is written. Raises DataError when it could not be."""
        if self._pending is not None:
            try:
                self._pending.result()
            finally:
                if self._pending.done():  # Ctrl-C may have ended the waiting alone
                    self._pending = None

    def check(self) -> None:
        """Raise DataError when it is known already that something could not be written. Waits for
        nothing."""
        if self._pending is not None and self._pending.done():
            self.wait()

    def __enter__(self) -> "CheckpointWriter":
        return self

    def __exit__(self, kind: type | None, *_) -> None:
        try:
            self.wait()
        except DataError as error:
            if kind is None:
                raise
            print(f"error: {error}", file=sys.stderr)


def _write(folder: Path, content: dict[str, Any], best: bool) -> None:
    save_checkpoint(folder / LAST, content, previous=folder / PREVIOUS)
    if best:
        copy_checkpoint(folder / LAST, folder / BEST)


def snapshot(value: Any) -> Any:
    """A copy of tensors and plain values that shares nothing with them; its tensors are on the CPU."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: snapshot(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(snapshot(inner) for inner in value)
    return value
