"""Composing sentences: no recording in two splits, no jumps between recordings, the same bytes from
the same seed."""

import re
from collections import Counter, defaultdict
from itertools import pairwise

import numpy as np
import pytest

from data.corpus import Corpus
from data.corpus_writer import CorpusWriter
from data.keyed_random import generator
from data.sources.composer import (
    compose,
    join,
    plan_split,
    split_recordings,
)
from data.sources.corpus_resampling import resample_corpus
from data.sources.isolated_recordings import IsolatedRecording, read_recordings
from data.sources.splitting import HeldOut, split_corpus
from errors import DataError, UsageError
from tests.data.still_recordings import RIGHT_HAND, clip


def recordings_of(
    counts: dict[str, int], block: int = 30, signers: int = 1
) -> list[IsolatedRecording]:
    rows = [(gloss, repetition) for gloss, count in counts.items() for repetition in range(count)]
    return [
        IsolatedRecording(
            index,
            gloss,
            repetition,
            f"recorder{repetition // block % signers + 1:02d}",
            repetition // block,
        )
        for index, (gloss, repetition) in enumerate(rows)
    ]


# ---- motion ----


def test_recordings_are_joined_without_a_jump():
    """Still recordings at 1, 4 and 2: no step is larger than those between two recordings."""
    landmarks, detected, times = join(
        [clip([1] * 10), clip([4] * 10), clip([2] * 10)], generator("test")
    )
    track = landmarks[:, 0, 0]
    assert detected.shape == (len(track), 4)
    assert (track[0], track[-1]) == (1, 2)
    assert np.abs(np.diff(track)).max() <= 3 / 3 + 1e-6  # 3 apart in at least 2 frames, so 3 steps
    still = [len(list(np.flatnonzero(track == value))) for value in (1, 4, 2)]
    assert all(8 <= count <= 13 for count in still)  # speeds 1.25 to 0.8
    assert 4 <= len(track) - sum(still) <= 12  # two transitions of 2 to 6 frames
    runs = [np.flatnonzero(track == value) for value in (1, 4, 2)]
    assert times.tolist() == [[run[0], run[-1] + 1] for run in runs]


def test_speeds_and_transitions_differ_from_draw_to_draw():
    lengths = {
        len(join([clip([1] * 20), clip([4] * 20)], generator(draw))[0]) for draw in range(40)
    }
    assert len(lengths) > 10
    assert min(lengths) >= 32 + 2
    assert max(lengths) <= 50 + 6


# ---- splits ----


def test_the_last_fifth_in_each_session_is_held_out():
    pools = split_recordings(recordings_of({"a": 45, "b": 10}), "repetition", ["dev"])
    held_out = defaultdict(list)
    for recording in pools["dev"]:
        held_out[recording.gloss].append(recording.repetition)
    assert sorted(held_out["a"]) == [*range(24, 30), *range(42, 45)]  # of 30 and of 15
    assert sorted(held_out["b"]) == [8, 9]
    assert len(pools["train"]) + len(pools["dev"]) == 55


def test_test_takes_the_fifth_before():
    pools = split_recordings(recordings_of({"a": 10}), "repetition", ["dev", "test"])
    assert {name: sorted(r.repetition for r in pool) for name, pool in pools.items()} == {
        "train": [0, 1, 2, 3, 4, 5],
        "dev": [8, 9],
        "test": [6, 7],
    }


def test_no_recording_is_in_two_splits():
    recordings = recordings_of({"a": 1, "b": 2, "c": 3, "d": 7, "e": 64}, block=20)
    pools = split_recordings(recordings, "repetition", ["dev", "test"])
    indices = [recording.index for pool in pools.values() for recording in pool]
    assert sorted(indices) == list(range(len(recordings)))
    # A gloss with one recording stays in train
    assert {recording.gloss for recording in pools["train"]} == set("abcde")


def test_repetitions_are_sorted_as_numbers_whatever_their_order_in_the_corpus():
    recordings = recordings_of({"a": 20})[::-1]
    assert sorted(
        r.repetition for r in split_recordings(recordings, "repetition", ["dev"])["dev"]
    ) == [16, 17, 18, 19]


