"""Sentences in which nothing, no pose or no hand was ever detected."""

import numpy as np
import pytest

from data.checks.unseen_sentences import parts_seen, unseen_kind, unseen_text, unseen_warnings
from data.corpus import Split
from data.sentences import Sentence


@pytest.mark.parametrize(
    ("parts", "kind"),
    [
        ([], "nothing detected"),
        ([2], "no pose"),
        ([1, 3], "no pose"),
        ([0], "no hands"),
        ([0, 1], "no hands"),
        ([0, 2], None),
        ([0, 3], None),
    ],
)
def test_the_kind_of_a_sentence(parts, kind):
    detected = np.zeros((4, 4), dtype=bool)
    detected[range(len(parts)), parts] = True  # each part in one frame
    assert unseen_kind(detected.any(0)) == kind


def test_one_line_for_each_kind():
    rows = [[], [0, 1, 2], [2], [], [0], [], [], None]
    frames = [0 if parts is None else 2 for parts in rows]
    sentences = [Sentence(f"s{i}", "anna", count, ("A",)) for i, count in enumerate(frames)]
    detected = np.zeros((sum(frames), 4), dtype=bool)
    for number, parts in enumerate(rows[:-1]):
        detected[2 * number + 1, parts] = True
    split = Split("dev", sentences, np.zeros((len(detected), 543, 3), np.float16), detected)
    assert list(unseen_warnings(split)) == [
        "dev: nothing was detected in any frame of 4 of 8 sentences (s0, s3, s5 and 1 more); "
        "remove them or extract them again",
        "dev: hands or face were detected, but no pose in any frame of 1 of 8 sentences (s2); "
        "features are measured from the pose, so theirs are zeros: extract the pose as well",
        "dev: no hand was detected in any frame of 1 of 8 sentences (s4); check that the hands are "
        "in the image",
    ]


def test_the_parts_of_each_sentence_are_found_without_its_landmarks(monkeypatch):
    """Empty sentences at the start, in the middle and at the end have no frame of their own."""
    frames = [0, 2, 0, 0, 1, 3, 0]
    sentences = [Sentence(f"s{i}", "anna", count, ("A",)) for i, count in enumerate(frames)]
    detected = np.array([[0, 1, 0, 0], [1, 0, 0, 0], [0] * 4, [0] * 4, [0, 0, 1, 1], [0] * 4], bool)
    split = Split("dev", sentences, np.zeros((6, 543, 3), np.int16), detected)
    monkeypatch.setattr(Split, "read", None)
    monkeypatch.setattr(Split, "stored", None)
    rows = [[], [0, 1], [], [], [], [2, 3], []]
    assert [np.flatnonzero(row).tolist() for row in parts_seen(split)] == rows
    assert [line.partition(";")[0] for line in unseen_warnings(split)] == [
        "dev: nothing was detected in any frame of 1 of 7 sentences (s4)",
        "dev: hands or face were detected, but no pose in any frame of 1 of 7 sentences (s5)",
        "dev: no hand was detected in any frame of 1 of 7 sentences (s1)",
    ]
    assert not parts_seen(Split("dev", [], detected[:0], detected[:0])).size


@pytest.mark.parametrize("frames, where", [(1, "its only frame"), (2, "any of its 2 frames")])
def test_a_sentence_is_told_with_its_number_of_frames(frames, where):
    assert unseen_text("no hands", frames) == f"no hand was detected in {where}"
