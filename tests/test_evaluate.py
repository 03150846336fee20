"""evaluate.py as a script: its files, its folders, its help and its errors."""

import json
import shutil
from pathlib import Path

import pytest

import evaluate

FILES = {
    "report.html",
    "result.json",
    "hypotheses.csv",
    "sentences.csv",
    "submission.csv",
    "hypotheses.ctm",
    "references.stm",
    "environment.json",
}


def run_evaluate(checkpoint: Path, output_dir: Path, *options) -> dict:
    """The content of result.json."""
    argv = ["--checkpoint", checkpoint, "--output_dir", output_dir, "--device", "cpu", *options]
    assert evaluate.main([str(word) for word in argv]) == 0
    return json.loads((output_dir / "result.json").read_text())


def test_greedy_gives_the_runs_own_rate_and_all_files(finished_run, tmp_path, capsys):
    result = run_evaluate(finished_run / "best_model.pth", tmp_path / "out", "--decoder", "greedy")
    of_run = json.loads((finished_run / "result.json").read_text())
    assert result["wer"] == pytest.approx(of_run["greedy_dev_wer"])
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    assert (tmp_path / "out" / "hypotheses.csv").read_text() == (
        finished_run / "dev_hypotheses.csv"
    ).read_text()
    assert (result["split"], result["decoder"], result["scoring"], result["sentences"]) == (
        "dev",
        "greedy",
        "plain",
        4,
    )
    assert result["by_signer"] == {
        "anna": {key: result[key] for key in result["by_signer"]["anna"]}
    }
    low, high = result["wer_interval"]
    assert low <= result["wer"] <= high
    out = capsys.readouterr().out
    assert "decoder: greedy" in out and f"WER {result['wer']:.2f} %" in out


def test_evaluations_do_not_overwrite_each_other(finished_run, tmp_path):
    best = Path(shutil.copy(finished_run / "best_model.pth", tmp_path))
    base = ["--checkpoint", str(best), "--device", "cpu", "--decoder", "beam"]
    for extra in ([], ["--lm", "none"], ["--lm", "train"], ["--scoring", "phoenix2014"]):
        assert evaluate.main([*base, *extra]) == 0
    suffixes = ("", "_lm_none", "_lm_train", "_phoenix2014")
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {
        f"evaluation_dev_beam{s}" for s in suffixes
    }


def test_each_corpus_has_an_evaluation_of_its_own(
    finished_run, make_corpus, tiny_corpus, run_main, tmp_path
):
    """Of other corpora the folder has the name; two of one name need --output_dir."""
    best = Path(shutil.copy(finished_run / "best_model.pth", tmp_path))
    moved = shutil.copytree(tiny_corpus, tmp_path / "moved")
    theirs = make_corpus(tmp_path / "theirs", {"dev": ["SUN RAIN"]}, name="theirs ../1")
    again = make_corpus(tmp_path / "again", {"dev": ["SUN WIND"]}, name="theirs ../1")
    words = ("--checkpoint", best, "--device", "cpu", "--decoder", "greedy", "--data_dir")
    for corpus, folder in ((moved, "dev_greedy"), (theirs, "theirs_.._1_dev_greedy")):
        assert run_main(evaluate.main, *words, corpus).returncode == 0
        result = json.loads((tmp_path / f"evaluation_{folder}" / "result.json").read_text())
        assert result["corpus_path"] == str(corpus)
    for corpus in (moved, again):
        refused = run_main(evaluate.main, *words, corpus)
        assert refused.returncode == 2 and "already exists (and 7 more)" in refused.stderr
    assert {path.name for path in tmp_path.glob("evaluation*")} == {
        "evaluation_dev_greedy",
        "evaluation_theirs_.._1_dev_greedy",
    }


def test_an_output_folder_that_is_a_file_is_found_before_the_work(
    finished_run, run_main, tmp_path, monkeypatch
):
    (tmp_path / "file").write_text("mine")
    monkeypatch.setattr("inference.model_on_corpus.split_posteriors", None)
    words = ("--checkpoint", finished_run / "best_model.pth", "--device", "cpu", "--output_dir")
    for folder in (tmp_path / "file", tmp_path / "file" / "inside"):
        refused = run_main(evaluate.main, *words, folder)
        assert refused.returncode == 3 and "file is not a folder" in refused.stderr
    assert (tmp_path / "file").read_text() == "mine"


