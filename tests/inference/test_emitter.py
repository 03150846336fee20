"""The hypotheses of overlapping windows, joined: each gloss once, in order, never taken back."""

from itertools import pairwise

import numpy as np
import pytest

from decoding.timed_gloss import TimedGloss
from inference.emitter import DRIFT, Emitter


def gloss(name: str, start: float, end: float) -> TimedGloss:
    return TimedGloss(name, start, end, 0.9)


def names(glosses: list[TimedGloss]) -> str:
    return " ".join(one.gloss for one in glosses)


def test_only_final_glosses_are_emitted_and_the_others_with_the_next_window():
    emitter = Emitter()
    first = [gloss("A", 0.5, 1.0), gloss("B", 2.0, 2.6), gloss("C", 3.4, 3.9)]
    assert names(emitter.emit(first, stable_until=3.0)) == "A B"
    # B is a little later than before, C is now D, and E is new.
    second = [gloss("B", 2.1, 2.8), gloss("D", 3.4, 3.9), gloss("E", 4.4, 4.8)]
    assert names(emitter.emit(second, stable_until=4.5)) == "D"
    assert names(emitter.emit(second, float("inf"))) == "E"
    assert emitter.emit(second, float("inf")) == []


def test_a_window_with_another_hypothesis_takes_nothing_back():
    emitter = Emitter()
    assert names(emitter.emit([gloss("A", 0.5, 1.0), gloss("B", 2.0, 2.6)], 3.0)) == "A B"
    # The next window has X in the place of B, and Y before it: both are skipped.
    assert emitter.emit([gloss("Y", 1.2, 1.5), gloss("X", 2.0, 2.6)], 3.5) == []
    assert names(emitter.emit([gloss("X", 2.0, 2.6), gloss("C", 3.0, 3.4)], 4.0)) == "C"


def test_a_gloss_signed_twice_is_emitted_twice():
    emitter = Emitter()
    assert names(emitter.emit([gloss("A", 1.0, 1.4)], 2.0)) == "A"
    window = [gloss("A", 1.1, 1.5), gloss("A", 1.7, 2.2), gloss("A", 2.5, 2.9)]
    assert names(emitter.emit(window, 3.0)) == "A A"
    assert names(emitter.emit([gloss("A", 1.7, 2.2), gloss("A", 2.4, 2.8)], 3.5)) == ""


def test_a_gloss_that_comes_from_a_cut_off_beginning_is_not_emitted():
    emitter = Emitter()
    assert names(emitter.emit([gloss("A", 0.5, 1.0)], stable_until=7.0)) == "A"
    # This window starts at 4 s, in a movement for which the window before had no gloss.
    assert (
        names(emitter.emit([gloss("Z", 4.0, 4.3), gloss("B", 7.0, 7.5)], stable_until=9.0)) == "B"
    )


def test_a_gloss_that_the_next_window_places_earlier_is_not_lost():
    emitter = Emitter()
    assert emitter.emit([gloss("A", 6.6, 7.1)], stable_until=7.0) == []
    assert names(emitter.emit([gloss("A", 6.5, 6.9)], stable_until=9.0)) == "A"


def test_times_never_go_back():
    emitter = Emitter()
    emitter.emit([gloss("A", 1.0, 2.0)], 2.5)
    (found,) = emitter.emit([gloss("B", 1.8, 2.6)], 4.0)
    assert (found.start, found.end) == (2.0, 2.6)


def test_a_gloss_that_the_next_window_places_elsewhere_is_the_same_gloss():
    """By up to DRIFT, which is 0.4 s, between the end of one and the start of the other."""
    emitter = Emitter()
    assert names(emitter.emit([gloss("A", 1.0, 1.4)], 2.0)) == "A"
    assert emitter.emit([gloss("A", 1.7, 2.1)], 3.0) == [], "0.3 s later"
    assert names(emitter.emit([gloss("A", 2.0, 2.8)], 3.0)) == "A", "0.6 s later: a new gloss"
    emitter = Emitter()
    emitter.emit([gloss("A", 1.0, 1.4)], 1.5)
    # A is 0.3 s earlier, so B comes after it.
    assert names(emitter.emit([gloss("A", 0.3, 0.7), gloss("B", 1.1, 1.6)], 3.0)) == "B"


def test_a_gloss_inside_the_one_before_it_is_not_emitted():
    emitter = Emitter()
    emitter.emit([gloss("A", 1.0, 2.0)], 2.0)
    # The next window ends A earlier, and has B before the end that A was emitted with.
    assert names(emitter.emit([gloss("A", 0.9, 1.7), gloss("B", 1.75, 2.0)], 4.0)) == ""


@pytest.mark.parametrize("seed", range(20))
def test_windows_that_drift_give_the_signed_sentence(seed):
    random = np.random.default_rng(seed)
    signed, at = [], 0.3
    for _ in range(60):
        length, pause = random.uniform(0.3, 0.8), random.uniform(0.1, 1.5)
        signed.append(gloss(str(random.choice(list("ABCD"))), at, at + length))
        at += length + max(pause, 0.45)
    emitter, emitted = Emitter(), []
    for end in np.arange(6.0, at + 8.0, 1.0):
        seen = [one for one in signed if one.start >= end - 6.0 and one.end <= end]
        hypothesis = [one.moved(float(random.uniform(-DRIFT / 2.5, DRIFT / 2.5))) for one in seen]
        # The window starts in the middle of this gloss
        cut = [one for one in signed if one.start < end - 6.0 < one.end]
        hypothesis = [gloss("X", end - 6.0, one.end) for one in cut] + hypothesis
        before = list(emitted)
        emitted += emitter.emit(hypothesis, end - 1.0)
        assert emitted[: len(before)] == before
    assert names(emitted) == names(signed)
    assert all(first.end <= second.start for first, second in pairwise(emitted))
