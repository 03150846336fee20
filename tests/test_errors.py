"""Errors become one line and an exit code."""

import pytest

from errors import MAX_MESSAGE, DataError, run_script


def test_no_message_breaks_its_line_or_reaches_the_terminal():
    assert str(DataError("a\nb\x1b[2J\u2028ü")) == "a\\nb\\x1b[2J\\u2028ü"
    assert len(str(DataError("x" * 100_000))) == MAX_MESSAGE + 1


def test_an_error_of_the_operating_system_is_one_line_and_exit_code_3(capsys):
    def main() -> int:
        raise PermissionError(13, "Permission denied", "/some/file")

    with pytest.raises(SystemExit) as ended:
        run_script(main)
    assert ended.value.code == 3
    assert capsys.readouterr().err == "error: [Errno 13] Permission denied: '/some/file'\n"
