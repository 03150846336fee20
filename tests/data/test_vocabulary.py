import pytest

from data.vocabulary import BLANK, Vocabulary
from errors import DataError


def test_classes_are_the_sorted_glosses_after_the_blank():
    vocabulary = Vocabulary.from_sentences([("RAIN", "SUN"), ("BLUE", "RAIN")])
    assert vocabulary.glosses == ("BLUE", "RAIN", "SUN")
    assert (BLANK, vocabulary.size) == (0, 4)
    assert vocabulary.encode(("SUN", "BLUE", "BLUE")) == [3, 1, 1]
    assert vocabulary.decode([3, 1, 1]) == ["SUN", "BLUE", "BLUE"]


def test_the_order_of_the_sentences_does_not_matter():
    sentences = [("B", "A"), ("C",), ("A", "D")]
    assert Vocabulary.from_sentences(sentences) == Vocabulary.from_sentences(sentences[::-1])
    assert Vocabulary(["A", "B"]) != Vocabulary(["B", "A"])


def test_a_sentence_with_an_unknown_gloss_has_no_classes_and_each_occurrence_is_reported():
    vocabulary = Vocabulary(["A", "B"])
    assert vocabulary.encode(("A", "X")) is None
    assert vocabulary.encode(()) == []
    assert vocabulary.unknown([("A", "X"), ("Y", "X"), ("B",)]) == ["X", "Y", "X"]
    assert "A" in vocabulary and "X" not in vocabulary


def test_an_extended_vocabulary_keeps_the_known_classes():
    vocabulary = Vocabulary(["M", "A"])
    extended = vocabulary.extended([("Z", "A", "B"), ("B",)])
    assert extended.glosses == ("M", "A", "B", "Z")
    assert extended.encode(("M", "A")) == vocabulary.encode(("M", "A"))
    assert vocabulary.extended([("A",)]) == vocabulary


def test_glosses_are_compared_in_one_unicode_form():
    composed, decomposed = "GR\u00dcN", "GRU\u0308N"
    vocabulary = Vocabulary.from_sentences([(decomposed, "A"), (composed,)])
    assert vocabulary.glosses == ("A", composed)
    assert vocabulary.encode((decomposed, composed)) == [2, 2]
    assert decomposed in vocabulary and vocabulary.unknown([(decomposed,)]) == []
    assert vocabulary == Vocabulary(["A", decomposed])


def test_a_vocabulary_of_an_earlier_version_keeps_its_classes():
    composed, decomposed = "GR\u00dcN", "GRU\u0308N"
    old = Vocabulary([decomposed, "HAUS"])
    assert old.glosses == (decomposed, "HAUS")
    assert old.encode((composed,)) == [1]
    assert old.decode([1]) == [composed]
    assert old.extended([(composed, "IX")]).glosses == (decomposed, "HAUS", "IX")
    twice = Vocabulary([decomposed, composed])  # two classes of one gloss
    assert (twice.size, twice.encode((composed,)), twice.decode([1, 2])) == (3, [1], [composed] * 2)


@pytest.mark.parametrize("glosses", [[], ["A", "B", "A"]])
def test_repeated_or_no_glosses_are_refused(glosses):
    with pytest.raises(DataError, match="distinct glosses"):
        Vocabulary(glosses)
