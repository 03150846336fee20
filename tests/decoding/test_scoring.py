import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decoding.scoring import (
    SentenceErrors,
    align,
    bootstrap_interval,
    breakdown,
    by_group,
    by_length,
    interval_of,
    most_common_errors,
    paired_p_value,
    score,
    total,
)


def edit_distance(reference: list[str], hypothesis: list[str]) -> int:
    row = list(range(len(hypothesis) + 1))
    for i, expected in enumerate(reference, start=1):
        previous, row[0] = row[0], i
        for j, found in enumerate(hypothesis, start=1):
            substituted = previous + (expected != found)
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, substituted)
    return row[-1]


glosses = st.lists(st.sampled_from(["A", "B", "LONG-NAME", "__ON__", "3"]), max_size=8)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(glosses, glosses), min_size=1, max_size=5).filter(
        lambda pairs: any(r for r, _ in pairs)
    )
)
def test_wer_equals_the_edit_distance_over_the_reference(pairs):
    result = score([r for r, _ in pairs], [h for _, h in pairs])
    errors, total = sum(edit_distance(r, h) for r, h in pairs), sum(len(r) for r, _ in pairs)
    assert result.substitutions + result.deletions + result.insertions == errors
    assert result.wer == pytest.approx(100 * errors / total)
    # the difference of the lengths
    assert result.insertions - result.deletions == sum(len(h) - len(r) for r, h in pairs)
    assert (result.reference_glosses, result.sentences) == (total, len(pairs))


def test_counts_by_hand():
    result = score([["A", "B", "C"], ["D"]], [["A", "X", "C", "E"], []])
    assert (result.substitutions, result.insertions, result.deletions) == (1, 1, 1)
    assert result.wer == pytest.approx(75.0)  # micro-averaged: 3 of 4, not the mean of 66.7 and 100
    assert str(result) == "WER 75.00 % (sub 25.00, del 25.00, ins 25.00) over 2 sentences"


def test_wer_is_not_capped():
    assert score([["A"]], [["B", "C", "D"]]).wer == pytest.approx(300.0)


def test_an_empty_hypothesis_is_all_deletions():
    result = score([("A", "B")], [()])
    assert (result.deletions, result.insertions, result.substitutions, result.wer) == (
        2,
        0,
        0,
        100.0,
    )


def test_all_glosses_for_an_empty_reference_are_insertions():
    result = score([[], ["A"], []], [["X", "Y"], ["A"], []])
    assert (result.insertions, result.deletions, result.substitutions) == (2, 0, 0)
    assert (result.wer, result.sentences) == (200.0, 3)


@pytest.mark.parametrize(
    ("references", "hypotheses"),
    [([["A"]], []), ([["A"]], [["A"], ["B"]]), ([[], []], [["A"], []]), ([], [])],
)
def test_other_numbers_of_sentences_and_references_without_glosses_are_refused(
    references, hypotheses
):
    with pytest.raises(ValueError, match="references"):
        score(references, hypotheses)


REFERENCES = [["A", "B", "C"], ["D"], [], ["A", "A", "B", "C", "D", "E"]]
HYPOTHESES = [["A", "X", "C", "E"], [], ["Z"], ["A", "B", "X", "D", "E"]]


def test_the_errors_of_each_sentence():
    assert align(REFERENCES, HYPOTHESES) == [
        SentenceErrors((("B", "X"),), (), ("E",), 3),
        SentenceErrors((), ("D",), (), 1),
        SentenceErrors((), (), ("Z",), 0),
        SentenceErrors((("C", "X"),), ("A",), (), 6),
    ]
    assert align([[]], [[]]) == [SentenceErrors((), (), (), 0)]
    assert total(align(REFERENCES, HYPOTHESES)) == score(REFERENCES, HYPOTHESES)


def test_groups_and_bands_add_up_to_the_total():
    aligned = align(REFERENCES, HYPOTHESES)
    signers = {
        name: total(part)
        for name, part in by_group(aligned, ["eva", "adam", "adam", "eva"]).items()
    }
    assert list(signers) == ["adam", "eva"]
    assert (signers["adam"].deletions, signers["adam"].insertions, signers["adam"].wer) == (
        1,
        1,
        200.0,
    )
    assert sum(signer.errors for signer in signers.values()) == total(aligned).errors
    assert list(by_group(aligned, ["x", "x", "only insertions", "x"])) == ["x"], (
        "a WER needs a reference gloss"
    )
    bands = {band: total(part) for band, part in by_length(aligned).items()}
    assert {band: (score.sentences, score.reference_glosses) for band, score in bands.items()} == {
        "1-5": (2, 4),
        "6-10": (1, 6),
    }
    edges = align([["A"] * n for n in (5, 6, 10, 11, 15, 16, 40)], [["A"]] * 7)
    assert {band: len(part) for band, part in by_length(edges).items()} == {
        "1-5": 1,
        "6-10": 2,
        "11-15": 2,
        "16+": 2,
    }


def test_the_groups_of_a_breakdown_and_those_without_a_reference_add_up():
    found = breakdown(align(REFERENCES, HYPOTHESES), ["eva", "adam", "adam", "ben"])
    assert found["no_reference"] == {"sentences": 1, "insertions": 1}
    for groups in (found["by_signer"], found["by_length"]):
        for count in ("sentences", "insertions"):
            in_groups = sum(group[count] for group in groups.values())
            assert in_groups + found["no_reference"][count] == found[count]
    assert found["by_signer"]["adam"]["wer"] == 100.0, "its insertion is not the signer's"


