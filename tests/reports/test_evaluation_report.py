"""report.html of an evaluation: its values against a hand-worked case."""

import json
from pathlib import Path

import pytest

import evaluate

pytestmark = pytest.mark.figures


def test_the_headline_is_the_hand_worked_rate(page):
    assert "37.50 %word error rate, 95 % interval" in page.text
    for kind in ("substitutions", "deletions", "insertions"):
        assert f"12.50 %{kind}: 1" in page.text
    assert "4sentences, 8 glosses" in page.text
    assert (
        page.text.index("Levelled off: it has learned.")
        < page.text.index("37.50 %")
        < page.text.index("Decoders")
    )


def test_rates_by_signer_and_length(page):
    signers = {row[0]: (row[1], *row[3:]) for row in page.tables["By signer"][1:]}
    assert signers == {"anna": ("40.00", "2", "5"), "ben": ("33.33", "2", "3")}
    (length,) = page.tables["By sentence length"][1:]
    assert length[:2] == ["1-5 glosses", "37.50"] and length[3:] == ["4", "8"]
    low, high = map(float, length[2].split("–"))
    assert low < 37.5 < high


def test_of_many_signers_those_with_the_most_glosses_are_shown(
    make_decoded, write_report, tmp_path, monkeypatch
):
    monkeypatch.setattr("reports.evaluation_report.GROUPS_DRAWN", 2)
    sentences = {
        "s1": ("anna", "SUN", "SUN"),
        "s2": ("ben", "SUN RAIN WIND", "SUN"),
        "s3": ("cleo", "SUN", "SUN"),
        "s4": ("dora", "SUN RAIN", "SUN"),
    }
    page = write_report(make_decoded(tmp_path / "many", sentences), tmp_path / "page.html")
    assert [row[0] for row in page.tables["By signer"][1:]] == ["ben", "dora"]
    assert "2 of 4 are shown: those with the most glosses." in page.text


def test_confusions_with_how_often_each_gloss_is_signed(page):
    assert page.tables["Confused"][1:] == [["WIND → SUN", "1", "2"]]
    assert page.tables["Left out"][1:] == [["RAIN", "1", "3"]]
    assert page.tables["Added"][1:] == [["HOUSE", "1", "–"]]


def test_the_page_has_the_hash_of_the_corpus_and_the_settings(decoded, write_report, tmp_path):
    settings = {
        "training": {"epochs": 7, "data_dir": None},
        "model": {"inception_widths": [24, 48]},
    }
    page = write_report(
        decoded, tmp_path / "page.html", settings=settings, environment={"git commit": "abc123"}
    )
    assert decoded.corpus.fingerprint in page.text and "git commitabc123" in page.text
    for words in ("training.epochs7", "training.data_dir–", "model.inception_widths24, 48"):
        assert words in page.text


def test_simulated_and_composed_data_is_named_before_any_figure(
    make_decoded, write_report, page, tmp_path
):
    for fact, words in (("simulated", "Simulated data."), ("composed", "Composed sentences.")):
        decoded = make_decoded(tmp_path / fact, **{fact: True})
        written = write_report(decoded, tmp_path / f"{fact}.html")
        assert written.text.index(words) < written.text.index("37.50 %")
        assert words not in page.text


def test_a_rate_whose_interval_would_have_no_width_has_none(
    make_decoded, write_report, page, tmp_path
):
    one = {"s1": ("anna", "SUN RAIN", "SUN")}
    right = {"s1": ("anna", "SUN RAIN", "SUN RAIN"), "s2": ("ben", "SUN", "SUN")}
    same = {"s1": ("anna", "SUN RAIN", "SUN"), "s2": ("ben", "RAIN SUN", "SUN")}
    same_rate = "50.00 %word error rate, no interval: the same rate in all 2 sentences"
    for name, sentences, words, cell in (
        ("same", same, same_rate, "–"),
        ("one", one, "50.00 %word error rate, no interval of one sentence", "–"),
        ("right", right, "0.00 %word error rate, no interval: no error in 2 sentences", "no error"),
    ):
        decoded = make_decoded(tmp_path / name, sentences)
        written = write_report(decoded, tmp_path / f"{name}.html")
        assert words in written.text and "95 % interval 0.00" not in written.text
        assert "hollow: no interval" in written.text
        assert written.tables["Decoders"][1][2] == cell
        assert written.tables["By sentence length"][1][2] == cell
        assert {row[2] for row in written.tables["By signer"][1:]} == {"–"}
    assert "37.50 %word error rate, 95 % interval " in page.text
    assert "hollow" not in page.text


def test_sentences_without_a_reference_are_counted(make_decoded, write_report, page, tmp_path):
    some = {"s1": ("a", "", "SUN"), "s2": ("b", "", "RAIN"), "s3": ("b", "SUN RAIN", "SUN")}
    written = write_report(
        make_decoded(tmp_path / "some", some, split="test"), tmp_path / "some.html"
    )
    words = "Partly annotated. 2 of 3 sentences have no reference."
    assert written.text.index(words) < written.text.index("word error rate")
    assert "Partly annotated" not in page.text
    row = ["no reference: 2 insertions", "–", "–", "2", "0"]
    for title in ("By signer", "By sentence length"):
        assert written.tables[title][-1] == row and len(written.tables[title]) == 3
        assert "no reference" not in str(page.tables[title])


def test_the_same_results_give_the_same_page(decoded, write_report, tmp_path):
    for name in ("a", "b"):
        write_report(decoded, tmp_path / name, decoders=())  # their milliseconds differ
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_an_evaluation_s_report_agrees_with_its_result_json(finished_run, parse_page, tmp_path):
    def evaluate_run(output: Path, *options) -> tuple[dict, object]:
        best = finished_run / "best_model.pth"
        argv = ["--checkpoint", best, "--output_dir", output, "--device", "cpu"]
        argv += ["--decoder", "beam", *options]
        assert evaluate.main([str(word) for word in argv]) == 0
        return json.loads((output / "result.json").read_text()), parse_page(output / "report.html")

    result, page = evaluate_run(tmp_path / "plain")
    assert f"{result['wer']:.2f} %word error rate" in page.text
    assert "Evaluation of finished/best_model.pth" in page.text
    greedy, filtered, beam = page.tables["Decoders"][1:]
    of_run = json.loads((finished_run / "result.json").read_text())
    assert (greedy[0], greedy[1]) == ("greedy", f"{of_run['greedy_dev_wer']:.2f}")
    assert filtered[0] == "filtered"
    counts = [str(result[kind]) for kind in ("substitutions", "deletions", "insertions")]
    assert beam[0] == "beam (used above)" and beam[1] == f"{result['wer']:.2f}"
    assert beam[3:6] == counts
    assert f"up to epoch {of_run['best_epoch']}. The curves show" in page.text
    cleaned = ("--scoring", "phoenix2014")
    _, page = evaluate_run(tmp_path / "first", *cleaned)
    _, page = evaluate_run(tmp_path / "cleaned", *cleaned, "--compare_with", tmp_path / "first")
    assert "after the official clean-up of PHOENIX-2014" in page.text
    assert "p = 1.0000compared with" in page.text and "(beam decoder, WER " in page.text
