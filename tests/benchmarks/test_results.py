"""The figures in the file of --json, and the last line of a benchmark."""

import os

import pytest

from benchmarks.results import add_json_option, figure_name, finish
from command_line import Parser


def options(*words: object):
    parser = Parser(prog="mine.py")
    add_json_option(parser)
    return parser.parse_args(list(map(str, words)))


def test_the_file_is_complete_and_the_headline_is_the_last_line(tmp_path, capsys, read_figures):
    path = tmp_path / "figures.json"
    path.write_text("an earlier one")
    finish(options("--json", path), {"wer": 12.345, "count": 7, "none": float("nan")}, "wer")
    assert capsys.readouterr().out == "wer: 12.35\n"
    assert read_figures(path, "mine") == {"wer": 12.345, "count": 7, "none": None}
    assert os.listdir(tmp_path) == ["figures.json"]
    for value, text in (
        (7, "7"),
        (1432.0, "1432"),
        (0.00474, "0.00474"),
        (float("nan"), "nan"),
        (-2.5, "-2.50"),
    ):
        finish(options(), {"x": value}, "x")
        assert capsys.readouterr().out == f"x: {text}\n"


def test_a_file_that_cannot_be_written_is_refused_at_the_start(tmp_path, capsys):
    for path in (tmp_path, tmp_path / "nowhere" / "figures.json"):
        with pytest.raises(SystemExit) as ended:
            options("--json", path)
        assert ended.value.code == 2 and "--json: cannot be written to" in capsys.readouterr().err


def test_names_of_figures():
    assert figure_name("default recipe", "dev, seen") == "default_recipe_dev_seen"
