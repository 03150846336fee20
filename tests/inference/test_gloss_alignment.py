"""`prepare_data.py align`: a corpus with gloss times, found by a model."""

import numpy as np
import pytest
import torch

import prepare_data
from data.corpus import Corpus
from data.vocabulary import Vocabulary
from errors import DataError, UsageError
from inference import gloss_alignment
from inference.gloss_alignment import _times, align_corpus


def log_probs_of(path: list[int], classes: int = 4) -> torch.Tensor:
    """Log-probabilities in which each step of the path has 0.97."""
    probabilities = torch.full((len(path), classes), 0.01)
    probabilities[torch.arange(len(path)), torch.tensor(path)] = 0.97
    return probabilities.log()


def test_glosses_meet_half_way_between_their_steps():
    # Steps 2, 5 and 6, and 9: frames 8-12, 20-28 and 36-40 of 44; the middles are 14 apart
    path = [0, 0, 1, 0, 0, 2, 2, 0, 0, 3, 0]
    assert _times(log_probs_of(path), [1, 2, 3], 44).tolist() == [[3, 16], [16, 32], [32, 44]]
    assert _times(log_probs_of(path), [1, 2, 3], 42).tolist() == [[3, 16], [16, 32], [32, 42]]


def test_one_gloss_has_the_whole_sentence():
    assert _times(log_probs_of([0, 1, 0]), [1], 10).tolist() == [[0, 10]]
    # The gloss is in the last step, of which the sentence has one frame only
    for frames in (9, 10, 12):
        assert _times(log_probs_of([0, 0, 1]), [1], frames).tolist() == [[0, frames]]


def test_every_gloss_has_a_frame():
    times = _times(log_probs_of([1, 2, 3]), [1, 2, 3], 9)
    assert (times[:, 0] < times[:, 1]).all() and times.max() <= 9


def test_without_an_alignment_there_are_no_times():
    impossible = log_probs_of([0, 0, 0])
    impossible[:, 1:] = -torch.inf
    assert _times(impossible, [1], 12) is None


def test_the_corpus_stays_the_same_and_gets_times(finished_run, tiny_corpus, tmp_path, capsys):
    words = ["align", str(tiny_corpus), "--checkpoint", str(finished_run / "best_model.pth")]
    assert prepare_data.main([*words, "--output", str(tmp_path / "out"), "--device", "cpu"]) == 0
    before, after = Corpus(tiny_corpus), Corpus(tmp_path / "out")
    count = len(before.split("train"))
    assert f"train: gloss times of {count} of {count} sentences" in capsys.readouterr().out
    assert (after.fps, after.aspect_ratio, after.simulated) == (
        before.fps,
        before.aspect_ratio,
        before.simulated,
    )
    assert after.facts["made_by"]["source"]["fingerprint"] == before.fingerprint
    for name, split in before.splits.items():
        found = after.split(name)
        assert found.sentences == split.sentences
        assert np.array_equal(found.landmarks, split.landmarks)
        assert np.array_equal(found.detected, split.detected)
        for index, sentence in enumerate(split.sentences):
            times = found.times_of(index)
            assert len(times) == len(sentence.glosses)
            assert (np.diff(times[:, 0]) >= 0).all() and times.min() >= 0


def test_a_sentence_with_an_unknown_gloss_has_no_times(finished_run, make_corpus, tmp_path):
    splits = {"train": ["SUN RAIN", "SUN NEW"], "dev": ["NEW"]}
    corpus = make_corpus(tmp_path / "other", splits)
    best = finished_run / "best_model.pth"
    counts = align_corpus(corpus, best, tmp_path / "out", "cpu")
    assert {name: facts[:2] for name, facts in counts.items()} == {"train": (1, 2), "dev": (0, 1)}
    train = Corpus(tmp_path / "out").split("train")
    assert (train.times_of(0) >= 0).all() and (train.times_of(1) == -1).all()
    with pytest.raises(UsageError, match="already exists"):
        align_corpus(corpus, best, tmp_path / "out", "cpu")


@pytest.mark.parametrize("wer", [0, 100])
def test_the_fit_of_the_model_is_told(
    wer, finished_run, tiny_corpus, make_corpus, tmp_path, monkeypatch, capsys
):
    train = Corpus(tiny_corpus).split("train").sentences
    sun = Vocabulary.from_sentences(one.glosses for one in train).encode(["SUN"])
    monkeypatch.setattr(gloss_alignment, "greedy_decode", lambda *_: [[] if wer else sun])
    corpus = make_corpus(tmp_path / "other", {"train": ["SUN", "SUN", "NEW"], "dev": ["NEW"]})
    words = ["align", str(corpus), "--checkpoint", str(finished_run / "best_model.pth")]
    assert prepare_data.main([*words, "--output", str(tmp_path / "out"), "--device", "cpu"]) == 0
    told = capsys.readouterr()
    text = f"train: gloss times of 2 of 3 sentences; the model's greedy WER on these is {wer}.0 %"
    assert text in told.out and "dev: gloss times of 0 of 1 sentences\n" in told.out
    assert ("warning: the model's greedy WER on train is 100.0 %, expected" in told.err) == bool(
        wer
    )


def test_a_model_of_other_glosses_is_refused(finished_run, make_corpus, tmp_path):
    corpus = make_corpus(tmp_path / "other", {"train": ["NEW", "NEWER NEW"]})
    with pytest.raises(DataError, match=r"can align no sentence of .*: each has a gloss that"):
        align_corpus(corpus, finished_run / "best_model.pth", tmp_path / "out", "cpu")
    assert not (tmp_path / "out").exists()


def test_a_changed_corpus_is_refused(finished_run, make_corpus, tmp_path):
    corpus = make_corpus(tmp_path / "changed", {"train": ["SUN RAIN"], "dev": ["SUN"]})
    table = corpus / "dev.csv"
    table.write_bytes(table.read_bytes().replace(b"SUN", b"RAIN"))
    with pytest.raises(DataError, match=r"dev\.csv was changed: its SHA-256"):
        align_corpus(corpus, finished_run / "best_model.pth", tmp_path / "out", "cpu")
    assert not (tmp_path / "out").exists()
