"""The progress of long work: a bar on a terminal; elsewhere, as under nohup or Slurm, now and then
a line."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Self, TypeVar

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 60.0  # shorter work has no line

Item = TypeVar("Item")


class ProgressLines:
    """Lines such as 'extract: 120 of 7,000 recordings' on stderr, where it is no terminal."""

    def __init__(self, name: str, total: int, unit: str, visible: bool = True):
        """name: of the work. total, unit: what is to be done, such as 7000 and 'recording'.
        visible: False prints nothing."""
        self._name, self._total, self._unit = name, total, unit
        self._visible = visible and not sys.stderr.isatty()
        self._next = time.monotonic() + SECONDS_BETWEEN_LINES

    def tell(self, done: int) -> None:
        """Print a line, unless the last one, or the start, was less than a minute ago."""
        now = time.monotonic()
        if self._visible and now >= self._next:
            self._next = now + SECONDS_BETWEEN_LINES
            text = f"{self._name}: {done:,} of {self._total:,} {self._unit}s"
            print(text, file=sys.stderr, flush=True)


class ProgressBar:
    """A bar that counts units of work. It is closed at the end of a `with`.

    Args:
        name, total, unit, visible: as of `ProgressLines`.
        leave: the bar stays on the terminal when it is closed.
    """

    def __init__(self, name: str, total: int, unit: str, visible: bool = True, leave: bool = True):
        self._lines = ProgressLines(name, total, unit, visible)
        self._done = 0
        self._bar = tqdm(
            desc=name,
            total=total,
            unit=f" {unit}s",
            unit_scale=total >= 1_000_000,
            leave=leave,
            disable=None if visible else True,  # None: only on a terminal
        )

    def update(self, count: int = 1) -> None:
        """Count finished units."""
        self._done += count
        self._bar.update(count)
        self._lines.tell(self._done)

    def over(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items; each counts as one unit when the next one is asked for."""
        with self:
            for item in items:
                yield item
                self.update()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
