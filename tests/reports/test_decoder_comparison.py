"""The table of decoders: each has its own WER on the same posteriors."""

import pytest

from decoding.greedy import greedy_decode
from reports.decoder_comparison import ComparedDecoder, compared_decoders
from tests.reports.conftest import GREEDY, comparison

pytestmark = pytest.mark.figures


def test_the_decoders_table_gives_each_decoder_its_own_rate(page):
    rows = {row[0]: row for row in page.tables["Decoders"][1:]}
    used = rows["greedy (used above)"]
    assert used[1:2] + used[3:] == ["37.50", "1", "1", "1", "1.5", "the best path"]
    # All confidences are 0.9. The filter's threshold is 0.9, too, so it removes nothing.
    assert rows["filtered"][1] == "37.50"


def test_another_decoder_is_scored_on_the_same_posteriors(decoded):
    def predict_nothing(log_probs, lengths):
        return [[] for _ in lengths]

    others = [ComparedDecoder("silent", "predicts nothing", predict_nothing)]
    found = comparison(decoded, compared_decoders(GREEDY, others))
    assert {row.name: row.rates["wer"] for row in found} == {
        "filtered": 37.5,
        "silent": 100.0,
        "greedy (used above)": 37.5,
    }


def test_hypotheses_are_cleaned_up_before_they_are_scored(decoded):
    found = comparison(
        decoded,
        compared_decoders(ComparedDecoder("x", "", greedy_decode), []),
        clean_up=lambda glosses: [g for g in glosses if g != "HOUSE"],
    )
    greedy = next(row.rates for row in found if row.name == "greedy")
    # One insertion less, one deletion more
    assert greedy["wer"] == 37.5 and greedy["insertions"] == 0
