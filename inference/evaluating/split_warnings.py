"""Warnings about the sentences of an evaluated split, and what is simulated in an evaluation."""

from collections.abc import Iterator, Sequence

import numpy as np

from data.corpus import Split
from data.landmarks import PARTS
from errors import shown_names
from inference.model_on_corpus import ModelOnCorpus


def presence_warnings(split: Split, seen: np.ndarray, unseen: Sequence[int]) -> Iterator[str]:
    """Lines about sentences without a pose, and about those without hands.

    seen: as from `parts_seen`. unseen: the sentences without a pose.
    """
    if unseen:
        yield (
            f"no pose was detected in {len(unseen)} of {len(split)} {split.name} sentences "
            f"({_ids(split, unseen)}): they get no gloss, and each of their glosses is an error"
        )
    hands = [PARTS.index("left_hand"), PARTS.index("right_hand")]
    without_hands = np.flatnonzero(~seen[:, hands].any(1)).tolist()
    handless = sorted(set(without_hands).difference(unseen))
    if handless:
        yield (
            f"no hand was detected in {len(handless)} of {len(split)} {split.name} sentences "
            f"({_ids(split, handless)}): the model sees arms and face only"
        )


def reference_warning(split: Split, without_reference: int) -> Iterator[str]:
    """A line about the sentences without a reference; `without_reference` is their number."""
    if 0 < without_reference < len(split):
        yield (
            f"{without_reference} of {len(split)} {split.name} sentences have no reference: each "
            "gloss that is predicted there counts as an insertion; annotate them, or take them "
            "out of the split"
        )


def _ids(split: Split, indices: Sequence[int]) -> str:
    """The first ids, for a message."""
    return shown_names((split.sentences[index].id for index in indices), 3)


def what_is_simulated(model: ModelOnCorpus) -> Iterator[str]:
    """What is simulated, in words."""
    if model.checkpoint["corpus"]["simulated"]:
        yield f"the model was trained on {model.trained_on}"
    if model.corpus.simulated and not model.is_corpus_of_training:
        yield f"the evaluated corpus is {model.corpus.describe()}"
