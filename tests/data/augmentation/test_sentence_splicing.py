"""Sentences that are made of runs of glosses from sentences of one signer."""

from collections import Counter

import numpy as np
import pytest

from data.augmentation.joined_split import shoulder_width
from data.augmentation.sentence_mixing import mix_sentences
from data.augmentation.sentence_splicing import MAX_RUN, GlossRun, SplicedSplit, Splicer
from data.corpus import Split
from data.ctc_lengths import min_frames
from data.landmarks import LEFT_SHOULDER, RIGHT_SHOULDER
from data.sentences import Sentence


def split_of(*rows: tuple[str, str, str], frames: int = 4, unknown: tuple[int, ...] = ()) -> Split:
    """A split of sentences (id, signer, glosses) in which each gloss has `frames` frames.

    All landmarks of a frame have the number of the frame in the split as their value. unknown: the
    glosses, among all, whose times are not known.
    """
    glosses = [tuple(row[2].split()) for row in rows]
    sentences = [
        Sentence(id, signer, frames * len(of), of)
        for (id, signer, _), of in zip(rows, glosses, strict=True)
    ]
    times = np.array(
        [[frames * place, frames * (place + 1)] for of in glosses for place in range(len(of))],
        dtype="<i4",
    )
    times[list(unknown)] = -1
    total = sum(one.frames for one in sentences)
    numbers = np.arange(total, dtype=np.float32)[:, None, None]
    landmarks = np.tile(numbers, (1, 543, 3))
    return Split("train", sentences, landmarks, np.ones((total, 4), dtype=bool), times)


def test_a_spliced_sentence_worked_out_by_hand():
    split = split_of(("a", "anna", "X Y"), ("b", "anna", "P Q R"), frames=2)
    runs = {0: [GlossRun(0, 1, 2, 2, 4, 0), GlossRun(1, 0, 2, 0, 4, 3)]}
    spliced = SplicedSplit(split, runs, 0.8, {0: 1.0, 1: 1.0})
    assert spliced.sentences == [Sentence("a", "anna", 9, ("Y", "P", "Q")), split.sentences[1]]
    assert spliced.lengths.tolist() == [9, 6] and spliced.joined == [0]
    landmarks, detected = spliced.read(0)
    # Frames 2 3 of the first sentence, three in equal steps from 3 to 4, frames 4 to 7
    expected = [2, 3, 3.25, 3.5, 3.75, 4, 5, 6, 7]
    np.testing.assert_allclose(landmarks[:, 7, 1], expected, atol=2e-3)
    assert detected.shape == (9, 4)
    assert spliced.segments(0)[0] == slice(2, 4) and spliced.segments(0)[2] == slice(4, 8)
    assert spliced.read(1)[0][:, 0, 0].tolist() == [4, 5, 6, 7, 8, 9]
    assert spliced.single is split


def test_a_run_gets_the_shoulder_width_of_the_sentence():
    split = split_of(("a", "anna", "X X"), ("b", "anna", "Y Y"))
    split.landmarks[:] = 0.5
    for rows, half in ((slice(0, 8), 0.1), (slice(8, 16), 0.2)):
        split.landmarks[rows, LEFT_SHOULDER, 0] += half
        split.landmarks[rows, RIGHT_SHOULDER, 0] -= half
    spliced = SplicedSplit(
        split, {0: [GlossRun(0, 0, 1, 0, 4, 0), GlossRun(1, 0, 1, 0, 4, 2)]}, 1.0
    )
    landmarks, detected = spliced.read(0)
    assert shoulder_width(landmarks[-4:], detected[-4:], 1.0) == pytest.approx(0.2, rel=1e-3)
    assert isinstance(spliced.segments(0)[0], slice), "its own run stays as it is"


def corpus_of(signers: tuple[str, ...] = ("anna", "ben")) -> Split:
    words = [f"G{number}" for number in range(12)]
    return split_of(
        *[
            (
                f"s{index}",
                signers[index % len(signers)],
                " ".join(words[index % 7 : index % 7 + 2 + index % 4]),
            )
            for index in range(40)
        ]
    )


def spliced_runs(split: Split, probability=1.0, seed=0, epoch=1, usable=None):
    usable = np.arange(len(split)) if usable is None else usable
    return Splicer(split, usable, 0.8).splice(probability, seed, epoch, len).runs


