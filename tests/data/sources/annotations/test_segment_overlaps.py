"""Segments of one recording that overlap."""

import pytest

from data.sources.annotations.segment_overlaps import Part, check_overlaps
from data.sources.annotations.segments import FRAMES, SECONDS, Segment
from errors import DataError


def part(split, id, start, end, unit=FRAMES):
    return Part(split, id, Segment(start, end, unit))


def test_an_overlap_between_splits_names_both_sentences_and_the_frames():
    parts = [part("dev", "d", 1, 28), part("train", "b", 40, 50), part("train", "a", 0, 28)]
    with pytest.raises(
        DataError,
        match=r"^train sentence 'a' and dev sentence 'd' overlap from frame 1 to before frame 28 "
        r"in the recording v/s1\.mp4, expected no common frames in train and dev: correct",
    ):
        check_overlaps({"v/s0.mp4": [part("train", "x", 0, 9)], "v/s1.mp4": parts})


def test_a_long_segment_is_remembered_behind_short_ones():
    parts = [part("train", "long", 0, 100), part("train", "short", 2, 9), part("dev", "d", 50, 60)]
    with pytest.raises(DataError, match="'long' and dev sentence 'd' overlap from frame 50 to"):
        check_overlaps({"s1": parts})


@pytest.mark.parametrize(
    "end, unit, is_fine",
    [
        (15, FRAMES, True),
        (16, FRAMES, True),
        (17, FRAMES, False),
        (15.05, SECONDS, True),
        (15.06, SECONDS, False),
    ],
)
def test_segments_may_touch_and_times_may_be_rounded(end, unit, is_fine):
    parts = [part("train", "a", 0, end, unit), part("dev", "d", 15, 30, unit)]
    if is_fine:
        assert check_overlaps({"s1": parts}) is None
    else:
        with pytest.raises(DataError, match="overlap from"):
            check_overlaps({"s1": parts})


def test_what_cannot_be_compared_is_left_alone():
    assert (
        check_overlaps({"s1": [Part("train", "a", None)], "s2": [Part("dev", "d", None)]}) is None
    )
    parts = [part("train", "a", 0, 9), part("dev", "d", 0, 9, SECONDS)]
    assert check_overlaps({"s1": parts}) is None


def test_overlaps_within_a_split_are_one_warning():
    parts = [part("train", id, 10 * n, 10 * n + 15) for n, id in enumerate("abc")]
    assert check_overlaps({"s1": parts, "s2": [part("train", "x", 0, 15)]}) == (
        "2 segments overlap an earlier one of the same split: train sentence 'a' and train "
        "sentence 'b' overlap from frame 10 to before frame 15 in the recording s1; if that is a "
        "mistake, correct their start and end"
    )
