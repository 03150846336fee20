"""Errors on what the train split has, and on what is new.

A model can learn sentences by heart. So an evaluation tells apart:

- known sentences: the train split has a sentence with exactly these glosses, by any signer.
- new sentences: all others. They have known pairs if the train split has all their glosses and all
  their pairs of neighbouring glosses, in this order; otherwise they have new pairs.
- glosses by frequency: how often the train split has the gloss.
- glosses by pair: whether the train split has the pair of the gloss before and this gloss. The
  first gloss of a sentence has no such pair.

A sentence without a reference is neither known nor new. It is in a group of its own.

Sentences have a WER. Glosses have an error rate: the share of the reference glosses that are
confused or left out. An added gloss belongs to no gloss of the reference, so it does not count.
"""

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import compress, pairwise
from typing import Any

import numpy as np

from decoding.scoring import (
    SentenceErrors,
    align_pairs,
    interval_of,
    no_reference,
    rates,
    total,
)

# The fewest and the most occurrences in train of the glosses of a bin
_BINS = ((0, 0), (1, 4), (5, 19), (20, 99), (100, math.inf))


@dataclass(frozen=True)
class TrainText:
    """The sentences and the pairs of neighbouring glosses that a train split has, and how often it
    has each gloss. corpus: its name, in words."""

    corpus: str
    sentences: frozenset[tuple[str, ...]]
    pairs: frozenset[tuple[str, str]]
    occurrences: Counter[str]

    @classmethod
    def of(cls, sentences: Iterable[Sequence[str]], corpus: str) -> "TrainText":
        """The text of all sentences of a train split."""
        counts = Counter(map(tuple, sentences))
        occurrences: Counter[str] = Counter()
        for sentence, count in counts.items():
            for gloss in sentence:
                occurrences[gloss] += count
        pairs = frozenset(pair for sentence in counts for pair in pairwise(sentence))
        return cls(corpus, frozenset(counts), pairs, occurrences)

    def has_glosses_and_pairs_of(self, sentence: Sequence[str]) -> bool:
        """Whether train has all glosses and all pairs of neighbours of the sentence."""
        return self.pairs.issuperset(pairwise(sentence)) and all(
            gloss in self.occurrences for gloss in sentence
        )


@dataclass
class _GlossErrors:
    """The errors on some glosses of the references, such as the rare ones. `counts` has three
    numbers for each sentence with such glosses: how many it has, and how many of them are confused
    and left out."""

    counts: "array[int]" = field(default_factory=lambda: array("i"))
    names: set[str] = field(default_factory=set)

    def add(self, pairs: Sequence[tuple[str, str | None]]) -> None:
        """Add the glosses of a sentence. pairs: (gloss of the reference, gloss of the hypothesis
        that is aligned with it, None if it is left out)."""
        if pairs:
            confused = sum(found not in (None, name) for name, found in pairs)
            left_out = sum(found is None for _, found in pairs)
            self.counts.extend((len(pairs), confused, left_out))
            self.names.update(name for name, _ in pairs)

    def rates(self) -> dict[str, Any]:
        """The error rate in percent, with its 95 % interval; None without such glosses."""
        occurrences, confused, left_out = np.array(self.counts).reshape(-1, 3).T
        glosses, errors = int(occurrences.sum()), confused + left_out
        return {
            "error_rate": 100.0 * int(errors.sum()) / glosses if glosses else None,
            "error_rate_interval": list(interval_of(errors, occurrences)) if glosses else None,
            "substitutions": int(confused.sum()),
            "deletions": int(left_out.sum()),
            "occurrences": glosses,
            "glosses": len(self.names),
            "sentences": len(occurrences),
        }


def errors_by_novelty(
    references: Sequence[Sequence[str]],
    hypotheses: Sequence[Sequence[str]],
    aligned: Sequence[SentenceErrors],
    train: TrainText,
) -> dict[str, Any]:
    """The errors of known and new sentences and glosses, as result.json has them.

    A group without reference glosses has no rate: None. aligned: the errors of each sentence.
    """
    annotated = [len(reference) > 0 for reference in references]
    known = [tuple(reference) in train.sentences for reference in references]
    built = [train.has_glosses_and_pairs_of(reference) for reference in references]
    bins = {_bin_name(low, high): (low, high, _GlossErrors()) for low, high in _BINS}
    known_pairs, new_pairs = _GlossErrors(), _GlossErrors()
    for pairs in align_pairs(references, hypotheses):
        glosses = [(name, found) for name, found in pairs if name is not None]
        for low, high, group in bins.values():
            group.add([one for one in glosses if low <= train.occurrences[one[0]] <= high])
        followers = list(pairwise(glosses))
        is_known = [(before[0], one[0]) in train.pairs for before, one in followers]
        known_pairs.add([one for (_, one), old in zip(followers, is_known, strict=True) if old])
        new_pairs.add([one for (_, one), old in zip(followers, is_known, strict=True) if not old])

    def sentences(belongs: Iterable[bool]) -> dict[str, Any]:
        chosen = [one and has for one, has in zip(belongs, annotated, strict=True)]
        return _sentence_rates(list(compress(aligned, chosen)))

    return {
        "train": train.corpus,
        "train_sentences": len(train.sentences),
        "sentences": {
            "known": sentences(known),
            "new": sentences(not one for one in known),
            "new_known_pairs": sentences(
                parts and not one for parts, one in zip(built, known, strict=True)
            ),
            "new_new_pairs": sentences(not parts for parts in built),
        },
        "no_reference": no_reference(aligned),
        "glosses_by_frequency": {name: group.rates() for name, (_, _, group) in bins.items()},
        "glosses_by_pair": {"known": known_pairs.rates(), "new": new_pairs.rates()},
    }


def _bin_name(low: int, high: float) -> str:
    return f"{low}+" if math.isinf(high) else f"{low}-{high}" if high > low else f"{low}"


def _sentence_rates(aligned: Sequence[SentenceErrors]) -> dict[str, Any]:
    """`rates`, also of no sentences: then WER and interval are None."""
    if total(aligned).reference_glosses:
        return rates(aligned)
    counts = vars(total(aligned))
    return {"wer": None, "wer_interval": None, **counts}
