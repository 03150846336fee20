"""Small result files: JSON lines, and files that may fail without harm."""

import json
import math

from reports.result_files import json_line, try_to_write, write_json


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
