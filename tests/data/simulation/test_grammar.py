"""The sentences of the built-in corpus."""

import numpy as np

from data.keyed_random import generator
from data.simulation.grammar import GLOSSES, draw_sentence


def test_sentences_are_of_the_grammar():
    sentences = [draw_sentence(generator(0, "test", number)) for number in range(2000)]
    lengths = [len(sentence) for sentence in sentences]
    assert set(lengths) <= set(range(3, 9)) and 4.5 < np.mean(lengths) < 5.5
    assert {gloss for sentence in sentences for gloss in sentence} == set(GLOSSES)
    assert 38 <= len(GLOSSES) <= 48
