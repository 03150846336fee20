"""Small result files: JSON lines, and files that may fail without harm."""

import json
import os
from pathlib import Path

import pytest

from errors import UsageError
from reports.result_files import json_line, refuse_existing, try_to_write


def test_a_json_line_has_null_for_nan_and_infinity():
    line = json_line({"epoch": 1, "dev_loss": float("nan"), "norm": float("inf"), "wer": 2.5})
    assert line.endswith("}\n")
    assert json.loads(line) == {"epoch": 1, "dev_loss": None, "norm": None, "wer": 2.5}


def test_a_file_that_cannot_be_written_gives_a_warning_and_leaves_no_older_file(tmp_path, capsys):
    path = tmp_path / "report.html"
    path.write_text("an older report")

    def fail(path):
        raise RuntimeError("first line\nsecond line")

    assert not try_to_write(path, fail)
    assert capsys.readouterr().err == (
        f"warning: {path} was not written (RuntimeError: first line second line). "
        "The results beside it are complete.\n"
    )
    assert not path.exists()
    assert try_to_write(path, lambda path: path.touch()) and path.exists()


def test_files_that_exist_are_refused_by_name_unless_the_user_allows_to_replace_them(tmp_path):
    one, two, absent = (tmp_path / name for name in ("one", "two", "absent"))
    one.touch()
    two.touch()
    refuse_existing([absent, tmp_path], overwrite=False)  # a folder is no file to replace
    with pytest.raises(UsageError) as error:
        refuse_existing([absent, one, two], overwrite=False)
    assert str(error.value) == (
        f"{one} already exists (and 1 more): choose another place, or give --overwrite to replace "
        "it"
    )
    refuse_existing([one, two], overwrite=True)


def test_a_device_is_no_file_to_replace():
    refuse_existing([Path(os.devnull)], overwrite=False)
