"""Intervals in words and in tables; a rate that cannot have one says why."""

import pytest

from reports.interval_words import interval_cell, interval_text, wer_interval_text


@pytest.mark.parametrize(
    ("rate", "ends", "sentences", "text", "cell"),
    [
        (12.5, (10.004, 15.0), 2, "95 % interval 10.00 to 15.00", "10.00–15.00"),
        (12.5, (12.5, 12.5), 1, "no interval of one sentence", "–"),
        (0.0, (0.0, 0.0), 1, "no interval of one sentence", "–"),
        (0.0, (0.0, 0.0), 1234, "no interval: no error in 1,234 sentences", "no error"),
        (100.0, (100.0, 100.0), 4, "no interval: the same rate in all 4 sentences", "–"),
    ],
)
def test_an_interval_in_words_and_in_a_table(rate, ends, sentences, text, cell):
    assert interval_text(rate, ends, sentences) == text
    assert interval_cell(rate, ends, sentences) == cell
    rates = {"wer": rate, "wer_interval": list(ends), "sentences": sentences}
    assert wer_interval_text(rates) == text


def test_a_group_without_glosses_has_no_interval():
    assert interval_cell(None, None, 0) == "–"
