"""Word error rate over glosses: substitutions, deletions and insertions of all sentences over all
reference glosses."""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import jiwer
import numpy as np

_RESAMPLES, _RESAMPLES_AT_ONCE = 10_000, 250
_BANDS = ((1, 5), (6, 10), (11, 15), (16, None))  # reference glosses a sentence


@dataclass(frozen=True)
class Score:
    """Counts over a split. `wer` is in percent, micro-averaged and not capped: above 100 with many
    insertions."""

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
        return 100.0 * self.errors / self.reference_glosses

    def __str__(self) -> str:
        share = 100.0 / self.reference_glosses
        return (
            f"WER {self.wer:.2f} % (sub {self.substitutions * share:.2f}, del {self.deletions * share:.2f}, "
            f"ins {self.insertions * share:.2f}) over {self.sentences} sentences"
        )


@dataclass(frozen=True)
class SentenceErrors:
    """One sentence aligned with its hypothesis: (reference, hypothesis) pairs, glosses left out,
    glosses too many."""

    substitutions: tuple[tuple[str, str], ...]
    deletions: tuple[str, ...]
    insertions: tuple[str, ...]
    reference_glosses: int

    @property
    def errors(self) -> int:
        return len(self.substitutions) + len(self.deletions) + len(self.insertions)


def align_pairs(
    references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]]
) -> list[list[tuple[str | None, str | None]]]:
    """Each sentence's glosses side by side, in order, with the fewest errors (jiwer):
    (reference, hypothesis) pairs, None where the other side has nothing. Either may be empty.

    Raises ValueError when the numbers of sentences differ.
    """
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references for {len(hypotheses)} hypotheses")
    # jiwer refuses empty references; all that is said for one of those is an insertion.
    spoken = [index for index, reference in enumerate(references) if len(reference)]
    pairs: list[list[tuple[str | None, str | None]]] = [
        [(None, heard) for heard in each] for each in hypotheses
    ]
    if not spoken:
        return pairs
    words = jiwer.process_words(
        [" ".join(references[i]) for i in spoken], [" ".join(hypotheses[i]) for i in spoken]
    )
    for index, chunks in zip(spoken, words.alignments, strict=True):
        pairs[index] = []
        for chunk in chunks:
            said = references[index][chunk.ref_start_idx : chunk.ref_end_idx]
            heard = hypotheses[index][chunk.hyp_start_idx : chunk.hyp_end_idx]
            # One of them is empty where a gloss was left out or added
            pairs[index] += zip_longest(said, heard)
    return pairs


def align(
    references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]]
) -> list[SentenceErrors]:
    """The errors of each hypothesis against its reference, as `align_pairs` finds them; either may
    be empty.

    Raises ValueError when the numbers of sentences differ.
    """
    aligned = []
    for pairs in align_pairs(references, hypotheses):
        both = [(said, heard) for said, heard in pairs if said is not None and heard is not None]
        aligned.append(
            SentenceErrors(
                substitutions=tuple((said, heard) for said, heard in both if said != heard),
                deletions=tuple(said for said, heard in pairs if heard is None),
                insertions=tuple(heard for said, heard in pairs if said is None),
                reference_glosses=sum(said is not None for said, _ in pairs),
            )
        )
    return aligned


def total(aligned: Sequence[SentenceErrors]) -> Score:
    """The counts of all sentences together."""
    return Score(
        substitutions=sum(len(sentence.substitutions) for sentence in aligned),
        deletions=sum(len(sentence.deletions) for sentence in aligned),
        insertions=sum(len(sentence.insertions) for sentence in aligned),
        reference_glosses=sum(sentence.reference_glosses for sentence in aligned),
        sentences=len(aligned),
    )


def score(references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]]) -> Score:
    """Align each hypothesis with its reference and add up the errors; an empty hypothesis is all
    deletions.

    Raises ValueError when the numbers of sentences differ or there is no reference gloss at all.
    """
    if not any(len(reference) for reference in references):
        raise ValueError(f"{len(references)} references without a single gloss")
    return total(align(references, hypotheses))


def by_group(
    aligned: Sequence[SentenceErrors], groups: Sequence[Hashable]
) -> dict[Hashable, list[SentenceErrors]]:
    """Sentences of each group (a signer, say), in the groups' sorted order; groups[i] is sentence
    i's. Groups without any reference gloss are left out: they have no WER."""
    members: dict[Hashable, list[SentenceErrors]] = {}
    for sentence, group in zip(aligned, groups, strict=True):
        members.setdefault(group, []).append(sentence)
    return {
        group: members[group]
        for group in sorted(members)
        if total(members[group]).reference_glosses
    }


