"""The ways to join the heads are chosen on other sentences than those that they decode."""

import pytest

from benchmarks.decoders import joined_heads
from benchmarks.decoders.joined_heads import ALONE, DECODERS, JOINED, Split, measure
from decoding.scoring import total
from inference.model_on_corpus import open_model_on_corpus
from models.prediction import JoinedHeads


@pytest.fixture
def chosen_on(monkeypatch) -> list[list[int]]:
    """The sentences that each choice was made on. Each choice is the convolution head alone."""
    asked: list[list[int]] = []
    monkeypatch.setattr(joined_heads, "CANDIDATES", (JoinedHeads(), JoinedHeads(0.7)))

    def best(self, chosen):
        asked.append(sorted(chosen))
        return JoinedHeads(0.7)

    monkeypatch.setattr(Split, "best", best)
    return asked


def test_each_half_of_dev_is_decoded_as_the_other_half_chooses(finished_run, chosen_on):
    model = open_model_on_corpus(finished_run / "last.pth", None, "cpu")
    errors, words = measure(model, "dev", seed=0)
    count = len(model.prepared("dev").references)
    first, second = chosen_on
    assert sorted(first + second) == list(range(count)) and first and second
    assert set(errors) == {(decoder, heads) for decoder in DECODERS for heads in (ALONE, JOINED)}
    for sentences in errors.values():
        assert [one.reference_glosses for one in sentences] == [
            len(glosses) for glosses in model.prepared("dev").references
        ]
    assert words == ["70 % of the convolution head"] * 2


def test_the_lowest_error_rate_of_the_chosen_sentences_wins(finished_run):
    model = open_model_on_corpus(finished_run / "last.pth", None, "cpu")
    split = Split(model, "dev", model.model.prediction.log_prior)
    for chosen in ([0], [1, 2], list(range(len(split.references)))):
        rates = {h: total([split.greedy[h][i] for i in chosen]).wer for h in split.greedy}
        assert rates[split.best(chosen)] == min(rates.values())
