"""Known and new sentences and glosses in the report and on the screen."""

import pytest

from decoding.novelty import TrainText, errors_by_novelty
from decoding.scoring import align, breakdown
from reports.novelty_tables import novelty_lines, sentence_rows

pytestmark = pytest.mark.figures


@pytest.fixture(scope="module")
def novelty(decoded) -> dict:
    """Of the hand-worked split: RAIN SUN is known, WIND RAIN has a new pair."""
    train = TrainText.of([["RAIN", "SUN"], ["SUN", "RAIN", "WIND", "SUN"], ["SUN"]] * 7, "hand")
    return errors_by_novelty(decoded.references, decoded.hypotheses, decoded.aligned, train)


def test_the_report_has_a_row_for_each_group(decoded, novelty, write_report, tmp_path):
    result = {**breakdown(decoded.aligned, decoded.signers), "novelty": novelty}
    page = write_report(decoded, tmp_path / "report.html", result=result)
    rows = {row[0]: (row[1], *row[3:]) for row in page.tables["Known and new sentences"][1:]}
    assert rows == {
        "known sentences": ("50.00", "1", "2"),  # an insertion
        "new sentences": ("33.33", "3", "6"),
        "new sentences, known pairs": ("33.33", "1", "3"),  # SUN RAIN WIND
        "new sentences, new pairs": ("33.33", "2", "3"),  # WIND RAIN, and HOUSE is new
    }
    rows = {row[0]: (row[1], *row[3:]) for row in page.tables["Frequent and rare glosses"][1:]}
    assert rows == {
        "glosses never in train": ("0.00", "1", "1"),  # HOUSE
        "glosses 1-4 times in train": ("–", "0", "0"),
        "glosses 5-19 times in train": ("40.00", "5", "2"),  # RAIN 14 times, WIND 7 times
        "glosses 20-99 times in train": ("0.00", "2", "1"),  # SUN 28 times
        "glosses 100+ times in train": ("–", "0", "0"),
        "glosses in a known pair": ("33.33", "3", "3"),
        "glosses in a new pair": ("0.00", "1", "1"),
    }
    cells = [row[2] for row in page.tables["Known and new sentences"][1:]]
    assert (cells[0], cells[2]) == ("–", "–"), "there is one sentence"
    cells = [row[2] for row in page.tables["Frequent and rare glosses"][1:]]
    assert (cells[0], cells[1], cells[3]) == ("–", "–", "no error")
    low, high = page.tables["Known and new sentences"][2][2].split("–")
    assert float(low) < 33.33 < float(high)
    assert "Compared with train of hand: 3 different sentences." in page.text


def test_the_screen_has_a_line_for_each_group(novelty):
    lines = list(novelty_lines(novelty))
    assert len(lines) == 11
    assert lines[1].startswith("new sentences: 33.33 % over 3 sentences, 6 glosses, 95 % interval ")
    assert lines[0].endswith("2 glosses, no interval of one sentence")
    assert lines[4].endswith("0.00 % of 1 are wrong (1 different), no interval of one sentence")
    assert lines[7].endswith("(1 different), no interval: no error in 2 sentences")
    assert lines[5] == "glosses 1-4 times in train: - (none)"
    assert lines[6].startswith("glosses 5-19 times in train: 40.00 % of 5 are wrong (2 different),")


def test_sentences_without_a_reference_have_a_line_and_a_row():
    references, hypotheses = [[], ["SUN"]], [["RAIN"], ["SUN"]]
    train = TrainText.of([["SUN"]], "hand")
    aligned = align(references, hypotheses)
    found = errors_by_novelty(references, hypotheses, aligned, train)
    assert sentence_rows(found)[-1] == ("no reference: 1 insertion", "–", "–", "1", "0")
    assert list(novelty_lines(found))[4] == "no reference: 1 sentence, 1 insertion"


def test_a_report_without_train_sentences_has_no_such_tables(page):
    assert "Known and new" not in page.text
