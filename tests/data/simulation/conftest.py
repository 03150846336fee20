"""A small simulated corpus and a performer that the tests of the simulation share."""

from dataclasses import replace

import pytest

from data.corpus import Corpus
from data.simulation.body import WEBCAM, draw_signer
from data.simulation.corpora import synthesize
from data.simulation.grammar import GLOSSES
from data.simulation.lexicon import build_lexicon
from data.simulation.motion import Performer


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Corpus:
    """90 train and 24 dev sentences. Tests only read it."""
    folder = tmp_path_factory.mktemp("simulated") / "small"
    synthesize(folder, sentences=90, dev_sentences=24, seed=3)
    return Corpus(folder)


def performer(name: str = "signer01", seed: int = 0, **changes) -> Performer:
    signer = replace(draw_signer(name, seed, WEBCAM), **changes)
    return Performer(signer, build_lexicon(GLOSSES, seed), seed)
