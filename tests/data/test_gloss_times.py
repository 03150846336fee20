"""When glosses begin and end: stored, checked, scaled, and carried from corpus to corpus."""

import json

import numpy as np
import pytest

from data.corpus import Corpus
from data.corpus_writer import CorpusWriter
from data.gloss_times import scale_times, wrong_times
from data.sources.corpus_resampling import resample_corpus
from data.sources.splitting import HeldOut, split_corpus
from errors import DataError
from tests.data.small_corpus import FACTS, recording

TIMES = {"s1": [[0, 2], [2, 5]], "s2": None, "s3": [[1, 3]]}
GLOSSES = {"s1": "HELLO WORLD", "s2": "WORLD", "s3": "HELLO"}


@pytest.fixture
def corpus(tmp_path) -> Corpus:
    with CorpusWriter(tmp_path / "timed", **FACTS) as writer:
        for id, times in TIMES.items():
            writer.split("train").add(id, "anna", GLOSSES[id], *recording(5), times)
        writer.split("dev").add("s4", "anna", "HELLO", *recording(3))
    return Corpus(tmp_path / "timed")


def test_the_times_of_each_sentence_are_those_that_were_written(corpus):
    train, dev = corpus.split("train"), corpus.split("dev")
    assert [train.times_of(index).tolist() for index in range(3)] == [
        [[0, 2], [2, 5]],
        [[-1, -1]],
        [[1, 3]],
    ]
    assert dev.times is None and dev.times_of(0) is None
    assert not (corpus.path / "dev.times.npy").exists(), "none is known: no file"
    assert train.subset([2, 0]).times.tolist() == [[1, 3], [0, 2], [2, 5]]


def test_a_changed_file_is_found(corpus):
    assert corpus.verify(["train", "dev"]) == []
    fingerprint = corpus.fingerprint
    np.save(corpus.path / "train.times.npy", np.array([[0, 1]] * 4, "<i4"))
    changed = Corpus(corpus.path)
    assert changed.verify(["train"]) == ["train.times.npy"]
    assert changed.fingerprint != fingerprint


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([[0, 2]] * 3, "has the times of 3 glosses, but the sentences have 4"),
        ([[0, 2], [2, 5], [0, 1], [1, 6]], r"row 3: frames 1 to 6, but sentence 's3' has 5 frames"),
        ([[0, 2], [2, 2], [0, 1], [1, 3]], "row 1: frames 2 to 2"),
        ([[-1, 2], [2, 3], [0, 1], [1, 3]], "row 0: frames -1 to 2"),
    ],
)
def test_times_that_do_not_fit_are_refused(times, message, corpus):
    np.save(corpus.path / "train.times.npy", np.array(times, "<i4"))
    with pytest.raises(DataError, match=message):
        Corpus(corpus.path)


def test_a_missing_file_is_told(corpus):
    (corpus.path / "train.times.npy").unlink()
    with pytest.raises(DataError, match=r"train\.times\.npy is missing"):
        Corpus(corpus.path)


def test_a_corpus_without_hashes_has_no_times(corpus):
    facts = json.loads((corpus.path / "corpus.json").read_text())
    del facts["splits"]["train"]["sha256"]
    (corpus.path / "corpus.json").write_text(json.dumps(facts))
    assert Corpus(corpus.path).split("train").times is None


@pytest.mark.parametrize("times", [[[0, 2]], [[0, 2], [3, 6]], [[0, 2], [3, 3]], [0, 2]])
def test_the_writer_refuses_times_that_do_not_fit(times, tmp_path):
    writer = CorpusWriter(tmp_path / "timed", **FACTS)
    with pytest.raises(DataError, match="train sentence 's1': gloss times"), writer:
        writer.split("train").add("s1", "anna", "HELLO WORLD", *recording(5), times)


def test_which_times_are_wrong():
    times = np.array([[0, 1], [-1, -1], [-1, 1], [1, 1], [3, 5], [3, 6]])
    assert wrong_times(times, 5).tolist() == [False, False, True, True, False, True]
    assert wrong_times(times[-1:], np.array([6])).tolist() == [False]


def test_times_at_another_frame_rate():
    times = np.array([[0, 3], [3, 4], [-1, -1], [7, 10]])
    assert scale_times(times, 10, 20).tolist() == [[0, 6], [6, 8], [-1, -1], [14, 20]]
    # 0.9 and 1.2 frames become 1 and 1: a gloss keeps a frame
    assert scale_times(times, 10, 3).tolist() == [[0, 1], [1, 2], [-1, -1], [2, 3]]
    assert scale_times(np.array([[9, 10]]), 10, 1).tolist() == [[0, 1]]


def test_a_resampled_corpus_has_the_scaled_times(corpus, tmp_path):
    resample_corpus(corpus.path, tmp_path / "twice", 2 * corpus.fps)
    train = Corpus(tmp_path / "twice").split("train")
    frames = train.sentences[0].frames
    assert train.times_of(0).tolist() == scale_times(np.array(TIMES["s1"]), 5, frames).tolist()
    assert train.times_of(1).tolist() == [[-1, -1]]


def test_split_keeps_the_times(corpus, tmp_path):
    with CorpusWriter(tmp_path / "train_only", **FACTS) as writer:
        for index in range(10):
            one = recording(index + 2)
            writer.split("train").add(f"s{index}", "anna", "HELLO", *one, [[index, index + 2]])
    split_corpus(
        tmp_path / "train_only",
        tmp_path / "parts",
        by="random",
        dev=HeldOut(0.3),
    )
    for split in Corpus(tmp_path / "parts").splits.values():
        for index, sentence in enumerate(split.sentences):
            number = int(sentence.id[1:])
            assert split.times_of(index).tolist() == [[number, number + 2]]
