"""report.html of a training run, and what happens when it cannot be written."""

import json

import pytest

pytestmark = pytest.mark.figures


def test_a_run_s_report_agrees_with_its_result_json(finished_run, parse_page):
    result = json.loads((finished_run / "result.json").read_text())
    page = parse_page(finished_run / "report.html")
    low, high = result["best_dev_wer_interval"]
    rate = f"{result['best_dev_wer']:.2f} %word error rate, 95 % interval {low:.2f} to {high:.2f}"
    assert rate in page.text
    assert f"{result['best_epoch']} of 3best epoch" in page.text
    assert result["corpus_fingerprint"] in page.text
    greedy = page.tables["Decoders"][-1]
    assert greedy[0] == "greedy (used above)" and greedy[1] == f"{result['greedy_dev_wer']:.2f}"
    headings = [
        "Word error rate",
        "Loss",
        "Errors on dev",
        "Learning rate",
        "By signer",
        "Confusions",
        "Configuration",
    ]
    assert [page.text.index(words) for words in headings] == sorted(
        page.text.index(words) for words in headings
    )
    best = f"best dev {result['greedy_dev_wer']:.2f} % (epoch {result['best_epoch']})"
    assert "25 % target" in page.text and best in page.text
    assert (finished_run / "report.html").stat().st_size < 500_000


def test_a_report_that_fails_gives_a_warning_and_the_run_keeps_its_results(
    execute_run, tiny_settings, tmp_path, capsys, monkeypatch
):
    def broken(*_):
        raise ValueError("no such\ncolour")

    monkeypatch.setattr("reports.evaluation_report.curves", broken)
    tiny_settings["training"]["epochs"] = 1
    folder = tmp_path / "run"
    _, result = execute_run(tiny_settings)
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert printed.err.startswith(f"warning: {folder / 'report.html'} was not written")
    assert "(ValueError: no such colour)" in printed.err
    assert "report: " not in printed.out and "run folder: " in printed.out
    assert not (folder / "report.html").exists()
    assert json.loads((folder / "result.json").read_text()) == result
    assert (folder / "MODEL_CARD.md").exists() and (folder / "best_model.pth").exists()
