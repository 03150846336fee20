"""Rows of whole numbers, stored one after the other in one array.

A list of Python lists takes some hundred bytes for each row. These rows take four bytes for each
number, so that the predictions for 100,000 sentences stay small.
"""

from array import array
from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np


class Rows(Sequence[list[int]]):
    """A number of rows of int32 values, such as the class indices of each sentence.

    All rows are empty at first. `rows[index] = values` sets a row, in any order.
    """

    def __init__(self, count: int):
        self._values = array("i")
        self._starts = np.zeros(count, np.int64)
        self._lengths = np.zeros(count, np.int64)

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> list[int]:  # type: ignore[override]
        start = self._starts[index]
        return self._values[start : start + self._lengths[index]].tolist()

    def __setitem__(self, index: int, row: Iterable[int]) -> None:
        self._starts[index] = len(self._values)
        self._values.extend(row)
        self._lengths[index] = len(self._values) - self._starts[index]


class SpanRows(Sequence[list[tuple[int, int]]]):
    """Rows of (begin, end), such as first step and end step of each gloss of each sentence."""

    def __init__(self, count: int):
        self._rows = Rows(count)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> list[tuple[int, int]]:  # type: ignore[override]
        row = self._rows[index]
        return list(zip(row[::2], row[1::2], strict=True))

    def __setitem__(self, index: int, spans: Iterable[tuple[int, int]]) -> None:
        self._rows[index] = chain.from_iterable(spans)
