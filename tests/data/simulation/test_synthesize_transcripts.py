"""Sentences of given transcripts, acted by simulated signers."""

from data.corpus import Corpus, split_files
from data.simulation.corpora import synthesize_transcripts
from data.sources.transcripts import TranscribedSentence


def test_several_processes_write_the_same_bytes(tmp_path):
    rows = [TranscribedSentence(f"s{i}", f"signer{i % 2}", ("A", "B"), 20) for i in range(9)]
    for name, workers in (("one", 1), ("two", 2)):
        synthesize_transcripts(tmp_path / name, {"train": rows}, workers=workers)
    for file in split_files("train"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    assert len(Corpus(tmp_path / "two").split("train")) == 9
