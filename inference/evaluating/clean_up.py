"""The official clean-up of PHOENIX-2014: of hypotheses, and of the glosses that they can have."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import TypeVar

from data.ctc_targets import PreparedSplit
from data.sources.annotations.phoenix_cleanup import normalize_gloss_phoenix2014
from data.vocabulary import Vocabulary

_Span = TypeVar("_Span")


def clean_hypothesis(
    glosses: Sequence[str], spans: Sequence[_Span]
) -> tuple[list[str], list[_Span]]:
    """A hypothesis after the official clean-up of PHOENIX-2014, and the spans of its glosses.

    The clean-up renames and removes single glosses. It joins none, and a gloss that is there twice
    stays there twice: see `data.sources.annotations.phoenix_cleanup`.
    """
    cleaned, kept = [], []
    for gloss, span in zip(glosses, spans, strict=True):
        if name := normalize_gloss_phoenix2014(gloss):
            cleaned.append(name)
            kept.append(span)
    return cleaned, kept


def cleaned_glosses(glosses: Sequence[str]) -> list[str]:
    return clean_hypothesis(glosses, glosses)[0]


def with_unknown_after_clean_up(prepared: PreparedSplit, vocabulary: Vocabulary) -> PreparedSplit:
    """The split, whose unknown glosses are those that no cleaned hypothesis can have."""
    possible = {*cleaned_glosses(vocabulary.glosses)}
    glosses = chain.from_iterable(prepared.references)
    return replace(prepared, unknown_glosses=[one for one in glosses if one not in possible])
