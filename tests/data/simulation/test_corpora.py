"""Simulated corpora: the same bytes from the same seed, the requested splits, and signs that can be
learned."""

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest

from data.corpus import Corpus, split_files
from data.ctc_lengths import required_steps
from data.output_place import WritingLock
from data.simulation import corpora
from data.simulation.body import STUDIO, WEBCAM, draw_signer
from data.simulation.corpora import (
    SimulatedSigners,
    builtin_corpus,
    synthesize,
    synthesize_transcripts,
)
from data.simulation.grammar import GLOSSES
from data.sources.annotations.transcripts import TranscribedSentence
from errors import DataError, UsageError


def digests(folder: Path, split: str) -> list[str]:
    return [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in split_files(split)]


def test_same_seed_same_bytes_other_seed_other_bytes(tmp_path):
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        synthesize(tmp_path / name, sentences=4, dev_sentences=2, seed=seed)
    for split in ("train", "dev"):
        assert digests(tmp_path / "a", split) == digests(tmp_path / "b", split)
        assert not set(digests(tmp_path / "a", split)) & set(digests(tmp_path / "c", split))


def test_another_process_makes_the_same_landmarks():
    """The landmarks depend neither on Python's hash, which differs between processes, nor on a
    BLAS, whose rounding depends on its number of threads."""
    code = (
        "import hashlib, sys; sys.path.insert(0, sys.argv[1])\n"
        "from data.simulation.corpora import *\n"
        "signers = SimulatedSigners(('A', 'B'), STUDIO, 5)\n"
        "made = signers.record(TranscribedSentence('x', 'Signer01', ('A', 'B'), 120))[0]\n"
        "print(hashlib.sha256(made.tobytes()).hexdigest())"
    )
    root = Path(corpora.__file__).parents[2]
    command = [sys.executable, "-c", code, str(root)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "11"}
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    signers = SimulatedSigners(("B", "A"), STUDIO, 5)
    landmarks, _ = signers.record(TranscribedSentence("x", "Signer01", ("A", "B"), 120))
    assert run.stdout.strip() == hashlib.sha256(landmarks.tobytes()).hexdigest()


def test_a_sentence_does_not_depend_on_the_others_or_their_order(tmp_path):
    rows = [
        TranscribedSentence("first", "Signer01", ("RAIN", "NORTH"), 40),
        TranscribedSentence("second", "Signer02", ("SUN", "RAIN"), 30),
        TranscribedSentence("third", "Signer01", ("NORTH", "SUN", "SUN"), None),
    ]
    synthesize_transcripts(tmp_path / "a", {"train": rows})
    synthesize_transcripts(tmp_path / "b", {"train": rows[::-1]})
    a, b = Corpus(tmp_path / "a").split("train"), Corpus(tmp_path / "b").split("train")
    for index in range(3):
        for left, right in zip(a.read(index), b.read(2 - index), strict=True):
            assert np.array_equal(left, right)


