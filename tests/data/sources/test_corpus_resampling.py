"""A corpus at another frame rate."""

import numpy as np
import pytest

from data.corpus import Corpus
from data.corpus_writer import CorpusWriter
from data.sources.corpus_resampling import resample_corpus
from errors import DataError, UsageError
from tests.data.small_corpus import in_format_1, rehash, write_corpus


def test_every_sentence_gets_the_new_rate_and_keeps_its_facts(tmp_path):
    facts = {"name": "fast", "fps": 50, "aspect_ratio": 0.75, "made_by": {"command": "test"}}
    with CorpusWriter(tmp_path / "fast", **facts, simulated=True, composed=True) as writer:
        for split, id, frames in (("train", "s1", 9), ("train", "s2", 4), ("dev", "d1", 1)):
            landmarks = np.arange(frames)[:, None, None] / 64 * np.ones((frames, 543, 3))
            writer.split(split).add(id, "anna", "A B", landmarks, np.ones((frames, 4), bool))
    resample_corpus(tmp_path / "fast", tmp_path / "slow", 25)
    corpus = Corpus(tmp_path / "slow")
    assert (corpus.fps, corpus.aspect_ratio, corpus.name) == (25, 0.75, "slow")
    assert corpus.simulated and corpus.composed
    assert corpus.facts["made_by"] == {
        "command": "resample",
        "input": "fast",
        "input_fps": 50,
        "input_made_by": {"command": "test"},
    }
    sentences = [*corpus.split("train").sentences, *corpus.split("dev").sentences]
    assert [(s.id, s.signer, s.glosses, s.frames) for s in sentences] == [
        ("s1", "anna", ("A", "B"), 5),
        ("s2", "anna", ("A", "B"), 2),
        ("d1", "anna", ("A", "B"), 1),
    ]
    np.testing.assert_allclose(
        corpus.split("train").read(0)[0][:, 0, 0], np.arange(0, 9, 2) / 64, atol=1e-3
    )


def test_a_sentence_without_frames_is_one_line(tmp_path):
    facts = {"name": "fast", "fps": 50, "aspect_ratio": 0.75, "made_by": {}}
    with CorpusWriter(tmp_path / "fast", **facts) as writer:
        writer.split("train").add("s1", "a", "A", np.zeros((4, 543, 3)), np.zeros((4, 4), bool))
    (tmp_path / "fast" / "train.csv").write_text(
        "id|signer|frames|annotation\ns1|a|4|A\ns2|a|0|A\n"
    )
    facts = (tmp_path / "fast" / "corpus.json").read_text()
    (tmp_path / "fast" / "corpus.json").write_text(
        facts.replace('"sentences": 1', '"sentences": 2')
    )
    rehash(tmp_path / "fast")
    with pytest.raises(DataError, match="train sentence 's2' has no frames: remove its line"):
        resample_corpus(tmp_path / "fast", tmp_path / "slow", 25)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_damaged_landmarks_are_one_line(tmp_path, value):
    """Without a warning of numpy, which shows the line of the source."""
    source = in_format_1(write_corpus(tmp_path / "old"))
    stored = np.load(source / "train.landmarks.npy")
    stored[2, 10] = value
    np.save(source / "train.landmarks.npy", stored)
    rehash(source)
    with pytest.raises(DataError, match="train sentence 's1': landmarks have NaN, infinite or"):
        resample_corpus(source, tmp_path / "new", 50)


def test_a_corpus_of_that_rate_is_not_copied(tmp_path):
    facts = {"name": "tv", "fps": 29.97, "aspect_ratio": 0.75, "made_by": {}}
    with CorpusWriter(tmp_path / "tv", **facts) as writer:
        writer.split("train").add("s", "a", "A", np.ones((2, 543, 3)), np.ones((2, 4), bool))
    with pytest.raises(UsageError, match=r"--fps 30: .*tv has 29\.97 frames/s already"):
        resample_corpus(tmp_path / "tv", tmp_path / "out", 30)
    assert not (tmp_path / "out").exists()
