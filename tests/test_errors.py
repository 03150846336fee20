"""Errors become one line and an exit code."""

from errors import MAX_MESSAGE, DataError


def test_no_message_breaks_its_line_or_reaches_the_terminal():
    assert str(DataError("a\nb\x1b[2J\u2028ü")) == "a\\nb\\x1b[2J\\u2028ü"
    assert len(str(DataError("x" * 100_000))) == MAX_MESSAGE + 1