def test_an_earlier_evaluation_is_replaced_only_with_overwrite(finished_run, run_main, tmp_path):
    best, folder = finished_run / "best_model.pth", tmp_path / "evaluation"
    run_evaluate(best, folder, "--decoder", "beam")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    words = ("--checkpoint", best, "--output_dir", folder, "--device", "cpu")
    refused = run_main(evaluate.main, *words, "--decoder", "greedy")
    assert refused.returncode == 2 and refused.stdout == ""
    assert f"{folder / 'hypotheses.csv'} already exists (and 7 more)" in refused.stderr
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    result = run_evaluate(best, folder, "--decoder", "greedy", "--overwrite")
    assert result["decoder"] == "greedy"


def test_an_evaluation_replaces_none_of_its_inputs(finished_run, run_main, tmp_path):
    """Its baseline, also through a link, its language model and its list of sentences."""
    best, folder = finished_run / "best_model.pth", tmp_path / "first"
    run_evaluate(best, folder, "--decoder", "greedy")
    (tmp_path / "link").symlink_to(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    cases = (
        ("hypotheses.csv", "--compare_with", folder),
        ("hypotheses.csv", "--compare_with", tmp_path / "link"),
        ("submission.csv", "--decoder", "closed", "--closed_set", folder / "submission.csv"),
        ("references.stm", "--decoder", "beam", "--lm", tmp_path / "link" / "references.stm"),
    )
    for name, *words in cases:
        for overwrite in ([], ["--overwrite"]):
            options = ("--checkpoint", best, "--output_dir", folder, *words, *overwrite)
            ended = run_main(evaluate.main, *options)
            assert ended.returncode == 2 and ended.stderr.count("\n") == 1, ended.stderr
            assert f"{folder / name} would replace the input " in ended.stderr
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("name", ["best_model.pth", "last.pth"])
def test_the_run_folder_of_a_training_keeps_its_files(name, finished_run, run_main, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    for file in (name, "report.html", "result.json", "environment.json"):
        shutil.copy(finished_run / file, run)
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    for overwrite in ([], ["--overwrite"]):
        words = ("--checkpoint", run / name, "--output_dir", run, *overwrite)
        ended = run_main(evaluate.main, *words)
        assert ended.returncode == 2
        assert f"{run} is the run folder of a training (it has {name})" in ended.stderr
        assert "--overwrite" not in ended.stderr
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_errors_are_one_line(run_script, run_main, finished_run, tmp_path):
    best = finished_run / "best_model.pth"
    cases = [
        (("--checkpoint", tmp_path / "none.pth"), 3, "none.pth does not exist"),
        (("--checkpoint", best, "--split", "test"), 3, "test"),
        (
            ("--checkpoint", best, "--decoder", "beam", "--lm", tmp_path / "x.arpa"),
            3,
            "cannot be read",
        ),
        (("--checkpoint", best, "--decoder", "greedy", "--lm", "train"), 2, "no effect"),
        (("--checkpoint", best, "--decoder", "viterbi"), 2, "invalid choice: 'viterbi'"),
        ((), 2, "--checkpoint"),
    ]
    first = run_script("evaluate.py", "--device", "cpu", *cases[0][0])  # the script as a process
    others = [run_main(evaluate.main, "--device", "cpu", *options) for options, *_ in cases[1:]]
    for ended, (_, code, message) in zip([first, *others], cases, strict=True):
        assert ended.returncode == code and message in ended.stderr, ended.stderr
        assert ended.stderr.count("\n") == 1 and ended.stderr.startswith("error: ")


def test_help_is_quick_and_needs_no_torch(run_script):
    code = (
        "import sys, evaluate\n"
        "try: evaluate.main(['--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(bool({'torch', 'numpy'} & set(sys.modules)))"
    )
    assert run_script("-c", code).returncode == 0
