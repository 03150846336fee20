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
    """Lines such as 'extract: 120 of 7,000 recordings, 57 min left' on stderr, where it is no
    terminal."""

    def __init__(self, name: str, total: int, unit: str, visible: bool = True, done: int = 0):
        """name: of the work. total, unit: what is to be done, such as 7000 and 'recording'; a
        total of 0 is not known. visible: False prints nothing. done: units that were done
        before."""
        self._name, self._total, self._unit = name, total, unit
        self._visible = visible and not sys.stderr.isatty()
        self._before, self._started = done, time.monotonic()
        self._next = self._started + SECONDS_BETWEEN_LINES

    def tell(self, done: int, details: str = "") -> None:
        """Print a line, unless the last one, or the start, was less than a minute ago. details:
        what it says beside the count."""
        now = time.monotonic()
        if self._visible and now >= self._next:
            self._next = now + SECONDS_BETWEEN_LINES
            of = f" of {self._total:,}" if self._total else ""
            words = [f"{self._name}: {done:,}{of} {self._unit}s", *([details] if details else [])]
            if self._before < done < self._total:
                left = (now - self._started) / (done - self._before) * (self._total - done)
                words.append(f"{_duration(left)} left")
            print(", ".join(words), file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    """In the unit that fits, such as '4 min'."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


class ProgressBar:
    """A bar that counts units of work. It is closed at the end of a `with`.

    Args:
        name, total, unit, visible, done: as of `ProgressLines`.
        leave: the bar stays on the terminal when it is closed.
        form: of the bar, as of tqdm's `bar_format`.
    """

    def __init__(
        self,
        name: str,
        total: int,
        unit: str,
        visible: bool = True,
        leave: bool = True,
        done: int = 0,
        form: str | None = None,
    ):
        self._lines = ProgressLines(name, total, unit, visible, done)
        self._done = done
        self._bar = tqdm(
            desc=name,
            total=total or None,
            initial=done,
            unit=f" {unit}s",
            unit_scale=total >= 1_000_000,
            bar_format=form,
            leave=leave,
            dynamic_ncols=True,
            disable=None if visible else True,  # None: only on a terminal
        )

    def update(self, count: int = 1, status: str = "", details: str | None = None) -> None:
        """Count finished units.

        Args:
            count: how many.
            status: what the bar says beside the count.
            details: what a line says beside it; by default the same.
        """
        self._done += count
        if status:
            self._bar.set_postfix_str(status, refresh=count == 0)
        self._bar.update(count)
        self._lines.tell(self._done, status if details is None else details)

    def over(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items; each counts as one unit when the next one is asked for."""
        with self:
            for item in items:
                yield item
                self.update()

    def close(self) -> None:
        """Remove the bar, or leave it as it is; see `leave`."""
        self._bar.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