def test_several_processes_write_the_same_bytes(tmp_path):
    rows = [TranscribedSentence(f"s{i}", f"signer{i % 2}", ("A", "B"), 20) for i in range(9)]
    for name, workers in (("one", 1), ("two", 2)):
        synthesize_transcripts(tmp_path / name, {"train": rows}, workers=workers)
    for file in split_files("train"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    assert len(Corpus(tmp_path / "two").split("train")) == 9


def kill_own_process(_: TranscribedSentence) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_killed_is_one_line(tmp_path, monkeypatch):
    rows = [TranscribedSentence(f"s{i}", "anna", ("A",), 20) for i in range(30)]
    monkeypatch.setattr(corpora, "_record", kill_own_process)
    with pytest.raises(DataError, match="was killed, perhaps because the memory was full"):
        synthesize_transcripts(tmp_path / "c", {"train": rows}, workers=2)
    assert list(tmp_path.iterdir()) == []


def test_few_sentences_are_recorded_before_they_are_asked_for():
    asked: list[int] = []

    class Pool:
        def submit(self, _, sentence):
            asked.append(sentence)
            done: Future = Future()
            done.set_result(sentence)
            return done

    found = corpora._record_ahead(Pool(), range(10), 4)
    assert [next(found) for _ in range(3)] == [0, 1, 2] and len(asked) == 6
    assert list(found) == [3, 4, 5, 6, 7, 8, 9] and asked == list(range(10))


def test_processes_ignore_ctrl_c_from_their_start():
    seen = []

    class Pool:
        def submit(self, _, sentence):
            seen.append(signal.getsignal(signal.SIGINT))
            done: Future = Future()
            done.set_result(sentence)
            return done

    before = signal.getsignal(signal.SIGINT)
    assert list(corpora._record_ahead(Pool(), range(2), 4)) == [0, 1]
    assert seen == [signal.SIG_IGN] * 2 and signal.getsignal(signal.SIGINT) == before


def test_only_many_sentences_are_divided_among_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(corpora, "cores_allowed", lambda: 2)
    started = []

    def recorder(signers, workers):
        started.append(workers)
        return contextlib.nullcontext(lambda rows: map(signers.record, rows))

    monkeypatch.setattr(corpora, "_recorder", recorder)
    monkeypatch.setattr(corpora, "_SENTENCES_PER_WORKER", 4)
    for sentences in (3, 6, 8, 12):
        synthesize(tmp_path / str(sentences), sentences=sentences, dev_sentences=0)
    synthesize(tmp_path / "one", sentences=8, dev_sentences=0, workers=1)
    assert started == [1, 1, 2, 2, 1]


def test_built_in_splits_share_signers_but_no_sentence(corpus):
    train, dev = corpus.split("train").sentences, corpus.split("dev").sentences
    assert (len(train), len(dev)) == (90, 24)
    assert {row.signer for row in dev} <= {row.signer for row in train}
    assert len({row.signer for row in train}) == 6
    assert not {row.glosses for row in dev} & {row.glosses for row in train}
    assert len({row.glosses for row in dev}) == 24
    rows = [*train, *dev]
    assert all(row.frames // 4 >= required_steps(row.glosses) for row in rows)
    pace = sum(row.frames for row in rows) / sum(len(row.glosses) for row in rows)
    assert 11 < pace < 18
    assert corpus.simulated and corpus.fps == 25 and np.isclose(corpus.aspect_ratio, 4 / 3)
    assert corpus.facts["made_by"]["seed"] == 3 and corpus.facts["made_by"]["sentences"] == 90


def test_unseen_dev_signers_are_really_unseen(tmp_path):
    synthesize(tmp_path / "c", sentences=8, dev_sentences=4, test_sentences=3, unseen_dev_signers=2)
    made = Corpus(tmp_path / "c")
    train, dev = ({row.signer for row in made.split(split).sentences} for split in ("train", "dev"))
    assert len(dev) == 2 and not dev & train
    assert len(made.split("test")) == 3
    a, b = (draw_signer(name, 0, WEBCAM) for name in (min(train), min(dev)))
    assert a.upper_arm != b.upper_arm and a.shoulder_width != b.shoulder_width


@pytest.mark.parametrize("frames", [1, 2, 9, 27, 100, 299])
def test_transcripts_have_exactly_their_frames(tmp_path, frames):
    row = TranscribedSentence("s", "Signer04", ("__ON__", "loc-NORD", "REGEN", "REGEN"), frames)
    synthesize_transcripts(tmp_path / "c", {"train": [row]})
    made = Corpus(tmp_path / "c")
    assert made.split("train").sentences[0].frames == frames
    assert made.split("train").sentences[0].glosses == row.glosses
    assert np.isclose(made.aspect_ratio, 210 / 260) and made.simulated


def test_transcripts_without_frames_have_the_signers_own_pace():
    signers = SimulatedSigners(("A", "B", "C"), STUDIO, 0)
    lengths = [
        len(signers.record(TranscribedSentence(str(k), "Signer01", ("A", "B", "C")))[0])
        for k in range(12)
    ]
    assert 25 < np.mean(lengths) < 80 and len(set(lengths)) > 3


def test_impossible_corpora_are_refused_in_one_line(tmp_path):
    with pytest.raises(UsageError, match="--sentences 0"):
        synthesize(tmp_path / "a", sentences=0)
    with pytest.raises(UsageError, match="--unseen_dev_signers -1"):
        synthesize(tmp_path / "a", unseen_dev_signers=-1)
    with pytest.raises(UsageError, match="no sentences"):
        synthesize_transcripts(tmp_path / "a", {"train": []})
    with pytest.raises(DataError, match="dev sentence 'x' has no glosses"):
        synthesize_transcripts(tmp_path / "a", {"dev": [TranscribedSentence("x", "S", ())]})
    twice = [TranscribedSentence("x", "S", ("A",), 9)]
    with pytest.raises(DataError, match="'x' is in train and in dev"):
        synthesize_transcripts(tmp_path / "a", {"train": twice, "dev": twice})
    assert not (tmp_path / "a").exists()
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    with pytest.raises(UsageError, match="already exists"):
        synthesize(tmp_path / "used", sentences=2)


def test_builtin_corpus_is_made_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(corpora, "BUILTIN_CORPUS", tmp_path / "builtin")
    small = synthesize
    monkeypatch.setattr(
        corpora, "synthesize", lambda path: small(path, sentences=2, dev_sentences=1)
    )
    assert builtin_corpus() == tmp_path / "builtin"
    made = (tmp_path / "builtin" / "corpus.json").stat().st_mtime_ns
    assert capsys.readouterr().out.count("\n") == 1
    assert builtin_corpus() == tmp_path / "builtin"
    assert (tmp_path / "builtin" / "corpus.json").stat().st_mtime_ns == made
    assert capsys.readouterr().out == ""


def test_the_builtin_corpus_is_made_by_one_process_at_a_time(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(corpora, "BUILTIN_CORPUS", tmp_path / "builtin")
    partial = tmp_path / "builtin.partial"
    partial.mkdir()
    lock = WritingLock(partial, partial)
    monkeypatch.setattr(corpora.time, "sleep", lambda _: lock.release())  # it was killed
    small = synthesize
    monkeypatch.setattr(
        corpora, "synthesize", lambda path: small(path, sentences=2, dev_sentences=1)
    )
    assert (builtin_corpus() / "corpus.json").exists()
    assert "another process is making it ... done in" in capsys.readouterr().out


def _describe(signers: SimulatedSigners, signer: str, gloss: str, take: int) -> np.ndarray:
    """A vector of one sign in the image: arms and right hand at 8 moments, in shoulder widths from
    the shoulders."""
    landmarks, _ = signers.record(
        TranscribedSentence(f"{signer}-{gloss}-{take}", signer, (gloss,), 24)
    )
    pixels = landmarks[:, :, :2] / np.array([1, signers.framing.aspect_ratio])
    shoulders = pixels[:, [11, 12]]
    width = np.median(np.linalg.norm(shoulders[:, 0] - shoulders[:, 1], axis=1))
    points = (
        np.concatenate([pixels[:, 11:23] - shoulders.mean(axis=1, keepdims=True)], axis=1) / width
    )
    hand = (pixels[:, 522:] - pixels[:, 522:523]) / width
    rows = np.concatenate([points, hand], axis=1)[np.linspace(6, 18, 8).astype(int)]
    return rows.reshape(-1)


def test_a_gloss_looks_like_itself_across_signers_but_is_not_trivial():
    """With 20 glosses, the accuracy of nearest neighbours between signers is far above chance, 5 %,
    and clearly below 100 %."""
    signers = SimulatedSigners(GLOSSES, WEBCAM, 0)
    glosses = GLOSSES[:20]
    names = [
        name
        for name in (f"signer{k:02d}" for k in range(1, 9))
        if not signers.signer(name).left_handed
    ][:4]
    table = {
        name: np.stack([_describe(signers, name, gloss, 0) for gloss in glosses]) for name in names
    }
    same, different, right = [], [], []
    for probe in names:
        for gallery in names:
            if probe == gallery:
                continue
            distance = np.linalg.norm(table[probe][:, None] - table[gallery][None], axis=2)
            same.append(np.diag(distance).mean())
            different.append(distance[~np.eye(20, dtype=bool)].mean())
            right.append(np.mean(distance.argmin(axis=1) == np.arange(20)))
    assert np.mean(same) < 0.8 * np.mean(different)
    assert 0.4 < np.mean(right) < 0.97