def by_length(aligned: Sequence[SentenceErrors]) -> dict[str, list[SentenceErrors]]:
    """The sentences of 1 to 5, 6 to 10, 11 to 15 and 16 or more reference glosses, where there are
    any."""
    bands = {}
    for low, high in _BANDS:
        band = [
            one
            for one in aligned
            if low <= one.reference_glosses and (high is None or one.reference_glosses <= high)
        ]
        if band:
            bands[f"{low}-{high}" if high else f"{low}+"] = band
    return bands


def most_common_errors(
    aligned: Sequence[SentenceErrors], count: int = 20
) -> dict[str, list[tuple[str, int]]]:
    """The most frequent 'REFERENCE -> HYPOTHESIS' substitutions, deleted and inserted glosses, with
    how often."""
    substitutions = Counter(
        f"{said} -> {heard}" for sentence in aligned for said, heard in sentence.substitutions
    )
    deletions = Counter(gloss for sentence in aligned for gloss in sentence.deletions)
    insertions = Counter(gloss for sentence in aligned for gloss in sentence.insertions)
    kinds = {"substitutions": substitutions, "deletions": deletions, "insertions": insertions}
    return {
        kind: sorted(c.items(), key=lambda item: (-item[1], item[0]))[:count]
        for kind, c in kinds.items()
    }


def bootstrap_interval(aligned: Sequence[SentenceErrors], seed: int = 0) -> tuple[float, float]:
    """95 % interval of the WER in percent: sentences drawn anew with replacement
    (Bisani and Ney 2004), 10,000 times."""
    errors = np.array([sentence.errors for sentence in aligned])
    glosses = np.array([sentence.reference_glosses for sentence in aligned])
    random = np.random.default_rng(seed)
    drawn_rates = []
    for _ in range(0, _RESAMPLES, _RESAMPLES_AT_ONCE):
        drawn = random.integers(0, len(errors), (_RESAMPLES_AT_ONCE, len(errors)))
        wrong, said = errors[drawn].sum(1), glosses[drawn].sum(1)
        drawn_rates.append(100.0 * wrong[said > 0] / said[said > 0])
    low, high = np.percentile(np.concatenate(drawn_rates), (2.5, 97.5))
    return float(low), float(high)


def paired_p_value(
    first: Sequence[SentenceErrors], second: Sequence[SentenceErrors], seed: int = 0
) -> float:
    """How likely two runs on the same sentences differ this much in errors, or more, by chance
    (two-sided).

    Approximate randomisation: in each of 10,000 trials every sentence's two hypotheses are swapped
    or not by a coin. Raises ValueError when the runs do not have the same sentences.
    """
    if [one.reference_glosses for one in first] != [one.reference_glosses for one in second]:
        raise ValueError("the two runs were not scored on the same sentences")
    difference = np.array([a.errors - b.errors for a, b in zip(first, second, strict=True)])
    difference = difference[difference != 0]
    random = np.random.default_rng(seed)
    extreme = 0
    for _ in range(_RESAMPLES):
        signs = random.integers(0, 2, len(difference)) * 2 - 1
        extreme += abs((signs * difference).sum()) >= abs(difference.sum())
    return (extreme + 1) / (_RESAMPLES + 1)


def breakdown(aligned: Sequence[SentenceErrors], signers: Sequence[str]) -> dict:
    """WER with its interval and counts, the same by signer and by sentence length, and the most
    common errors."""
    return {
        **rates(aligned),
        "by_signer": {signer: rates(part) for signer, part in by_group(aligned, signers).items()},
        "by_length": {band: rates(part) for band, part in by_length(aligned).items()},
        "most_common": most_common_errors(aligned),
    }


def rates(aligned: Sequence[SentenceErrors]) -> dict:
    """WER in percent with its 95 % interval, and the counts, as result.json holds them."""
    whole = total(aligned)
    return {
        "wer": whole.wer,
        "wer_interval": list(bootstrap_interval(aligned)),
        "substitutions": whole.substitutions,
        "deletions": whole.deletions,
        "insertions": whole.insertions,
        "reference_glosses": whole.reference_glosses,
        "sentences": whole.sentences,
    }