def test_split_by_signer_holds_out_whole_signers():
    recordings = recordings_of({"a": 90, "b": 60}, signers=3)
    pools = split_recordings(recordings, "signer", ["dev"])
    assert {recording.signer for recording in pools["dev"]} == {"recorder03"}
    assert {recording.signer for recording in pools["train"]} == {"recorder01", "recorder02"}
    assert len(pools["train"]) == 120
    pools = split_recordings(recordings, "signer", ["dev"], ["recorder01", "recorder03"])
    assert {recording.signer for recording in pools["train"]} == {"recorder02"}


@pytest.mark.parametrize(
    ("signers", "split_by", "heldout_splits", "names", "message"),
    [
        (
            1,
            "signer",
            ["dev"],
            None,
            "needs one signer to train on and another one to hold out, found only recorder01",
        ),
        (
            2,
            "signer",
            ["dev"],
            ["recorder01", "recorder02"],
            "needs one signer to train on",
        ),
        (
            2,
            "signer",
            ["dev"],
            ["anna"],
            "--heldout_signers anna: no such signer; the recordings have recorder01, recorder02",
        ),
        (2, "signer", ["dev", "test"], None, "no --test_sentences"),
        (2, "signer", [], None, "give --dev_sentences"),
        (2, "repetition", ["dev"], ["recorder01"], "--heldout_signers goes with --split_by signer"),
    ],
)
def test_splits_that_cannot_be_made(signers, split_by, heldout_splits, names, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        split_recordings(recordings_of({"a": 60}, signers=signers), split_by, heldout_splits, names)


# ---- sentences ----


def plan(recordings, count=200, least=3, most=7, seed=0):
    return plan_split(recordings, count, least, most, "split 'train' of x", (seed, "train"))


def test_a_sentence_has_one_signer_one_session_and_an_allowed_length():
    recordings = recordings_of({gloss: 90 for gloss in "abcdefgh"}, signers=3)
    sentences = plan(recordings).sentences
    assert len(sentences) == 200
    for sentence in sentences:
        assert len({(recording.signer, recording.session) for recording in sentence}) == 1
        assert len({recording.index for recording in sentence}) == len(
            sentence
        )  # no recording twice
    assert {len(sentence) for sentence in sentences} == {3, 4, 5, 6, 7}
    assert {sentence[0].session for sentence in sentences} == {0, 1, 2}


def test_all_glosses_are_used_about_equally_often():
    """Also glosses of a single session, as most letters are in real recordings."""
    counts = {"a": 300, "b": 300, "c": 150, "d": 90, "e": 30, "f": 30, "g": 30}
    chosen = plan(recordings_of(counts), count=300).gloss_counts()
    assert set(chosen) == set(counts)
    assert max(chosen.values()) - min(chosen.values()) <= 5  # of about 214


def test_recordings_of_a_gloss_are_used_in_turn():
    result = plan(recordings_of({gloss: 10 for gloss in "abcde"}), count=100)
    uses = Counter(recording.index for sentence in result.sentences for recording in sentence)
    for gloss in range(5):
        of_gloss = [uses[index] for index in range(10 * gloss, 10 * gloss + 10)]
        assert max(of_gloss) - min(of_gloss) <= 1


def test_a_gloss_follows_itself_rarely_but_does():
    sentences = plan(recordings_of({gloss: 30 for gloss in "abcdef"}), count=1000).sentences
    glosses = [[recording.gloss for recording in sentence] for sentence in sentences]
    pairs = [left == right for sentence in glosses for left, right in pairwise(sentence)]
    assert 0.005 < np.mean(pairs) < 0.05


def test_sentences_differ_and_start_with_any_gloss():
    sentences = plan(recordings_of({gloss: 30 for gloss in "abcdefgh"})).sentences
    texts = {tuple(recording.gloss for recording in sentence) for sentence in sentences}
    assert len(texts) > 190
    assert {text[0] for text in texts} == set("abcdefgh")


def test_sessions_of_too_few_glosses_are_left_out_and_counted():
    recordings = recordings_of({"a": 60, "b": 60, "c": 30})  # session 1 has a and b only
    result = plan(recordings)
    assert {recording.session for sentence in result.sentences for recording in sentence} == {0}
    assert Counter(recording.gloss for recording in result.left_out) == {"a": 30, "b": 30}
    assert plan(recordings, least=2).left_out == []


def test_a_sentence_is_no_longer_than_its_session_has_recordings():
    sentences = plan(recordings_of({"a": 1, "b": 1, "c": 2}), least=3, most=7).sentences
    assert {len(sentence) for sentence in sentences} == {3, 4}


def test_one_gloss_is_enough():
    sentences = plan(recordings_of({"a": 4}), least=1, most=3).sentences
    assert {recording.gloss for sentence in sentences for recording in sentence} == {"a"}


def test_too_few_glosses_are_a_clear_error():
    with pytest.raises(
        DataError,
        match="split 'train' of x: no signer has 4 different glosses in one session among 6 ",
    ):
        plan(recordings_of({"a": 2, "b": 2, "c": 2}), least=4)


def test_the_sentences_depend_on_the_seed():
    recordings = recordings_of({gloss: 30 for gloss in "abcdefgh"})
    assert plan(recordings, seed=1).sentences == plan(recordings, seed=1).sentences
    assert plan(recordings, seed=1).sentences != plan(recordings, seed=2).sentences


# ---- whole folders ----


def isolated_corpus(path, glosses="abcd", repetitions=10, **made_by):
    """A corpus of still recordings: all landmarks of a recording are (its row + 1) / 64."""
    facts = {
        "command": "import",
        "format": "mp_data",
        "repetitions_per_session": 30,
        "recorders": 1,
    } | made_by
    with CorpusWriter(path, name="isolated", fps=30, aspect_ratio=1.5, made_by=facts) as writer:
        for row, (gloss, repetition) in enumerate(
            (g, r) for g in glosses for r in range(repetitions)
        ):
            landmarks, detected = clip([(row + 1) / 64] * 8, detected=row % 2 == 0)
            writer.split("train").add(
                f"{gloss}-{repetition}", "recorder01", [gloss], landmarks, detected
            )
    return path


def test_composed_frames_come_from_the_split_their_recordings_are_in(tmp_path):
    source = isolated_corpus(tmp_path / "isolated")
    plans = compose(source, tmp_path / "out", sentences={"train": 30, "dev": 10, "test": 5}, seed=3)
    corpus = Corpus(tmp_path / "out")
    repetition_of = {row + 1: row % 10 for row in range(40)}
    expected = {"train": set(range(6)), "test": {6, 7}, "dev": {8, 9}}
    for name, split in corpus.splits.items():
        found = set()
        for index, sentence in enumerate(split.sentences):
            landmarks, detected = split.read(index)
            values, counts = np.unique(
                landmarks[:, 0, 0].astype(np.float64) * 64, return_counts=True
            )
            # A value that stays for 6 frames belongs to a recording, not to a transition
            rows = [round(value) for value, count in zip(values, counts, strict=True) if count >= 6]
            found |= {repetition_of[row] for row in rows}
            assert {"abcd"[(row - 1) // 10] for row in rows} == set(sentence.glosses)
            times = split.times_of(index)
            for gloss, (first, end) in zip(sentence.glosses, times, strict=True):
                (value,) = np.unique(landmarks[first:end, 0, 0].astype(np.float64) * 64)
                assert "abcd"[(round(value) - 1) // 10] == gloss and end - first >= 6
            np.testing.assert_array_equal(landmarks[:, RIGHT_HAND].any(axis=(1, 2)), detected[:, 3])
        assert found == expected[name]
        assert sum(len(recordings) for recordings in plans[name].sentences) == sum(
            len(sentence.glosses) for sentence in split.sentences
        )


def test_a_recording_that_is_in_the_source_twice_is_in_one_split(tmp_path, capsys):
    source = isolated_corpus(tmp_path / "isolated")
    copy = tmp_path / "copies"
    original = Corpus(source).split("train")
    # a-0 (train) is a-9 (dev) again, and c-1 (train) is d-1 (train)
    same = {0: 9, 21: 31}
    facts = Corpus(source).facts["made_by"]
    with CorpusWriter(copy, name="copies", fps=30, aspect_ratio=1.5, made_by=facts) as writer:
        for row, one in enumerate(original.sentences):
            landmarks, detected = original.read(same.get(row, row))
            detected = np.ones_like(detected)
            writer.split("train").add(one.id, one.signer, one.glosses, landmarks, detected)
    plans = compose(copy, tmp_path / "out", sentences={"train": 60, "dev": 10}, seed=3)
    used = {r.index for recordings in plans["train"].sentences for r in recordings}
    assert 0 not in used and {21, 31} <= used
    shown = capsys.readouterr().out
    assert "warning: c-1 and d-1 are the same recording; correct or remove one" in shown
    assert "1 recordings are left out, because another split has a copy of them" in shown


def test_the_corpus_stores_how_it_was_made(tmp_path):
    source = isolated_corpus(tmp_path / "isolated")
    compose(
        source,
        tmp_path / "mine",
        sentences={"train": 4, "dev": 2},
        min_glosses=2,
        max_glosses=4,
        seed=3,
    )
    corpus = Corpus(tmp_path / "mine")
    assert corpus.describe() == "mine (composed)"
    assert (corpus.fps, corpus.aspect_ratio, corpus.simulated) == (30.0, 1.5, False)
    assert {name: len(split) for name, split in corpus.splits.items()} == {"train": 4, "dev": 2}
    made_by = corpus.facts["made_by"]
    assert made_by["sentences"] == {"train": 4, "dev": 2}
    assert (made_by["min_glosses"], made_by["max_glosses"], made_by["seed"]) == (2, 4, 3)
    assert made_by["split_by"] == "repetition"
    assert made_by["source"]["name"] == "isolated"
    assert made_by["source"]["made_by"]["repetitions_per_session"] == 30
    assert {sentence.signer for sentence in corpus.split("dev").sentences} == {"recorder01"}


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    source = isolated_corpus(tmp_path / "isolated")
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        compose(source, tmp_path / folder / "out", sentences={"train": 6, "dev": 3}, seed=seed)
    files = sorted(path.name for path in (tmp_path / "a/out").iterdir())
    assert len(files) == 9
    for file in files:
        first = (tmp_path / "a/out" / file).read_bytes()
        assert first == (tmp_path / "b/out" / file).read_bytes()
        assert file.endswith("detected.npy") or first != (tmp_path / "c/out" / file).read_bytes()


def test_only_corpora_of_isolated_recordings_can_be_composed(tmp_path):
    source = isolated_corpus(tmp_path / "isolated")
    compose(source, tmp_path / "composed", sentences={"train": 4})
    with pytest.raises(DataError, match="composed is not a corpus of isolated recordings"):
        compose(tmp_path / "composed", tmp_path / "again", sentences={"train": 4})
    other = isolated_corpus(tmp_path / "other", repetitions_per_session=None)
    with pytest.raises(DataError, match="compose needs a corpus made by 'import --format mp_data'"):
        read_recordings(Corpus(other))
    with CorpusWriter(
        tmp_path / "s", name="s", fps=25, aspect_ratio=1, made_by={"repetitions_per_session": 30}
    ) as writer:
        writer.split("train").add("s-1", "anna", "HELLO WORLD", *clip([1, 2]))
    with pytest.raises(DataError, match="'s-1' with 2 glosses is not an isolated recording"):
        read_recordings(Corpus(tmp_path / "s"))


def test_a_dev_split_without_recordings_is_a_clear_error(tmp_path):
    source = isolated_corpus(tmp_path / "isolated", repetitions=1)
    with pytest.raises(
        DataError, match=r"split 'dev' of .*isolated: no signer has 3 different glosses"
    ):
        compose(source, tmp_path / "out", sentences={"train": 4, "dev": 2})
    assert not (tmp_path / "out").exists()


def test_a_resampled_or_split_corpus_of_isolated_recordings_can_be_composed(tmp_path, capsys):
    """Recordings keep their repetitions, and so their sessions; only train is used."""
    source = isolated_corpus(tmp_path / "isolated", repetitions=70)
    resample_corpus(source, tmp_path / "slow", 15)
    split_corpus(tmp_path / "slow", tmp_path / "split", by="random", dev=HeldOut(0.2))
    before = {one.gloss + str(one.repetition): one for one in read_recordings(Corpus(source))}
    left = read_recordings(Corpus(tmp_path / "split"))
    assert {one.session for one in left} == {0, 1, 2} and len(left) == 224
    assert all(one.session == before[one.gloss + str(one.repetition)].session for one in left)
    compose(tmp_path / "split", tmp_path / "out", sentences={"train": 6, "dev": 3})
    assert Corpus(tmp_path / "out").fps == 15
    assert (
        "note: compose uses train only, not the 56 recordings of dev\n" in capsys.readouterr().out
    )
