"""The files of a corpus are read once: by one process of a machine, and not again by later runs."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import data.corpus
import data.folder_memory
import training.corpus_checks
import training.setup
from data.corpus import Corpus
from errors import DataError
from tests.data.small_corpus import in_format_1
from training.corpus_checks import CorpusContent, find_bad_sentences, read_content
from training.distributed import ProcessGroup, Ranks
from training.resume import plan_start
from training.setup import prepare_on_all_ranks, prepare_run, train_statistics


@pytest.fixture
def path(tiny_corpus, tmp_path, monkeypatch) -> Path:
    """A corpus of format 1 with NaN in two frames of sentence 3, old enough to be remembered."""
    monkeypatch.setattr(data.folder_memory, "_SETTLED_NS", -1)
    path = in_format_1(Path(shutil.copytree(tiny_corpus, tmp_path / "corpus")))
    landmarks = np.load(path / "train.landmarks.npy")
    first = int(Corpus(path).split("train").offsets[3])
    landmarks[first + 4 : first + 6, 400, 1] = np.nan
    np.save(path / "train.landmarks.npy", landmarks)
    return path


@pytest.fixture
def nothing_is_read(monkeypatch):
    """Call it, and from then on reading a whole file, or the features of a split, fails."""

    def fail(*_, **__):
        raise AssertionError("a file is read in full")

    def start() -> None:
        monkeypatch.setattr(data.corpus, "sha256_of", fail)
        monkeypatch.setattr(training.corpus_checks, "damaged_frames", fail)
        monkeypatch.setattr("training.run_files.remembered_statistics.feature_statistics", fail)

    return start


def test_what_was_read_is_remembered(path, nothing_is_read):
    corpus = Corpus(path)
    content = read_content(corpus)
    start = corpus.split("train").offsets[3]
    assert content.damaged == {"train": [start + 4, start + 5], "dev": []}
    assert len(content.digests) == 6
    nothing_is_read()
    again = read_content(Corpus(path))
    assert again == content
    train = Corpus(path).split("train")
    (bad,) = find_bad_sentences(train, again.damaged["train"])
    assert (bad.index, bad.unreadable) == (3, True)
    assert bad.reason == "landmarks have NaN or infinite values (first in frame 4)"


def test_a_second_run_reads_no_file_in_full(path, tiny_settings, nothing_is_read):
    tiny_settings["training"] |= {"data_dir": str(path), "skip_bad": True}

    def start():
        trainer = prepare_run(plan_start(None, tiny_settings)).trainer
        return train_statistics(trainer), trainer.plan.trainable.tolist()

    statistics, trainable = start()
    nothing_is_read()
    again, trainable_again = start()
    assert trainable == trainable_again and 3 not in trainable
    assert all((one == two).all() for one, two in zip(statistics, again, strict=True))


def test_a_large_corpus_that_is_read_is_announced(path, monkeypatch, capsys):
    monkeypatch.setattr(training.corpus_checks, "_LARGE_BYTES", 1000)
    read_content(Corpus(path))
    printed = capsys.readouterr().out
    assert printed.startswith("reading 0.0 GB of") and "later runs skip this" in printed
    read_content(Corpus(path))
    assert capsys.readouterr().out == ""


class TwoRanks(Ranks):
    """Rank 1 of two on a machine. What rank 0 reads is given."""

    rank, world = 1, 2

    def __init__(self, content: CorpusContent):
        self.content = content

    def once_per_machine(self, make):
        return self.content

    def gather(self, value):
        return [value, value]


def test_other_ranks_get_what_the_first_one_of_their_machine_read(
    path, tiny_settings, nothing_is_read
):
    tiny_settings["training"] |= {"data_dir": str(path), "skip_bad": True}
    content = read_content(Corpus(path))
    (path / data.folder_memory.NAME).unlink(missing_ok=True)
    nothing_is_read()
    ranks = TwoRanks(content)
    run = prepare_on_all_ranks(
        ranks, lambda: plan_start(None, tiny_settings), lambda plan: prepare_run(plan, ranks=ranks)
    )
    assert 3 not in run.trainer.plan.trainable


@pytest.mark.parametrize(("rank", "local_rank", "first"), [(2, 0, 2), (3, 1, 2), (1, 1, 0)])
def test_the_first_rank_of_each_machine_works_for_the_others(monkeypatch, rank, local_rank, first):
    """Four ranks on two machines."""
    group, made = ProcessGroup(rank, 4, local_rank), []

    def gather(outcome):
        outcomes = [["machine 0", None], [None, None], ["machine 1", None], [None, None]]
        outcomes[rank] = outcome
        return outcomes

    monkeypatch.setattr(group, "gather", gather)

    def make() -> str:
        made.append(rank)
        return f"machine {first // 2}"

    assert group.once_per_machine(make) == f"machine {first // 2}"
    assert made == ([rank] if local_rank == 0 else [])


def test_an_error_of_the_first_rank_is_raised_on_all_ranks_of_its_machine(monkeypatch):
    group = ProcessGroup(1, 2, 1)
    failed = [[None, DataError("unreadable")], [None, None]]
    monkeypatch.setattr(group, "gather", lambda _: failed)
    with pytest.raises(DataError, match="unreadable"):
        group.once_per_machine(lambda: pytest.fail("rank 1 reads"))
