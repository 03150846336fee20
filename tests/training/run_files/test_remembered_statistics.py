"""The statistics of a corpus's features are computed once, and again when anything differs."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import training.run_files.remembered_statistics
from data.corpus import Corpus
from data.folder_memory import NAME
from data.landmarks import ALL_LANDMARKS, LandmarkSelection, subset
from data.pipeline import FeaturePipeline, feature_statistics
from training.run_files.remembered_statistics import remembered_statistics

CPU = torch.device("cpu")
ALL = np.arange(12)


@pytest.fixture
def path(tiny_corpus, tmp_path) -> Path:
    others = shutil.ignore_patterns(NAME)  # what other tests computed of this corpus
    return Path(shutil.copytree(tiny_corpus, tmp_path / "corpus", ignore=others))


@pytest.fixture
def computed(monkeypatch) -> list[int]:
    """One entry for each time that the statistics are computed."""
    calls = []

    def compute(*arguments, **options):
        calls.append(1)
        return feature_statistics(*arguments, **options)

    monkeypatch.setattr(training.run_files.remembered_statistics, "feature_statistics", compute)
    return calls


def statistics(
    path: Path, frames=1000, sentences=ALL, causal=False, selection=ALL_LANDMARKS, changed=False
):
    corpus = Corpus(path)
    if changed:
        corpus.fingerprint = "that of other files"
    pipeline = FeaturePipeline(corpus.aspect_ratio, CPU, causal, selection)
    return remembered_statistics(corpus, pipeline, corpus.split("train"), frames, sentences)


def test_remembered_statistics_are_the_same_numbers(path, computed):
    first, second = statistics(path), statistics(path)
    assert len(computed) == 1
    corpus = Corpus(path)
    expected = feature_statistics(
        FeaturePipeline(corpus.aspect_ratio, CPU), corpus.split("train"), 1000, sentences=ALL
    )
    for one, two, three in zip(first, second, expected, strict=True):
        assert one.dtype == two.dtype == torch.float32 and one.shape == (6516,)
        assert torch.equal(one, three) and torch.equal(two, three)


@pytest.mark.parametrize(
    "other",
    [
        {"frames": 500},
        {"sentences": ALL[1:]},
        {"causal": True},
        {"selection": LandmarkSelection(subset("arms"))},
        {"changed": True},
    ],
    ids=lambda other: next(iter(other)),
)
def test_other_circumstances_are_computed_anew(path, computed, other):
    statistics(path)
    statistics(path, **other)
    assert len(computed) == 2
    statistics(path)
    statistics(path, **other)
    assert len(computed) == 2, "both are remembered"


def test_another_version_of_the_code_is_computed_anew(path, computed, monkeypatch):
    statistics(path)
    source = "another version"
    monkeypatch.setattr(
        training.run_files.remembered_statistics.inspect, "getsource", lambda _: source
    )
    statistics(path)
    assert len(computed) == 2


@pytest.mark.parametrize("text", ["", "AAAA", "not base64!", "f" * 10])
def test_a_damaged_memory_is_computed_anew(path, computed, text):
    expected = statistics(path)
    content = (path / NAME).read_text()
    start = content.index('"statistics ')
    value = content.index(': "', start) + 3
    (path / NAME).write_text(content[:value] + text + content[content.index('"', value) :])
    found = statistics(path)
    assert len(computed) == 2 and torch.equal(found[0], expected[0])
