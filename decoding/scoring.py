"""Word error rate (WER) over glosses: substitutions, deletions and insertions of all sentences,
divided by the number of reference glosses."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress, islice, zip_longest
from typing import Any

import jiwer
import numpy as np

_ALIGNED_AT_ONCE = 1_000  # sentences
_RESAMPLES = 10_000
_DRAWN_AT_ONCE = 2_500_000  # sentences of some samples: 20 MB
_DRAWN_ONE_BY_ONE = 20_000  # a sample of more sentences is drawn by their kinds
_BANDS = ((1, 5), (6, 10), (11, 15), (16, None))  # reference glosses per sentence


@dataclass(frozen=True)
class Score:
    """Counts over all sentences of a split."""

    substitutions: int
    deletions: int
    insertions: int
    reference_glosses: int
    sentences: int

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def wer(self) -> float:
        """In percent, micro-averaged. It is not capped: many insertions give more than 100."""
        return 100.0 * self.errors / self.reference_glosses

    def __str__(self) -> str:
        share = 100.0 / self.reference_glosses
        return (
            f"WER {self.wer:.2f} % (sub {self.substitutions * share:.2f}, "
            f"del {self.deletions * share:.2f}, ins {self.insertions * share:.2f}) "
            f"over {self.sentences} sentences"
        )


@dataclass(frozen=True, slots=True)
class SentenceErrors:
    """The errors of one sentence.

    substitutions: (reference gloss, hypothesis gloss) pairs. deletions: reference glosses that the
    hypothesis lacks. insertions: hypothesis glosses that the reference lacks.
    """

    substitutions: tuple[tuple[str, str], ...]
    deletions: tuple[str, ...]
    insertions: tuple[str, ...]
    reference_glosses: int

    @property
    def errors(self) -> int:
        return len(self.substitutions) + len(self.deletions) + len(self.insertions)


def align_pairs(
    references: Iterable[Sequence[str]], hypotheses: Iterable[Sequence[str]]
) -> Iterator[list[tuple[str | None, str | None]]]:
    """Align each hypothesis with its reference, with the fewest errors (by jiwer).

    Yields (reference gloss, hypothesis gloss) pairs for each sentence, in order; None stands where
    one of them lacks a gloss. References and hypotheses may be empty. Raises ValueError when the
    numbers of sentences differ.
    """
    sentences = zip(references, hypotheses, strict=True)
    while some := list(islice(sentences, _ALIGNED_AT_ONCE)):
        yield from _aligned(*zip(*some, strict=True))


def _aligned(
    references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]]
) -> list[list[tuple[str | None, str | None]]]:
    """`align_pairs` of a few sentences."""
    # jiwer refuses empty references: there, each gloss of the hypothesis is an insertion
    not_empty = [index for index, reference in enumerate(references) if len(reference)]
    pairs: list[list[tuple[str | None, str | None]]] = [
        [(None, gloss) for gloss in hypothesis] for hypothesis in hypotheses
    ]
    if not not_empty:
        return pairs
    words = jiwer.process_words(
        [" ".join(references[i]) for i in not_empty], [" ".join(hypotheses[i]) for i in not_empty]
    )
    for index, chunks in zip(not_empty, words.alignments, strict=True):
        pairs[index] = []
        for chunk in chunks:
            expected = references[index][chunk.ref_start_idx : chunk.ref_end_idx]
            found = hypotheses[index][chunk.hyp_start_idx : chunk.hyp_end_idx]
            # One of both is empty in a chunk of deletions or insertions
            pairs[index] += zip_longest(expected, found)
    return pairs


def align(
    references: Iterable[Sequence[str]], hypotheses: Iterable[Sequence[str]]
) -> list[SentenceErrors]:
    """The errors of each hypothesis, by `align_pairs`. References and hypotheses may be empty.

    Raises ValueError when the numbers of sentences differ.
    """
    aligned = []
    for pairs in align_pairs(references, hypotheses):
        substitutions, deletions, insertions = [], [], []
        for expected, found in pairs:
            if expected is None:
                assert found is not None, "a pair has at least one gloss"
                insertions.append(found)
            elif found is None:
                deletions.append(expected)
            elif expected != found:
                substitutions.append((expected, found))
        aligned.append(
            SentenceErrors(
                substitutions=tuple(substitutions),
                deletions=tuple(deletions),
                insertions=tuple(insertions),
                reference_glosses=len(pairs) - len(insertions),
            )
        )
    return aligned


def total(aligned: Sequence[SentenceErrors]) -> Score:
    """The sum of the counts of all sentences."""
    return Score(
        substitutions=sum(len(sentence.substitutions) for sentence in aligned),
        deletions=sum(len(sentence.deletions) for sentence in aligned),
        insertions=sum(len(sentence.insertions) for sentence in aligned),
        reference_glosses=sum(sentence.reference_glosses for sentence in aligned),
        sentences=len(aligned),
    )


def score(references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]]) -> Score:
    """Align each hypothesis with its reference and sum the errors.

    An empty hypothesis is a deletion of all reference glosses. Raises ValueError when the numbers
    of sentences differ, or when there is no reference gloss at all.
    """
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references for {len(hypotheses)} hypotheses")
    if not any(len(reference) for reference in references):
        raise ValueError(f"{len(references)} references without a single gloss")
    return total(align(references, hypotheses))


def by_group(
    aligned: Sequence[SentenceErrors], groups: Sequence[str]
) -> dict[str, list[SentenceErrors]]:
    """The sentences of each group, such as a signer; groups[i] is the group of sentence i.

    The groups are sorted. A group without a reference gloss is left out: it has no WER.
    """
    members: dict[str, list[SentenceErrors]] = {}
    for sentence, group in zip(aligned, groups, strict=True):
        members.setdefault(group, []).append(sentence)
    return {
        group: members[group]
        for group in sorted(members)
        if total(members[group]).reference_glosses
    }


def by_length(aligned: Sequence[SentenceErrors]) -> dict[str, list[SentenceErrors]]:
    """The sentences with 1 to 5, 6 to 10, 11 to 15, and 16 or more reference glosses.

    The keys are '1-5', '6-10', '11-15' and '16+'. A band without sentences is left out.
    """
    bands = {}
    for low, high in _BANDS:
        band = [
            sentence
            for sentence in aligned
            if low <= sentence.reference_glosses
            and (high is None or sentence.reference_glosses <= high)
        ]
        if band:
            bands[f"{low}-{high}" if high else f"{low}+"] = band
    return bands


def most_common_errors(
    aligned: Sequence[SentenceErrors], count: int = 20
) -> dict[str, list[tuple[str, int]]]:
    """The most frequent substitutions ('REFERENCE -> HYPOTHESIS'), deleted glosses and inserted
    glosses, each with its count. count: how many of each kind."""
    substitutions = Counter(
        f"{expected} -> {found}"
        for sentence in aligned
        for expected, found in sentence.substitutions
    )
    deletions = Counter(gloss for sentence in aligned for gloss in sentence.deletions)
    insertions = Counter(gloss for sentence in aligned for gloss in sentence.insertions)
    kinds = {"substitutions": substitutions, "deletions": deletions, "insertions": insertions}
    return {
        kind: sorted(counter.items(), key=lambda item: (-item[1], item[0]))[:count]
        for kind, counter in kinds.items()
    }


def bootstrap_interval(aligned: Sequence[SentenceErrors], seed: int = 0) -> tuple[float, float]:
    """`interval_of` the errors of each sentence."""
    errors = np.array([sentence.errors for sentence in aligned])
    glosses = np.array([sentence.reference_glosses for sentence in aligned])
    return interval_of(errors, glosses, seed)


def interval_of(errors: np.ndarray, glosses: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """95 % confidence interval of the WER in percent, by the bootstrap: 10,000 samples of the
    sentences, drawn with replacement (Bisani and Ney 2004).

    errors, glosses: int (N,), errors and reference glosses of each sentence.
    """
    random = np.random.default_rng(seed)
    draw = _draw_sentences if len(errors) <= _DRAWN_ONE_BY_ONE else _draw_kinds
    drawn_rates = [
        100.0 * wrong[total_glosses > 0] / total_glosses[total_glosses > 0]
        for wrong, total_glosses in draw(errors, glosses, random)
    ]
    low, high = np.percentile(np.concatenate(drawn_rates), (2.5, 97.5))
    return float(low), float(high)


def _draw_sentences(
    errors: np.ndarray, glosses: np.ndarray, random: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The sums of errors and glosses in each of 10,000 samples, some samples at a time."""
    at_once = min(max(_DRAWN_AT_ONCE // len(errors), 1), _RESAMPLES)
    for start in range(0, _RESAMPLES, at_once):
        drawn = random.integers(0, len(errors), (min(at_once, _RESAMPLES - start), len(errors)))
        yield errors[drawn].sum(1), glosses[drawn].sum(1)


def _draw_kinds(
    errors: np.ndarray, glosses: np.ndarray, random: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The same for many sentences: how often a sample has each kind of sentence (its errors and its
    glosses) has a multinomial distribution, so that single sentences need not be drawn."""
    kinds, counts = np.unique(np.stack([errors, glosses], axis=1), axis=0, return_counts=True)
    for _ in range(_RESAMPLES // 100):
        drawn = random.multinomial(len(errors), counts / len(errors), 100) @ kinds
        yield drawn[:, 0], drawn[:, 1]


def paired_p_value(
    first: Sequence[SentenceErrors], second: Sequence[SentenceErrors], seed: int = 0
) -> float:
    """The two-sided p-value of the difference in errors between two runs on the same sentences: how
    probable a difference of this size or larger is by chance.

    Approximate randomisation (Noreen 1989): in each of 10,000 trials the two hypotheses of each
    sentence are swapped with probability one half. Raises ValueError when the runs do not have the
    same sentences.
    """
    if [a.reference_glosses for a in first] != [b.reference_glosses for b in second]:
        raise ValueError("the two runs were not scored on the same sentences")
    difference = np.array([a.errors - b.errors for a, b in zip(first, second, strict=True)])
    difference = difference[difference != 0]
    random = np.random.default_rng(seed)
    extreme = 0
    for _ in range(_RESAMPLES):
        signs = random.integers(0, 2, len(difference)) * 2 - 1
        extreme += abs((signs * difference).sum()) >= abs(difference.sum())
    return (extreme + 1) / (_RESAMPLES + 1)


def breakdown(aligned: Sequence[SentenceErrors], signers: Sequence[str]) -> dict[str, Any]:
    """`rates` of all sentences, of each signer and of each band of lengths, and the most common
    errors. signers[i] is the signer of sentence i.

    Sentences without a reference belong to no signer and no band, but to `no_reference`: so the
    groups add up to all sentences.
    """
    annotated = [sentence.reference_glosses > 0 for sentence in aligned]
    scored, of_signers = list(compress(aligned, annotated)), list(compress(signers, annotated))
    return {
        **rates(aligned),
        "by_signer": {name: rates(part) for name, part in by_group(scored, of_signers).items()},
        "by_length": {band: rates(part) for band, part in by_length(scored).items()},
        "no_reference": no_reference(aligned),
        "most_common": most_common_errors(aligned),
    }


def no_reference(aligned: Sequence[SentenceErrors]) -> dict[str, int]:
    """How many sentences have no reference, and how many glosses are predicted there."""
    found = [len(one.insertions) for one in aligned if not one.reference_glosses]
    return {"sentences": len(found), "insertions": sum(found)}


def rates(aligned: Sequence[SentenceErrors]) -> dict[str, Any]:
    """WER in percent with its 95 % interval, and the counts, with the keys of result.json."""
    counts = total(aligned)
    return {
        "wer": counts.wer,
        "wer_interval": list(bootstrap_interval(aligned)),
        "substitutions": counts.substitutions,
        "deletions": counts.deletions,
        "insertions": counts.insertions,
        "reference_glosses": counts.reference_glosses,
        "sentences": counts.sentences,
    }
