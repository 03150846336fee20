"""The sentences that a closed set has, and those that a checkpoint was trained on."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data.corpus import Corpus
from data.ctc_lengths import ctc_steps
from data.vocabulary import Vocabulary
from decoding.closed_set import ClosedSet, make_closed_set, read_sentence_list
from decoding.novelty import TrainText
from errors import DataError
from inference.opened_checkpoint import corpus_of_training
from inference.requests import TRAIN


def open_closed_set(name: str | None, corpus: Corpus | None, vocabulary: Vocabulary) -> ClosedSet:
    """The closed set of that name.

    Args:
        name: the path of a text file; None or 'train': the train split of `corpus`.
        corpus: None: there is no corpus here.

    Raises DataError.
    """
    if name not in (None, TRAIN):
        return make_closed_set(read_sentence_list(Path(name)), vocabulary, Path(name).name)
    remedy = "give a text file with one sentence per line as --closed_set"
    if corpus is None:
        raise DataError(
            "--decoder closed needs a list of sentences, and the corpus that the model was trained "
            f"on is not here: {remedy}"
        )
    if not len(corpus.splits.get(TRAIN, ())):
        raise DataError(f"{corpus.path} has no train sentences for --decoder closed: {remedy}")
    sentences = [sentence.glosses for sentence in corpus.split(TRAIN).sentences]
    return make_closed_set(sentences, vocabulary, f"train of {corpus.name}")


def train_text(
    checkpoint: dict[str, Any],
    corpus: Corpus,
    clean_up: Callable[[Sequence[str]], Sequence[str]] = tuple,
) -> TrainText | None:
    """The sentences of the train split that a checkpoint was trained on; None, with a note, if that
    corpus is not here.

    Args:
        corpus: the one that is evaluated.
        clean_up: applied to each sentence; see `normalize_phoenix2014`.
    """
    found = corpus_of_training(checkpoint, corpus)
    if found is None or TRAIN not in found.splits:
        name, path = checkpoint["corpus"]["name"], checkpoint["corpus"]["path"]
        print(
            f"note: known and new sentences are not told apart, because the corpus {name} that the "
            f"checkpoint was trained on is not here ({path})"
        )
        return None
    split = found.split(TRAIN)
    # Sentences that CTC cannot align were left out of the training
    trained = (split.required_steps > 0) & (ctc_steps(split.lengths) >= split.required_steps)
    cleaned = (clean_up(split.sentences[index].glosses) for index in np.flatnonzero(trained))
    sentences = [glosses for glosses in cleaned if glosses]
    return TrainText.of(sentences, found.describe())
