"""Warnings about glosses that look like mistakes of an annotation table."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence

# They belong to the spelling in many scripts and to signs such as emoji, but not to Latin letters:
# joiners, and the selectors of variants
_JOINERS_AND_SELECTORS = {0x200C, 0x200D, *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)}
_SCRIPTS_WITHOUT_THEM = ("LATIN ", "GREEK ", "CYRILLIC ")
# Format characters that are shown: signs around numbers in Arabic, Syriac and Kaithi, and the tags
# of flags
_SEEN_MARKS = {
    *range(0x0600, 0x0606),
    *(0x06DD, 0x070F, 0x0890, 0x0891, 0x08E2, 0x110BD, 0x110CD),
    *range(0xE0020, 0xE0080),
}
# Arabic letters are written with them or without: the stretching line, and the vowel marks
_ARABIC_EXTRAS = {0x0640, 0x0670, *range(0x064B, 0x0653)}


def gloss_warnings(sentences: Iterable[tuple[str, Sequence[str]]]) -> list[str]:
    """What looks like a mistake in the glosses of the sentences, one line each.

    sentences: the glosses of each, by a name such as "train sentence 's1'".

    Four things are named: glosses with a separator of tables in them, glosses with invisible
    characters, such as direction marks, glosses that differ in the form of their letters, such as a
    stretched Arabic word, and glosses that differ in upper and lower case alone. All would be
    classes of their own.
    """
    first_in: dict[str, str] = {}
    for name, sentence in sentences:
        for gloss in sentence:
            first_in.setdefault(gloss, name)
    glosses = set(first_in)
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
    invisible = [gloss for gloss in sorted(glosses) if _visible(gloss) != gloss]
    if invisible:
        # A gloss that looks like another one is the better example
        gloss = next((one for one in invisible if len(alike[_visible(one)]) > 1), invisible[0])
        marks = ", ".join(map(_marks, alike[_visible(gloss)]))
        twins = (
            f" (several spellings look the same, with {marks}; each is a gloss of its own)"
            if len(alike[_visible(gloss)]) > 1
            else ""
        )
        warnings.append(
            f"{_count(invisible)} invisible characters, such as {_marks(gloss)} in "
            f"{_visible(gloss)!r} of {first_in[gloss]}{twins}; remove them unless they belong to "
            "the spelling"
        )
    forms: dict[str, list[str]] = defaultdict(list)
    for look in alike:
        forms[_plain_letters(look)].append(look)
    written = [same for same in forms.values() if len(same) > 1]
    if written:
        first, second = written[0][:2]
        warnings.append(
            f"{_count(written)} spellings in other forms of the same letters, such as {first!r} "
            f"({_codes(first)}) and {second!r} ({_codes(second)}); each is a gloss of its own: "
            "write them alike if they are one sign"
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
    return "".join(one for one, hidden in _with_visibility(gloss) if not hidden)


def _with_visibility(gloss: str) -> list[tuple[str, bool]]:
    """Each character, and whether it is invisible and does not belong to the spelling."""
    letters = [one for one in gloss if not _is_joiner(one) and not _is_format(one)]
    found, before = [], 0  # letters in front of the character
    for one in gloss:
        if _is_joiner(one):
            beside = letters[max(0, before - 1) : before + 1]
            found.append((one, all(map(_needs_no_joiner, beside))))
        elif _is_format(one):
            found.append((one, True))
        else:
            found.append((one, False))
            before += 1
    return found


def _is_joiner(one: str) -> bool:
    return ord(one) in _JOINERS_AND_SELECTORS


def _is_format(one: str) -> bool:
    return unicodedata.category(one) == "Cf" and not _is_joiner(one) and ord(one) not in _SEEN_MARKS


def _needs_no_joiner(one: str) -> bool:
    return one.isascii() or unicodedata.name(one, "").startswith(_SCRIPTS_WITHOUT_THEM)


def _plain_letters(gloss: str) -> str:
    """The gloss in Unicode's form NFKC, without what an Arabic word can be written without."""
    letters = unicodedata.normalize("NFKC", gloss)
    return "".join(one for one in letters if ord(one) not in _ARABIC_EXTRAS) or gloss


def _codes(gloss: str) -> str:
    return " ".join(f"U+{ord(one):04X}" for one in gloss)


def _marks(gloss: str) -> str:
    marks = [f"U+{ord(one):04X}" for one, hidden in _with_visibility(gloss) if hidden]
    return " ".join(marks) or "none"
