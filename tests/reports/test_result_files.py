"""Small result files: JSON lines, and files that may fail without harm."""

import json

from reports.result_files import json_line, try_to_write


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
