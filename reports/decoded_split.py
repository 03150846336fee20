"""A split with the predictions of one decoder: the input of the reports."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from data.corpus import Corpus, Split
from data.vocabulary import Vocabulary
from decoding.scoring import SentenceErrors, align


@dataclass(frozen=True)
class DecodedSplit:
    """A split with the predictions of one decoder. The sequences have one element per sentence.

    Args:
        posteriors_of: computes the log-probabilities float32 (T', V) of a sentence from its index.
        predictions: the decoder's class indices.
        hypotheses: the glosses that are scored: those of `predictions`, or what a clean-up such as
            PHOENIX-2014's leaves of them.
        blank_share: share of the steps whose most probable class is the blank, 0 to 1.
    """

    corpus: Corpus
    split: Split
    vocabulary: Vocabulary
    posteriors_of: Callable[[int], Tensor]
    predictions: Sequence[Sequence[int]]
    hypotheses: Sequence[Sequence[str]]
    blank_share: float

    @property
    def references(self) -> list[tuple[str, ...]]:
        """The reference glosses of each sentence."""
        return [sentence.glosses for sentence in self.split.sentences]

    @property
    def signers(self) -> list[str]:
        """The signer of each sentence, in words where it is not known."""
        return [sentence.signer_name for sentence in self.split.sentences]

    @cached_property
    def aligned(self) -> list[SentenceErrors]:
        """The errors of each sentence."""
        return align(self.references, self.hypotheses)
