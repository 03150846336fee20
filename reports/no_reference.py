"""The group of sentences without a reference. They have no WER: each gloss that is predicted there
counts as an insertion. The other groups of an evaluation leave them out."""

from typing import Any

from errors import counted


def no_reference_lines(group: dict[str, Any]) -> list[str]:
    """The group in words; no line if it has no sentence. group: of `scoring.no_reference`."""
    if not group["sentences"]:
        return []
    sentences, insertions = (counted(group[f"{one}s"], one) for one in ("sentence", "insertion"))
    return [f"no reference: {sentences}, {insertions}"]


def no_reference_rows(group: dict[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """The group as the last row of a table: name, WER, its interval, sentences, glosses."""
    if not group["sentences"]:
        return []
    name = f"no reference: {counted(group['insertions'], 'insertion')}"
    return [(name, "–", "–", f"{group['sentences']:,}", "0")]
