"""The comparison of two checkouts finds every difference, and nothing else."""

import json
import sys

import pytest

from benchmarks import same_figures
from errors import DataError, UsageError

FIGURES = {
    "train": [{"epoch": 1, "train_loss": 14.918812616666157}, {"epoch": 2, "train_loss": 8.25}],
    "overfit": [["5", "8.7459", "85.2", "0.0", "43.383"]],
    "evaluate": {"greedy": {"wer": 12.5, "hypotheses": ["id|hypothesis", "dev-00|RAIN SUN"]}},
}


def written(path, figures):
    path.write_text(json.dumps(figures), encoding="utf-8")
    return str(path)


def compare(tmp_path, after) -> int:
    files = written(tmp_path / "a.json", FIGURES), written(tmp_path / "b.json", after)
    return same_figures.main(["--compare", *files])


def test_equal_figures_from_the_command_to_the_last_line(tmp_path, run_script, read_figures):
    files = [written(tmp_path / name, FIGURES) for name in ("a.json", "b.json")]
    json_file = tmp_path / "figures.json"
    words = ("--compare", *files, "--json", json_file)
    ended = run_script("benchmarks/same_figures.py", *words)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == ["the same to the last digit", "differences: 0"]
    assert read_figures(json_file, "same_figures") == {"figures": 12, "differences": 0}


def test_a_difference_in_the_last_digit_is_named(tmp_path, capsys):
    after = json.loads(json.dumps(FIGURES))
    after["train"][0]["train_loss"] = 14.918812616666159
    after["evaluate"]["greedy"]["hypotheses"][1] = "dev-00|RAIN"
    assert compare(tmp_path, after) == 1
    assert capsys.readouterr().out.splitlines() == [
        "train.0.train_loss: 14.918812616666157 before, 14.918812616666159 after",
        "evaluate.greedy.hypotheses.1: 'dev-00|RAIN SUN' before, 'dev-00|RAIN' after",
        "differences: 2",
    ]


def test_missing_and_additional_figures_are_differences(tmp_path, capsys):
    after = {**FIGURES, "train": FIGURES["train"][:1], "new": 1}
    assert compare(tmp_path, after) == 1
    printed = capsys.readouterr().out
    assert "train.1: {'epoch': 2, 'train_loss': 8.25} before, missing after" in printed
    assert "new: missing before, 1 after" in printed


def test_two_figures_that_are_not_numbers_are_equal():
    nan = float("nan")
    assert same_figures.differences({"wer": nan}, {"wer": nan}) == []
    assert same_figures.differences({"wer": nan}, {"wer": 1.0}) == ["wer: nan before, 1.0 after"]


def test_only_the_rows_of_the_curve_are_taken():
    lines = {
        "    5      8.7459    85.2       0.0          43.383       1.7": True,
        "epoch        loss   WER %   blank %   gradient norm   seconds": False,
        "teacher: 46.9 M parameters": False,
        "5 3": False,
        "": False,
    }
    for line, expected in lines.items():
        assert same_figures.is_curve_row(line.split()) == expected


def test_a_checkout_that_fails_is_named(tmp_path):
    (tmp_path / "evaluate.py").write_text("raise SystemExit('no checkpoint')")
    checkout = same_figures.Checkout(tmp_path, sys.executable)
    with pytest.raises(DataError, match=r"evaluate\.py ended with exit code 1: no checkpoint"):
        checkout.run("evaluate.py")
    assert checkout.run("evaluate.py", allowed=(0, 1)) == ""


def test_it_needs_exactly_one_thing_to_do(tmp_path):
    for words in ([], ["--output", "a", "--compare", "b", "c"]):
        with pytest.raises(UsageError, match="give either --output FILE or --compare A B"):
            same_figures.main(words)
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(DataError, match=r"broken\.json cannot be read"):
        same_figures.main(["--compare", *[str(tmp_path / "broken.json")] * 2])
