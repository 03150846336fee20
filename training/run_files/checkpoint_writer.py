"""Writing checkpoints in the background, while training continues.

A checkpoint of the full-size teacher has 0.6 GB. Writing, hashing and reading it back takes
seconds, about the time of an epoch on a GPU.
"""

import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from torch import Tensor

from errors import DataError
from models.checkpoint import BEST, LAST, PREVIOUS, copy_checkpoint, save_checkpoint


class CheckpointWriter:
    """Writes last.pth, and best_model.pth for the best model, one after the other.

    If a write fails, the next call raises DataError. The end of a `with` block waits for all
    writes. If a write fails while another error is being raised, the failure is only printed.
    """

    def __init__(self) -> None:
        self._pending: Future | None = None

    def write(self, folder: Path, content: dict[str, Any], best: bool = False) -> None:
        """Start to write `content` (see `save_checkpoint`), once the one before is written.

        The caller may change `content` after this returns: a copy is written. Raises DataError when
        the checkpoint before could not be written.
        """
        self.wait()
        thread = ThreadPoolExecutor(1, "checkpoint")
        self._pending = thread.submit(_write, folder, snapshot(content), best)
        thread.shutdown(wait=False)

    def wait(self) -> None:
        """Wait until all is written. Raises DataError when that failed."""
        if self._pending is not None:
            try:
                self._pending.result()
            finally:
                if self._pending.done():  # Ctrl-C may end the waiting but not the writing
                    self._pending = None

    def check(self) -> None:
        """Raise DataError when a write has failed already. Does not wait."""
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
    """A deep copy of tensors and plain values; the copied tensors are on the CPU."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: snapshot(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(snapshot(inner) for inner in value)
    return value