def test_the_most_common_errors_come_first():
    aligned = align(
        [["A", "B"]] * 3 + [["C"], ["D"]], [["X", "B"]] * 2 + [["Y", "B"], [], ["D", "E"]]
    )
    assert most_common_errors(aligned) == {
        "substitutions": [("A -> X", 2), ("A -> Y", 1)],
        "deletions": [("C", 1)],
        "insertions": [("E", 1)],
    }
    assert most_common_errors(aligned, count=1)["substitutions"] == [("A -> X", 2)]


def test_of_equally_common_errors_the_first_by_name_comes_first():
    aligned = align([["Z"], ["M"], ["A"], ["B"], ["B"]], [[]] * 5)
    expected = [("B", 2), ("A", 1), ("M", 1), ("Z", 1)]
    assert most_common_errors(aligned)["deletions"] == expected
    assert most_common_errors(aligned, count=2)["deletions"] == expected[:2]


def errors_of(*counts: int, glosses: int = 10) -> list[SentenceErrors]:
    return [SentenceErrors((), ("A",) * count, (), glosses) for count in counts]


def test_the_interval_is_that_of_the_sampling_distribution():
    """Each of n sentences is wrong with probability one half: the standard deviation of the rate is
    0.5 / sqrt(n)."""
    counts = np.random.default_rng(0).permutation([0] * 200 + [10] * 200)
    low, high = bootstrap_interval(errors_of(*counts))
    assert low == pytest.approx(50 - 1.96 * 50 / 20, abs=0.5) and high == pytest.approx(
        50 + 1.96 * 50 / 20, abs=0.5
    )
    assert bootstrap_interval(errors_of(3, 3, 3)) == (30.0, 30.0)
    assert bootstrap_interval(errors_of(1, 4, 0)) == bootstrap_interval(errors_of(1, 4, 0)), (
        "the seed is fixed"
    )


def test_the_interval_of_many_sentences_is_that_of_drawing_each(monkeypatch):
    """Sentences with other numbers of glosses and errors, by both ways to draw."""
    random = np.random.default_rng(2)
    glosses = random.integers(1, 9, 500)
    errors = random.binomial(glosses, 0.3)
    drawn_each = interval_of(errors, glosses)
    monkeypatch.setattr("decoding.scoring._DRAWN_ONE_BY_ONE", 499)
    drawn_by_kind = interval_of(errors, glosses)
    assert drawn_by_kind != drawn_each  # other random numbers
    assert drawn_by_kind == pytest.approx(drawn_each, abs=0.15)  # the interval is 4 points wide
    assert interval_of(np.array([3] * 600), np.array([10] * 600)) == pytest.approx((30.0, 30.0))


@pytest.mark.parametrize("one_by_one", [2, 1])
def test_samples_without_a_gloss_have_no_rate(monkeypatch, one_by_one):
    """An added gloss in a sentence without a reference, and two right glosses: a sample has both
    sentences (1 of 2), the second one only (0 of 2), or the first one only, which is dropped."""
    monkeypatch.setattr("decoding.scoring._DRAWN_ONE_BY_ONE", one_by_one)
    assert interval_of(np.array([1, 0]), np.array([0, 2])) == (0.0, 50.0)


def test_the_p_value_is_never_zero():
    """No trial of 10,000 is as extreme as 40 sentences with one error less each."""
    assert paired_p_value(errors_of(*[0] * 40), errors_of(*[1] * 40)) == 1 / 10_001


def test_the_paired_test_by_hand():
    same = errors_of(1, 2, 3)
    assert paired_p_value(same, same) == 1.0
    # Five sentences, each with one error less: 2 of 32 swaps are as extreme
    assert paired_p_value(errors_of(1, 1, 1, 1, 1), errors_of(2, 2, 2, 2, 2)) == pytest.approx(
        2 / 32, abs=0.01
    )
    assert paired_p_value(errors_of(2, 0), errors_of(1, 1)) == 1.0
    with pytest.raises(ValueError, match="same sentences"):
        paired_p_value(errors_of(1), errors_of(1, 1))


def test_the_interval_does_not_depend_on_how_many_samples_are_drawn_at_once(monkeypatch):
    random = np.random.default_rng(1)
    aligned = [
        SentenceErrors((), ("A",) * int(errors), (), 5) for errors in random.integers(0, 5, 40)
    ]
    expected = bootstrap_interval(aligned)
    for drawn in (1, 40 * 3_000, 40 * 10_000):  # 1, 3,000 and all samples at once
        monkeypatch.setattr("decoding.scoring._DRAWN_AT_ONCE", drawn)
        assert bootstrap_interval(aligned) == expected


def test_sentences_are_aligned_the_same_in_any_number_at_once(monkeypatch):
    expected = align(REFERENCES, HYPOTHESES)
    for at_once in (1, 2, 3):
        monkeypatch.setattr("decoding.scoring._ALIGNED_AT_ONCE", at_once)
        assert align(iter(REFERENCES), iter(HYPOTHESES)) == expected
        with pytest.raises(ValueError):
            align(REFERENCES, HYPOTHESES[:3])
