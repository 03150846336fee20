"""Which sentences are the worst and the best, and how a report lists them."""

import pytest

from decoding.scoring import SentenceErrors
from reports.sentence_ranking import ranked, worst_and_best

pytestmark = pytest.mark.figures


def errors(wrong: int, glosses: int) -> SentenceErrors:
    return SentenceErrors(
        (), ("X",) * min(wrong, glosses), ("X",) * max(wrong - glosses, 0), glosses
    )


def test_ranking_is_by_error_rate_then_by_errors_and_the_longest_correct_sentence_is_the_best():
    aligned = [errors(0, 2), errors(1, 4), errors(2, 8), errors(0, 9), errors(3, 0), errors(5, 5)]
    assert ranked(aligned) == [4, 5, 2, 1, 0, 3]
    assert worst_and_best(aligned) == ([4, 5, 2, 1], [3, 0])
    many = [errors(n % 3, 4) for n in range(60)]
    worst, best = worst_and_best(many)
    assert len(worst) == len(best) == 10 and not set(worst) & set(best)
    assert {many[n].errors for n in worst} == {2} and {many[n].errors for n in best} == {0}
    assert worst_and_best([errors(0, 3), errors(0, 4)]) == ([], [1, 0])
    assert worst_and_best([errors(1, 3)]) == ([0], [])
    # Without a reference there is nothing to be right: only an added gloss is worth listing
    assert worst_and_best([errors(0, 0), errors(0, 3), errors(1, 0)]) == ([2], [1])


def test_worst_and_best_sentences_with_their_glosses_side_by_side(page):
    worst, best = page.text.split("The 3 worst")[1].split("The 1 best")
    assert [worst.index(id) for id in ("s2", "s3", "s1")] == sorted(
        worst.index(id) for id in ("s2", "s3", "s1")
    )
    assert "50 % · s2 · benRAINRAINaddedHOUSESUNSUN" in worst
    assert "50 % · s3 · annaWINDSUNRAINRAIN" in worst
    assert "33 % · s1 · annaSUNSUNRAINleft outWINDWIND" in worst
    assert "0 % · s4 · benHOUSEHOUSE" in best
    kinds = [attributes.get("class") for tag, attributes in page.tags if tag == "span"]
    assert [kinds.count(kind) for kind in ("sub", "del", "ins", "ok")] == [1, 1, 1, 6]
