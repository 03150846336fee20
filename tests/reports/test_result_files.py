"""Small result files: JSON lines, and files that may fail without harm."""

import json
import math
import os
from pathlib import Path

import pytest

from errors import DataError, UsageError
from reports.result_files import check_output_files, json_line, try_to_write, write_json


def test_a_json_line_has_null_for_nan_and_infinity():
    line = json_line({"epoch": 1, "dev_loss": float("nan"), "norm": float("inf"), "wer": 2.5})
    assert line.endswith("}\n")
    assert json.loads(line) == {"epoch": 1, "dev_loss": None, "norm": None, "wer": 2.5}


def test_values_that_are_not_finite_are_null_also_in_lists_and_groups(tmp_path):
    content = {"events": [{"loss": math.nan, "group": 3}], "interval": (0.5, -math.inf)}
    expected = {"events": [{"loss": None, "group": 3}], "interval": [0.5, None]}
    write_json(tmp_path / "result.json", content)
    for text in (json_line(content), (tmp_path / "result.json").read_text()):
        assert json.loads(text) == expected


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
    check_output_files([absent], overwrite=False)
    with pytest.raises(UsageError) as error:
        check_output_files([absent, one, two], overwrite=False)
    assert str(error.value) == (
        f"{one} already exists (and 1 more): choose another place, or give --overwrite to replace "
        "it"
    )
    check_output_files([one, two], overwrite=True)


def test_a_link_is_a_file_that_exists_also_if_it_leads_nowhere(tmp_path):
    """A disk that is not mounted now: the link belongs to the user."""
    (tmp_path / "link").symlink_to(tmp_path / "gone" / "x.txt")
    with pytest.raises(UsageError, match="link already exists"):
        check_output_files([tmp_path / "link"], overwrite=False)
    check_output_files([tmp_path / "link"], overwrite=True)
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    with pytest.raises(UsageError, match="circle already exists"):
        check_output_files([tmp_path / "circle"], overwrite=False)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_in_the_place_of_a_folder_and_the_other_way_round(tmp_path, overwrite):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is a folder: expected the name of a file"):
        check_output_files([tmp_path], overwrite)
    with pytest.raises(DataError, match=r"cannot write .*file/x: .*file is not a folder"):
        check_output_files([tmp_path / "file" / "x"], overwrite)


def test_a_device_is_no_file_to_replace():
    check_output_files([Path(os.devnull)], overwrite=False)
