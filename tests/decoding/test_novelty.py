"""Errors on known and new sentences and glosses, against a hand-worked case."""

import json

import pytest

from decoding.novelty import TrainText, errors_by_novelty
from decoding.scoring import align, rates

# B occurs 5 times, A 4 times, C once, D 20 times; the pairs are A B, B C and D D
TRAIN = [["A", "B"]] * 3 + [["A", "B", "C"], ["B"], *[["D", "D"]] * 10]
SENTENCES = [  # reference, hypothesis
    ("A B", "A B"),  # known, no error
    ("B", "C A"),  # known: one substitution, one insertion
    ("A B C A B", "A B A C"),  # new, the pair C A is new: C is left out, B is confused with C
    ("B C", "B"),  # new, all pairs are known: C is left out
    ("A", "A"),  # new, and it has no pair
    ("E", "D"),  # new, with a new gloss
    ("D D D", "D D D"),  # new, all pairs are known
]


@pytest.fixture(scope="module")
def found() -> dict:
    references, hypotheses = ([row[n].split() for row in SENTENCES] for n in (0, 1))
    aligned = align(references, hypotheses)
    return errors_by_novelty(references, hypotheses, aligned, TrainText.of(TRAIN, "tiny"))


def counts(group: dict) -> tuple[int, ...]:
    names = ("substitutions", "deletions", "insertions", "reference_glosses", "sentences")
    return tuple(group[name] for name in names)


def test_known_and_new_sentences(found):
    assert (found["train"], found["train_sentences"]) == ("tiny", 4)
    groups = found["sentences"]
    assert counts(groups["known"]) == (1, 0, 1, 3, 2)
    assert groups["known"]["wer"] == pytest.approx(100 * 2 / 3)
    assert counts(groups["new"]) == (2, 2, 0, 12, 5)
    assert counts(groups["new_known_pairs"]) == (0, 1, 0, 6, 3)
    assert counts(groups["new_new_pairs"]) == (2, 1, 0, 6, 2)
    assert list(groups) == ["known", "new", "new_known_pairs", "new_new_pairs"]


def test_a_group_has_the_rates_and_the_interval_of_its_sentences(found):
    references, hypotheses = ([row[n].split() for row in SENTENCES[:2]] for n in (0, 1))
    assert found["sentences"]["known"] == rates(align(references, hypotheses))


def test_glosses_by_their_frequency_in_train(found):
    bins = {
        name: (group["substitutions"], group["deletions"], group["occurrences"], group["glosses"])
        for name, group in found["glosses_by_frequency"].items()
    }
    assert bins == {
        "0": (1, 0, 1, 1),  # E
        "1-4": (0, 2, 6, 2),  # A and C; C is left out twice
        "5-19": (2, 0, 5, 1),  # B
        "20-99": (0, 0, 3, 1),  # D
        "100+": (0, 0, 0, 0),
    }
    found_rates = [group["error_rate"] for group in found["glosses_by_frequency"].values()]
    assert found_rates == [100.0, pytest.approx(100 / 3), 40.0, 0.0, None]
    low, high = found["glosses_by_frequency"]["1-4"]["error_rate_interval"]
    assert low < 100 / 3 < high


def test_glosses_by_the_pair_with_the_gloss_before(found):
    known, new = (found["glosses_by_pair"][kind] for kind in ("known", "new"))
    # A B; A B, B C and A B; B C; D D twice
    assert (known["substitutions"], known["deletions"], known["occurrences"]) == (1, 2, 7)
    assert (new["substitutions"], new["deletions"], new["occurrences"]) == (0, 0, 1)  # C A


def test_a_pair_is_known_by_the_reference_and_not_by_the_hypothesis():
    """B follows A in train. That A is confused with C changes nothing."""
    references, hypotheses = [["A", "B", "D"]], [["C", "B", "D"]]
    train = TrainText.of([["A", "B"], ["C", "D"]], "x")
    found = errors_by_novelty(references, hypotheses, align(references, hypotheses), train)
    pairs = found["glosses_by_pair"]
    assert [pairs[kind]["occurrences"] for kind in ("known", "new")] == [1, 1]


def test_added_glosses_do_not_count_as_errors_of_a_gloss(found):
    groups = [*found["glosses_by_frequency"].values(), *found["glosses_by_pair"].values()]
    assert not any("insertions" in group for group in groups)


def test_empty_groups_have_no_rate_and_can_be_written():
    nothing = errors_by_novelty([["A"]], [["A"]], align([["A"]], [["A"]]), TrainText.of([], "x"))
    known = nothing["sentences"]["known"]
    assert (known["wer"], known["wer_interval"]) == (None, None) and counts(known) == (0,) * 5
    assert nothing["glosses_by_pair"]["new"]["error_rate"] is None
    assert json.loads(json.dumps(nothing, allow_nan=False)) == nothing


def test_sentences_without_a_reference_are_a_group_of_their_own():
    """They are neither known nor new, and the groups add up to all sentences."""
    references, hypotheses = [[], ["A", "B"], []], [["C"], ["A", "B"], ["A", "C"]]
    aligned = align(references, hypotheses)
    for train in ([["A", "B"], []], TRAIN, [["D"]]):
        found = errors_by_novelty(references, hypotheses, aligned, TrainText.of(train, "x"))
        assert found["no_reference"] == {"sentences": 2, "insertions": 3}
        groups = found["sentences"]
        assert {group["insertions"] for group in groups.values()} == {0}
        assert sum(groups[name]["sentences"] for name in ("known", "new")) == 1
        parts = ("known", "new_known_pairs", "new_new_pairs")
        assert sum(groups[name]["sentences"] for name in parts) == 1


def test_only_exactly_the_same_glosses_in_the_same_order_are_known():
    train = TrainText.of([["A", "B"], ["B", "C"]], "x")
    assert ("A", "B") in train.sentences
    assert ("B", "A") not in train.sentences and ("A",) not in train.sentences
    assert train.has_glosses_and_pairs_of(["A", "B", "C"]) and not train.has_glosses_and_pairs_of(
        ["C", "A"]
    )
    assert train.has_glosses_and_pairs_of([]) and not train.has_glosses_and_pairs_of(["E"])
