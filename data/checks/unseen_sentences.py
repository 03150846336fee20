"""Sentences from which a model learns nothing or little, because parts were never detected."""

from collections.abc import Iterator

import numpy as np

from data.corpus import Split
from data.landmarks import PARTS

MAX_NAMES = 3  # sentences named in one line; the others are only counted

# By kind: what is said of a sentence, before "in any of its frames", and the advice
UNSEEN = {
    "nothing detected": ("nothing was detected", "remove them or extract them again"),
    "no pose": (
        "hands or face were detected, but no pose",
        "features are measured from the pose, so theirs are zeros: extract the pose as well",
    ),
    "no hands": ("no hand was detected", "check that the hands are in the image"),
}


def unseen_kind(detected: np.ndarray) -> str | None:
    """Which kind of `UNSEEN` a sentence is, if any. detected: bool (T, 4)."""
    seen = {part: bool(detected[:, column].any()) for column, part in enumerate(PARTS)}
    if not any(seen.values()):
        return "nothing detected"
    if not seen["pose"]:
        return "no pose"
    return None if seen["left_hand"] or seen["right_hand"] else "no hands"


def unseen_warnings(split: Split) -> Iterator[str]:
    """One line for each kind of `UNSEEN` that a split has, with the number of its sentences."""
    names: dict[str, list[str]] = {kind: [] for kind in UNSEEN}
    for index, sentence in enumerate(split.sentences):
        kind = unseen_kind(split.read(index)[1]) if sentence.frames else None
        if kind is not None:
            names[kind].append(sentence.id)
    for kind, (text, advice) in UNSEEN.items():
        found = names[kind]
        if found:
            shown = ", ".join(found[:MAX_NAMES]) + (", ..." if len(found) > MAX_NAMES else "")
            yield (
                f"{split.name}: {text} in any frame of {len(found)} of {len(split)} sentences "
                f"({shown}); {advice}"
            )
