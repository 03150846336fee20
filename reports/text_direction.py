"""The direction in which glosses are read."""

import unicodedata
from collections.abc import Iterable

_RIGHT_TO_LEFT = ("R", "AL")
_ISOLATE, _POP = "\u2068", "\u2069"


def direction(texts: Iterable[str | None]) -> str:
    """'rtl' if the first letter of the texts belongs to a script that is written from right to
    left, such as Arabic or Hebrew; else 'ltr'. None stands for a missing text."""
    for text in texts:
        for character in text or "":
            kind = unicodedata.bidirectional(character)
            if kind in _RIGHT_TO_LEFT:
                return "rtl"
            if kind == "L":
                return "ltr"
    return "ltr"


def isolated(text: str) -> str:
    """The text for a place between other text. A text from right to left would otherwise change the
    order of what is around it: 'a → b' would be shown as 'b → a'."""
    return f"{_ISOLATE}{text}{_POP}" if direction([text]) == "rtl" else text
