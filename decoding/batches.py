"""Decode the sentences of a split while their log-probabilities come, in batches.

A sentence has a few glosses, but thousands of log-probabilities per step. So each batch is
decoded by every requested decoder. Then its log-probabilities are dropped. Only the class indices
of the hypotheses and the times of their glosses stay.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from data.features import frame_mask
from data.vocabulary import BLANK
from decoding.alignment import gloss_spans
from decoding.greedy import best_path
from decoding.rows import Rows, SpanRows

# (log_probs (B, T, V), lengths int (B,)) -> class indices of each sentence
Decoder = Callable[[Tensor, Tensor], list[list[int]]]

_BATCH_SIZE = 64  # sentences
_MOST_VALUES = 1 << 24  # log-probabilities of a batch with padding: 64 MB
_MOST_STATES = 1 << 22  # steps times CTC states that are aligned at once: about 100 MB


class PosteriorBatch(NamedTuple):
    """Sentences of a split.

    indices: of the sentences in the split. log_probs: float (B, T, V), with zeros as padding.
    lengths: int64 (B,), steps of each sentence.
    """

    indices: list[int]
    log_probs: Tensor
    lengths: Tensor


def in_batches(posteriors: Iterable[tuple[int, Tensor]]) -> Iterator[PosteriorBatch]:
    """Join sentences that follow each other to batches of at most 64 sentences and 64 MB.

    posteriors: (index, log-probs float (T, V)) of each sentence, at best sorted by length.
    """
    indices: list[int] = []
    rows: list[Tensor] = []
    longest = 0
    for index, log_probs in posteriors:
        steps, classes = log_probs.shape
        values = (len(rows) + 1) * max(longest, steps) * classes
        if rows and (len(rows) == _BATCH_SIZE or values > _MOST_VALUES):
            yield _batch(indices, rows)
            indices, rows, longest = [], [], 0
        indices.append(index)
        rows.append(log_probs)
        longest = max(longest, steps)
    if rows:
        yield _batch(indices, rows)


def _batch(indices: list[int], rows: list[Tensor]) -> PosteriorBatch:
    return PosteriorBatch(
        indices,
        torch.nn.utils.rnn.pad_sequence(rows, batch_first=True),
        torch.tensor([len(log_probs) for log_probs in rows]),
    )


@dataclass
class DecodedSentences:
    """What decoders predict for the sentences of a split.

    predictions: for each decoder, the class indices of each sentence.
    seconds: that each decoder took for all sentences.
    spans: for each sentence, first step and end step (exclusive) of each gloss of one decoder;
        empty if it was not asked for.
    blank_share: share of the steps whose most probable class is the blank, 0 to 1.
    """

    predictions: dict[str, Rows]
    seconds: dict[str, float]
    spans: SpanRows
    blank_share: float = 0.0

    def milliseconds(self, decoder: str) -> float:
        """That a decoder took per sentence."""
        return 1000 * self.seconds[decoder] / max(len(self.predictions[decoder]), 1)


def decode_sentences(
    posteriors: Iterable[tuple[int, Tensor]],
    count: int,
    decoders: Mapping[str, Decoder],
    spans_of: str | None = None,
) -> DecodedSentences:
    """Decode sentences while their log-probabilities come. None is kept longer than its batch.

    Args:
        posteriors: (index, log-probs float (T, V)) of each sentence.
        count: of the sentences; the indices are 0 to count - 1.
        decoders: by name.
        spans_of: the decoder whose glosses get their times, see `DecodedSentences.spans`.
    """
    found = DecodedSentences(
        {name: Rows(count) for name in decoders}, dict.fromkeys(decoders, 0.0), SpanRows(count)
    )
    blanks = steps = 0
    for indices, log_probs, lengths in in_batches(posteriors):
        for name, decode in decoders.items():
            started = time.perf_counter()
            batch = decode(log_probs, lengths)
            found.seconds[name] += time.perf_counter() - started
            for index, classes in zip(indices, batch, strict=True):
                found.predictions[name][index] = classes
            if name == spans_of:
                spans = _spans(log_probs, lengths, batch)
                for index, of_sentence in zip(indices, spans, strict=True):
                    found.spans[index] = of_sentence
        inside = frame_mask(lengths, log_probs.shape[1])
        blanks += int(((best_path(log_probs, lengths)[0] == BLANK) & inside).sum())
        steps += int(lengths.sum())
    found.blank_share = blanks / max(steps, 1)
    return found


def _spans(
    log_probs: Tensor, lengths: Tensor, batch: list[list[int]]
) -> Iterator[list[tuple[int, int]]]:
    """First step and end step of each gloss of each hypothesis of a batch, as many sentences at a
    time as fit into `_MOST_STATES`."""
    states = 2 * max(map(len, batch)) + 1
    at_once = max(_MOST_STATES // (log_probs.shape[1] * states), 1)
    for start in range(0, len(batch), at_once):
        part = slice(start, start + at_once)
        yield from _spans_at_once(log_probs[part], lengths[part], batch[part])


def _spans_at_once(
    log_probs: Tensor, lengths: Tensor, batch: list[list[int]]
) -> Iterator[list[tuple[int, int]]]:
    """`_spans` of a few sentences."""
    counts = torch.tensor([len(classes) for classes in batch])
    glosses = torch.zeros(len(batch), max(int(counts.max()), 1), dtype=torch.int64)
    for row, classes in enumerate(batch):
        glosses[row, : len(classes)] = torch.tensor(classes, dtype=torch.int64)
    begins, ends = gloss_spans(log_probs, lengths, glosses, counts)
    for row, classes in enumerate(batch):
        spans = zip(begins[row].tolist(), ends[row].tolist(), strict=True)
        yield list(spans)[: len(classes)]
