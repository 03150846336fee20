"""Rows of whole numbers: the same as lists, in less memory."""

import tracemalloc

import pytest

from decoding.rows import Rows, SpanRows


def test_rows_are_set_in_any_order_and_read_as_lists():
    rows = Rows(4)
    assert list(rows) == [[], [], [], []]
    rows[2] = [5, 70_000]
    rows[0] = iter([1])
    rows[2] = [6, 7, 8]
    rows[3] = []
    assert list(rows) == [[1], [], [6, 7, 8], []]
    assert len(rows) == 4 and rows[2] == [6, 7, 8] and rows[-2] == [6, 7, 8]
    assert [type(value) for value in rows[2]] == [int] * 3
    with pytest.raises(IndexError):
        rows[4]
    with pytest.raises(IndexError):
        rows[4] = [1]


def test_spans_are_pairs():
    rows = SpanRows(2)
    rows[1] = [(0, 2), (3, 4)]
    assert list(rows) == [[], [(0, 2), (3, 4)]]
    assert len(rows) == 2


def test_a_row_takes_four_bytes_a_number():
    tracemalloc.start()
    try:
        rows = Rows(10_000)
        for index in reversed(range(10_000)):
            rows[index] = [index] * 12
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # 48 bytes of numbers, 16 of start and length, and what the array has in reserve
    assert kept < 10_000 * 80
    assert rows[3] == [3] * 12
