"""The worst and the best sentences of a decoded split, reference and hypothesis side by side."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from decoding.scoring import SentenceErrors, align_pairs
from reports.decoded_split import DecodedSplit

SENTENCES_LISTED = 10  # worst ones, and as many best ones


@dataclass(frozen=True)
class GlossPair:
    """A reference gloss and the gloss of the hypothesis that is aligned with it.

    kind: "ok", "sub" (substitution), "del" (deletion: hypothesis is None) or "ins" (insertion:
    reference is None).
    """

    kind: str
    reference: str | None
    hypothesis: str | None


@dataclass(frozen=True)
class ListedSentence:
    """A sentence as the report lists it."""

    wer: str
    id: str
    signer: str
    pairs: list[GlossPair]

    @property
    def texts(self) -> list[str | None]:
        """All glosses, the reference first."""
        return [text for pair in self.pairs for text in (pair.reference, pair.hypothesis)]


def ranked(aligned: Sequence[SentenceErrors]) -> list[int]:
    """Indices of the sentences from the worst to the best.

    The order is by errors per reference gloss, then by errors. Of the sentences without an error,
    the longest is the best.
    """

    def badness(index: int) -> tuple[float, int, int, int]:
        errors, glosses = aligned[index].errors, aligned[index].reference_glosses
        without_reference = math.inf if errors else 0.0
        rate = errors / glosses if glosses else without_reference
        return -rate, -errors, 0 if errors else glosses, index

    return sorted(range(len(aligned)), key=badness)


def worst_and_best(aligned: Sequence[SentenceErrors]) -> tuple[list[int], list[int]]:
    """Indices of the ten worst sentences (each with an error), and of the ten best of the others,
    the best one first."""
    order = [
        index
        for index in ranked(aligned)
        if aligned[index].reference_glosses or aligned[index].errors
    ]
    worst = [index for index in order[:SENTENCES_LISTED] if aligned[index].errors]
    best = order[len(worst) :][::-1]
    return worst, best[:SENTENCES_LISTED]


def list_sentences(
    decoded: DecodedSplit,
) -> tuple[list[ListedSentence], list[ListedSentence]]:
    """The worst and the best sentences, with their glosses in pairs."""
    worst, best = worst_and_best(decoded.aligned)
    chosen = [*worst, *best]
    references = decoded.references
    alignments = align_pairs(
        [references[index] for index in chosen], [decoded.hypotheses[index] for index in chosen]
    )
    listed = [
        _listed(decoded, index, pairs) for index, pairs in zip(chosen, alignments, strict=True)
    ]
    return listed[: len(worst)], listed[len(worst) :]


def _listed(
    decoded: DecodedSplit, index: int, pairs: Sequence[tuple[str | None, str | None]]
) -> ListedSentence:
    sentence, errors = decoded.split.sentences[index], decoded.aligned[index]
    wer = "no reference"
    if errors.reference_glosses:
        wer = f"{100 * errors.errors / errors.reference_glosses:.0f} %"
    return ListedSentence(
        wer, sentence.id, sentence.signer_name, [GlossPair(_kind(*pair), *pair) for pair in pairs]
    )


def _kind(reference: str | None, hypothesis: str | None) -> str:
    if reference is None:
        return "ins"
    if hypothesis is None:
        return "del"
    return "ok" if reference == hypothesis else "sub"
