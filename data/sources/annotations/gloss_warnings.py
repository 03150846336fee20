"""Warnings about glosses that look like mistakes of an annotation table."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence

_JOINERS = "\u200c\u200d"  # they are part of the spelling


def gloss_warnings(sentences: Iterable[Sequence[str]]) -> list[str]:
    """What looks like a mistake in the glosses of the sentences, one line each.

    Three things are named: glosses with a separator of tables in them, glosses that look the same
    but differ in invisible characters, such as direction marks, and glosses that differ in upper
    and lower case alone. All would be classes of their own.
    """
    glosses = {gloss for sentence in sentences for gloss in sentence}
    warnings = []
    separated = sorted(gloss for gloss in glosses if len(gloss) > 1 and set(gloss) & set(",;"))
    if separated:
        warnings.append(
            f"{_count(separated)} a comma or semicolon in the gloss itself, such as "
            f"{separated[0]!r}; if it should separate glosses, write spaces instead"
        )
    alike: dict[str, list[str]] = defaultdict(list)
    for gloss in sorted(glosses):
        alike[_visible(gloss)].append(gloss)
    several = [look for look, same in alike.items() if len(same) > 1]
    if several:
        marks = ", ".join(map(_marks, alike[several[0]]))
        warnings.append(
            f"{_count(several)} several spellings that look the same, such as {several[0]!r} with "
            f"the invisible characters {marks}; each is a gloss of its own: remove these "
            "characters if they are one sign"
        )
    folded: dict[str, list[str]] = defaultdict(list)
    for gloss in sorted(glosses):
        folded[gloss.casefold()].append(gloss)
    cases = [same for same in folded.values() if len(same) > 1]
    if cases:
        first, second = cases[0][:2]
        warnings.append(
            f"{_count(cases)} spellings in upper and lower case, such as {first!r} and {second!r}; "
            "each is a gloss of its own: write them alike if they are one sign"
        )
    return warnings


def _count(glosses: Sequence[object]) -> str:
    return "1 gloss has" if len(glosses) == 1 else f"{len(glosses):,} glosses have"


def _visible(gloss: str) -> str:
    return "".join(one for one in gloss if one in _JOINERS or unicodedata.category(one) != "Cf")


def _marks(gloss: str) -> str:
    marks = [f"U+{ord(one):04X}" for one in gloss if _visible(one) == ""]
    return " ".join(marks) or "none"