def test_runs_are_of_the_signer_and_follow_their_sentence():
    split, usable = corpus_of(), np.array([i for i in range(40) if i not in (3, 4)])
    runs = spliced_runs(split, usable=usable)
    assert sorted(runs) == usable.tolist()
    for index, chosen in runs.items():
        sentence = split.sentences[index]
        assert chosen[0].sentence == index and chosen[0].gap == 0
        assert sum(run.end - run.first for run in chosen) <= len(sentence.glosses)
        assert sum(run.gap + run.stop - run.start for run in chosen) <= split.lengths.max()
        for run in chosen:
            assert run.sentence in usable
            assert split.sentences[run.sentence].signer == sentence.signer
            assert 1 <= run.end - run.first <= MAX_RUN
            assert (run.start, run.stop) == (4 * run.first, 4 * run.end)
        assert all(2 <= run.gap <= 6 for run in chosen[1:])
    assert {len(chosen) for chosen in runs.values()} >= {1, 2, 3}


def test_splicing_is_keyed_and_has_the_given_probability():
    split = corpus_of()
    runs = spliced_runs(split, 0.5, 5, 2)
    assert runs == spliced_runs(split, 0.5, 5, 2)
    assert runs != spliced_runs(split, 0.5, 5, 3) and runs != spliced_runs(split, 0.5, 6, 2)
    shares = [len(spliced_runs(split, 0.5, 5, epoch)) / 40 for epoch in range(40)]
    assert 0.45 < np.mean(shares) < 0.55
    assert Splicer(split, np.arange(40), 0.8).splice(0.0, 5, 2, len) is split


def test_rare_glosses_are_drawn_more_often_than_their_share():
    """COMMON is signed 81 times, RARE 9 times: 9 to 1. By the square root it is 3 to 1."""
    rows = [(f"c{i}", "anna", "COMMON") for i in range(81)]
    rows += [(f"r{i}", "anna", "RARE") for i in range(9)]
    split = split_of(*rows, ("long", "anna", "LONG " * 8), frames=1)
    drawn: Counter[str] = Counter()
    for epoch in range(600):
        for run in spliced_runs(split, epoch=epoch)[90][1:]:
            drawn[split.sentences[run.sentence].glosses[0]] += 1
    assert drawn["COMMON"] / drawn["RARE"] == pytest.approx(3, rel=0.2)


def test_what_cannot_be_spliced_stays_as_it_is():
    split = corpus_of(("unknown", "", "anna"))
    assert sorted(spliced_runs(split)) == list(range(2, 40, 3)), "unknown signers"
    split = split_of(("a", "anna", "X Y Z"), ("b", "anna", "P Q"), unknown=(1, 3, 4))
    for epoch in range(30):
        runs = spliced_runs(split, epoch=epoch)
        assert list(runs) == [0], "none of b's glosses has known times"
        used = {(run.first, run.end) for run in runs[0]}
        assert used <= {(0, 1), (2, 3)}, "a run ends before a gloss whose times are not known"


def test_ctc_can_align_every_spliced_sentence():
    split = split_of(*[(f"s{i}", "anna", "X Y X X") for i in range(6)], frames=3)
    splicer = Splicer(split, np.arange(6), 0.8)
    for epoch in range(20):
        for sentence in splicer.splice(1.0, 0, epoch, min_frames).sentences:
            if sentence.glosses != ("X", "Y", "X", "X"):
                assert sentence.frames >= min_frames(sentence.glosses)


def test_a_spliced_sentence_can_be_followed_by_another_one():
    split = corpus_of()
    spliced = Splicer(split, np.arange(40), 0.8).splice(0.5, 0, 1, min_frames)
    mixed = mix_sentences(spliced, np.arange(40), 0.9, 0, 1, min_frames, 0.8)
    assert set(mixed.joined) > set(spliced.joined) and mixed.single is split
    for index in mixed.joined:
        sentence = mixed.sentences[index]
        landmarks, _ = mixed.read(index)
        assert len(landmarks) == sentence.frames == mixed.lengths[index]
        partner = mixed.partners[index]
        following = spliced.sentences[partner].glosses if partner >= 0 else ()
        assert sentence.glosses == spliced.sentences[index].glosses + following
