"""When each gloss of a corpus begins and ends, found by a trained model."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from data.checks.changed_files import open_unchanged_corpus
from data.checks.file_hash import sha256_of
from data.corpus_writer import CorpusWriter, check_output
from data.ctc_lengths import TIME_STRIDE
from data.gloss_times import DTYPE
from decoding.alignment import sentence_spans
from decoding.greedy import greedy_decode
from decoding.scoring import score
from errors import DataError
from inference.model_on_corpus import ModelOnCorpus, open_model_on_corpus
from progress_bar import ProgressBar

HIGH_WER = 20.0  # percent on train; above it the times are probably poor


class AlignedSplit(NamedTuple):
    """How many sentences of a split have gloss times, of how many, and how well the model fits."""

    aligned: int
    sentences: int
    wer: float  # percent, greedy, of the aligned sentences; 0 if there are none


def align_corpus(
    source: Path, checkpoint: Path, output: Path, device: str = "auto", progress: bool = False
) -> dict[str, AlignedSplit]:
    """Write the corpus `output`: the corpus `source` with gloss times (data/gloss_times.py).

    Args:
        source: the corpus folder.
        checkpoint: a model that was trained on its glosses.
        output: the corpus folder to make.
        device: 'auto', 'cpu', 'cuda' or 'cuda:N'.
        progress: show a progress bar.

    A sentence has no times if the model lacks one of its glosses, or if it has fewer frames than
    CTC needs for its glosses.

    Returns the facts of each split. Raises UsageError when `output` is not empty, DataError when a
    file is damaged or was changed after the corpus was written, or when no sentence can be aligned.
    """
    check_output(output, source, checkpoint)
    open_unchanged_corpus(source)  # before the model is loaded
    opened = open_model_on_corpus(checkpoint, str(source), device)
    corpus = opened.corpus
    made_by = {
        "command": "align",
        "checkpoint_sha256": sha256_of(checkpoint),
        "source": corpus.origin(),
    }
    counts = {}
    with (
        CorpusWriter.like(corpus, output, made_by) as writer,
        ProgressBar("align", sum(map(len, corpus.splits.values())), "sentence", progress) as bar,
    ):
        for name, split in corpus.splits.items():
            times, wer = _times_of_split(opened, name) if len(split) else ({}, 0.0)
            counts[name] = AlignedSplit(len(times), len(split), wer)
            for index, sentence in enumerate(split.sentences):
                writer.split(name).add(
                    sentence.id,
                    sentence.signer,
                    sentence.glosses,
                    *split.read(index),
                    times.get(index),
                )
                bar.update()
        if not any(facts.aligned for facts in counts.values()):
            raise DataError(
                f"{checkpoint} can align no sentence of {source}: each has a gloss that the model "
                "does not know, or fewer frames than its glosses need"
            )
    return counts


def _times_of_split(opened: ModelOnCorpus, name: str) -> tuple[dict[int, np.ndarray], float]:
    """The gloss times of each sentence that can be aligned, by its index; and the greedy WER of
    these sentences, in percent."""
    prepared = opened.prepared(name)
    times, references, hypotheses = {}, [], []
    for index, log_probs in opened.posteriors(name):
        target = prepared.targets[index]
        if target:
            found = _times(log_probs, target, prepared.split.sentences[index].frames)
            if found is not None:
                times[index] = found
                (hypothesis,) = greedy_decode(log_probs[None], torch.tensor([len(log_probs)]))
                hypotheses.append([*map(str, hypothesis)])
                references.append([*map(str, target)])
    return times, score(references, hypotheses).wer if times else 0.0


def _times(log_probs: Tensor, target: list[int], frames: int) -> np.ndarray | None:
    """The times of the glosses of a sentence, int32 (G, 2).

    In the most probable CTC alignment a gloss has few steps, and blanks lie between the glosses. A
    gloss ends, and the next one begins, half-way between their steps. The first gloss begins, and
    the last one ends, as far from its step as its neighbours are on average; a gloss that is alone
    has the whole sentence.

    log_probs: (T', V). Returns None if there is no alignment.
    """
    try:
        spans = sentence_spans(log_probs, target)
    except ValueError:  # where no pose was detected, only blanks are possible
        return None
    first, last = np.array(spans).T * TIME_STRIDE
    bounds = np.empty(len(target) + 1)
    bounds[1:-1] = (last[:-1] + first[1:]) / 2
    centres = (first + last) / 2
    reach = np.diff(centres).mean() / 2 if len(target) > 1 else np.inf
    bounds[0], bounds[-1] = max(centres[0] - reach, 0), min(centres[-1] + reach, frames)
    limits = np.rint(bounds).astype(DTYPE)
    times = np.stack([limits[:-1], np.maximum(limits[1:], limits[:-1] + 1)], axis=1)
    return np.minimum(times, [frames - 1, frames]).astype(DTYPE)
