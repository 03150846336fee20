"""Word error rate over glosses: substitutions, deletions and insertions of all sentences over all reference glosses."""

from collections.abc import Sequence
from dataclasses import dataclass

import jiwer


@dataclass(frozen=True)
class Score:
    """Counts over a split. `wer` is in percent, micro-averaged and not capped: above 100 with many insertions."""

    substitutions: int
    deletions: int
    insertions: int
    reference_glosses: int
    sentences: int

    @property
    def wer(self) -> float:
        errors = self.substitutions + self.deletions + self.insertions
        return 100.0 * errors / self.reference_glosses

    def __str__(self) -> str:
        share = 100.0 / self.reference_glosses
        return (
            f"WER {self.wer:.2f} % (sub {self.substitutions * share:.2f}, del {self.deletions * share:.2f}, "
            f"ins {self.insertions * share:.2f}) over {self.sentences} sentences"
        )


def score(references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]]) -> Score:
    """Align each hypothesis with its reference (jiwer) and add up the errors; an empty hypothesis is all deletions.

    Raises ValueError when the numbers of sentences differ or there is no reference gloss at all.
    """
    if len(references) != len(hypotheses) or not any(len(reference) for reference in references):
        raise ValueError(f"{len(references)} references (with glosses in them?) for {len(hypotheses)} hypotheses")
    # jiwer refuses empty references; all that is said for one of those is an insertion.
    spoken = [(r, h) for r, h in zip(references, hypotheses, strict=True) if len(r)]
    inserted = sum(len(h) for r, h in zip(references, hypotheses, strict=True) if not len(r))
    words = jiwer.process_words([" ".join(r) for r, _ in spoken], [" ".join(h) for _, h in spoken])
    return Score(
        substitutions=words.substitutions,
        deletions=words.deletions,
        insertions=words.insertions + inserted,
        reference_glosses=sum(len(reference) for reference in references),
        sentences=len(references),
    )
