"""`evaluate.py --compare_with`: another evaluation of the same sentences, or none."""

import json

import pytest

import evaluate
from errors import UsageError


def test_two_evaluations_compared(run_evaluate, adaptive_run, finished_run, tmp_path, capsys):
    run_evaluate(finished_run / "best_model.pth", tmp_path / "weak", "--decoder", "greedy")
    options = ("--decoder", "greedy", "--compare_with")
    against_itself = run_evaluate(
        finished_run / "best_model.pth", tmp_path / "same", *options, tmp_path / "weak"
    )
    assert against_itself["compared_with"]["p_value"] == 1.0
    result = run_evaluate(
        adaptive_run / "best_model.pth", tmp_path / "strong", *options, tmp_path / "weak"
    )
    assert (
        0 < result["compared_with"]["p_value"] <= 1
        and result["compared_with"]["wer"] == against_itself["wer"]
    )
    assert "p = " in capsys.readouterr().out
    with pytest.raises(UsageError, match=r"is no evaluation: expected one of .*same, .*weak"):
        run_evaluate(finished_run / "best_model.pth", tmp_path / "x", *options, tmp_path)
    with pytest.raises(UsageError, match="not an evaluation of the same sentences"):
        run_evaluate(
            finished_run / "best_model.pth",
            tmp_path / "x",
            *options,
            tmp_path / "weak",
            "--split",
            "train",
        )
    with pytest.raises(UsageError, match=r"there cannot be read: .*: expected a folder that eval"):
        run_evaluate(
            finished_run / "best_model.pth", tmp_path / "x", *options, tmp_path / "nowhere"
        )


def test_other_scoring_is_not_compared_and_another_decoder_is_named(
    run_evaluate, run_main, adaptive_run, tmp_path, capsys
):
    best = adaptive_run / "best_model.pth"
    cleaned = ("--decoder", "closed", "--scoring", "phoenix2014")
    run_evaluate(best, tmp_path / "closed", *cleaned)
    compare = ("--decoder", "greedy", "--compare_with", tmp_path / "closed")
    words = ("--checkpoint", best, "--device", "cpu", "--output_dir", tmp_path / "x", *compare)
    refused = run_main(evaluate.main, *words)
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1
    assert "is an evaluation with --scoring phoenix2014, this one has --scoring plain" in (
        refused.stderr
    )

    path = tmp_path / "closed" / "result.json"
    facts = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(facts | {"scoring": "plain"}), "utf-8")
    compared = run_evaluate(best, tmp_path / "a", *compare)["compared_with"]
    names = ("decoder", "decoder_settings")
    assert compared["scoring"] == "plain" and compared["decoder"] == "closed"
    assert all(compared[name] == facts[name] for name in names)
    printed = capsys.readouterr().out
    assert f"({facts['decoder']} decoder, closed-set WER {compared['wer']:.2f} %" in printed
    assert "note: --compare_with" not in printed

    path.unlink()
    earlier = run_evaluate(best, tmp_path / "b", *compare)["compared_with"]
    assert [earlier[name] for name in (*names, "scoring")] == [None] * 3
    note = "there is no result.json with decoder, decoder_settings, scoring: make sure"
    assert note in capsys.readouterr().out
    path.write_text("[", "utf-8")
    with pytest.raises(UsageError, match=r"result\.json is damaged: evaluate again"):
        run_evaluate(best, tmp_path / "c", *compare)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text + "more|anna|SUN|SUN\n", "is not an evaluation of the same sentences"),
        (lambda text: text.replace("dev-02", "dev-99"), "is not an evaluation of the same"),
        (lambda text: text.replace("id|", "name|"), "is not an evaluation of the same sentences"),
        (lambda text: text[: text.rindex("|")], "is damaged: line 5 has other columns than the"),
        (lambda text: text.rstrip() + "|SUN\n", "is damaged: line 5 has other columns than the"),
        (lambda text: text[:-1] + " SUN" * 40_000, "is damaged: field larger than field limit"),
        (lambda text: text + text.splitlines()[-1], "has the sentence dev-03 twice"),
        (lambda text: text.encode("utf-16"), "is not an evaluation of the same sentences"),
    ],
    ids=["more", "others", "header", "cut", "longer", "huge", "twice", "encoding"],
)
def test_hypotheses_that_cannot_be_compared_are_one_line(
    run_evaluate, run_main, finished_run, tmp_path, change, message
):
    best = finished_run / "best_model.pth"
    run_evaluate(best, tmp_path / "first", "--decoder", "greedy")
    path = tmp_path / "first" / "hypotheses.csv"
    changed = change(path.read_text(encoding="utf-8"))
    path.write_bytes(changed if isinstance(changed, bytes) else changed.encode())
    words = ("--checkpoint", best, "--device", "cpu", "--decoder", "greedy")
    words += ("--output_dir", tmp_path / "second", "--compare_with", tmp_path / "first")
    ended = run_main(evaluate.main, *words)
    assert ended.returncode == 2 and ended.stderr.count("\n") == 1
    assert f"--compare_with {tmp_path / 'first'}: hypotheses.csv {message}" in ended.stderr
