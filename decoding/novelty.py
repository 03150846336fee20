"""Errors on what the train split has, and on what is new.

A model can learn sentences by heart. So an evaluation tells apart:

- known sentences: the train split has a sentence with exactly these glosses, by any signer.
- new sentences: all others. They have known pairs if the train split has all their glosses and all
  their pairs of neighbouring glosses, in this order; otherwise they have new pairs.
- glosses by frequency: how often the train split has the gloss.
- glosses by pair: whether the train split has the pair of the gloss before and this gloss. The
  first gloss of a sentence has no such pair.

Sentences have a WER. Glosses have an error rate: the share of the reference glosses that are
confused or left out. An added gloss belongs to no gloss of the reference, so it does not count.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import compress, pairwise
from typing import Any, NamedTuple

from decoding.scoring import SentenceErrors, align_pairs, rates, total

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

    def has_parts_of(self, sentence: Sequence[str]) -> bool:
        """Whether train has all glosses and all pairs of neighbours of the sentence."""
        return self.pairs.issuperset(pairwise(sentence)) and all(
            gloss in self.occurrences for gloss in sentence
        )


class _Gloss(NamedTuple):
    """A gloss of a reference; the gloss before it (None for the first); the gloss of the hypothesis
    that is aligned with it (None if it is left out)."""

    name: str
    before: str | None
    found: str | None


def errors_by_novelty(
    references: Sequence[Sequence[str]],
    hypotheses: Sequence[Sequence[str]],
    aligned: Sequence[SentenceErrors],
    train: TrainText,
) -> dict[str, Any]:
    """The errors of known and new sentences and glosses, as result.json has them.

    A group without reference glosses has no rate: None. aligned: the errors of each sentence.
    """
    known = [tuple(reference) in train.sentences for reference in references]
    built = [train.has_parts_of(reference) for reference in references]
    glosses = [_glosses(pairs) for pairs in align_pairs(references, hypotheses)]

    def sentences(belongs: Iterable[bool]) -> dict[str, Any]:
        return _sentence_rates(list(compress(aligned, belongs)))

    def by_gloss(belongs: Callable[[_Gloss], bool]) -> dict[str, Any]:
        return _gloss_rates([list(filter(belongs, row)) for row in glosses])

    def occurs_in_train(low: int, high: float) -> Callable[[_Gloss], bool]:
        return lambda gloss: low <= train.occurrences[gloss.name] <= high

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
        "glosses_by_frequency": {
            _bin_name(low, high): by_gloss(occurs_in_train(low, high)) for low, high in _BINS
        },
        "glosses_by_pair": {
            "known": by_gloss(lambda gloss: (gloss.before, gloss.name) in train.pairs),
            "new": by_gloss(
                lambda gloss: (
                    gloss.before is not None and (gloss.before, gloss.name) not in train.pairs
                )
            ),
        },
    }


def _bin_name(low: int, high: float) -> str:
    return f"{low}+" if math.isinf(high) else f"{low}-{high}" if high > low else f"{low}"


def _glosses(pairs: Iterable[tuple[str | None, str | None]]) -> list[_Gloss]:
    """The glosses of a reference. pairs: of `align_pairs`."""
    glosses: list[_Gloss] = []
    for name, found in pairs:
        if name is not None:
            glosses.append(_Gloss(name, glosses[-1].name if glosses else None, found))
    return glosses


def _sentence_rates(aligned: Sequence[SentenceErrors]) -> dict[str, Any]:
    """`rates`, also of no sentences: then WER and interval are None."""
    if total(aligned).reference_glosses:
        return rates(aligned)
    counts = vars(total(aligned))
    return {"wer": None, "wer_interval": None, **counts}


def _gloss_rates(rows: Sequence[Sequence[_Gloss]]) -> dict[str, Any]:
    """The error rate in percent of some glosses of each sentence, with its 95 % interval."""
    found = _sentence_rates(
        [
            SentenceErrors(
                tuple((one.name, one.found) for one in row if one.found not in (None, one.name)),
                tuple(one.name for one in row if one.found is None),
                insertions=(),
                reference_glosses=len(row),
            )
            for row in rows
            if row
        ]
    )
    return {
        "error_rate": found["wer"],
        "error_rate_interval": found["wer_interval"],
        "substitutions": found["substitutions"],
        "deletions": found["deletions"],
        "occurrences": found["reference_glosses"],
        "glosses": len({one.name for row in rows for one in row}),
        "sentences": found["sentences"],
    }
