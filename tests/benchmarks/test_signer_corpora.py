"""The corpora for unknown signers have the right signers in the right splits."""

import numpy as np
import pytest

from benchmarks import signer_corpora
from data.corpus import Corpus
from tests.data.signers import mp_data_vectors, standing_signer


@pytest.fixture
def small_numbers(monkeypatch):
    sizes = {"TRAIN_SENTENCES": 8, "DEV_SENTENCES": 4, "UNKNOWN_SIMULATED": 2}
    sizes |= {"TEST_KNOWN": 6, "TEST_UNKNOWN": 3, "TEST_SENTENCES": 2}
    for name, value in sizes.items():
        monkeypatch.setattr(signer_corpora, name, value)


def test_the_simulated_corpus_has_known_and_unknown_signers(tmp_path, small_numbers):
    rows = signer_corpora.simulated_rows(tmp_path)
    train_signers = {signer for _, signer, *_ in rows["train"]}
    dev_signers = {signer for id, signer, *_ in rows["dev"] if id.startswith("unknown-")}
    test_signers = {signer for id, signer, *_ in rows["test"] if id.startswith("more-unknown-")}
    assert (len(rows["train"]), len(rows["dev"]), len(dev_signers), len(test_signers)) == (
        8,
        8,
        2,
        3,
    )
    assert not train_signers & dev_signers
    assert not train_signers & test_signers and not dev_signers & test_signers
    known = [row for split in ("dev", "test") for row in rows[split] if "unknown" not in row[0]]
    assert len(known) > 4 and {row[1] for row in known} <= train_signers
    assert not {row[2] for row in rows["train"]} & {row[2] for row in rows["test"]}, (
        "test has no sentence of train"
    )
    assert len({row[0] for split in rows.values() for row in split}) == sum(map(len, rows.values()))


def test_the_corpora_of_recorders_and_others(tmp_path, small_numbers):
    """Two recorders take turns every thirty recordings; others have two recordings per gloss."""
    seeds = iter(range(1000))
    for folder, repetitions in (("mine", [*range(8), *range(30, 38)]), ("theirs", range(2))):
        for gloss in ("hello", "thank-you", "no"):
            for repetition in repetitions:
                path = (
                    tmp_path
                    / folder
                    / (gloss if folder == "mine" else gloss.replace("-", " ").title())
                )
                (path / str(repetition)).mkdir(parents=True)
                signer = standing_signer(6, next(seeds))
                for frame, vector in enumerate(mp_data_vectors(signer, face=True)):
                    np.save(path / str(repetition) / f"{frame}.npy", vector)
    words = [
        "--input",
        tmp_path / "mine",
        "--recorders",
        2,
        "--others",
        tmp_path / "theirs",
        "--output",
        tmp_path / "out",
    ]
    assert signer_corpora.main([str(word) for word in words]) == 0
    recorders, both, others = (
        Corpus(tmp_path / "out" / name) for name in ("recorders", "both", "others")
    )
    unknown = {s.signer for s in recorders.split("dev").sentences} - {
        s.signer for s in recorders.split("train").sentences
    }
    assert len(unknown) == 1 and both.simulated and not recorders.simulated
    assert len(both.split("train")) == 16 and "test" not in both.splits
    assert [s.glosses for s in others.split("dev").sentences] == [
        (g,) for g in ("hello", "no", "thank-you") for _ in "12"
    ]
