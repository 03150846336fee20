"""Sentences from which a model learns nothing or little, because parts were never detected."""

from collections.abc import Iterator

import numpy as np

from data.corpus import Split
from data.landmarks import PARTS
from errors import shown_names

MAX_NAMES = 3  # sentences named in one line; the others are only counted

# By kind: what is said of a sentence, before "in any of its frames", and the advice for a corpus
UNSEEN = {
    "nothing detected": ("nothing was detected", "remove them or extract them again"),
    "no pose": (
        "hands or face were detected, but no pose",
        "features are measured from the pose, so theirs are zeros: extract the pose as well",
    ),
    "no hands": ("no hand was detected", "check that the hands are in the image"),
}


def unseen_kind(seen: np.ndarray) -> str | None:
    """Which kind of `UNSEEN` a sentence is, if any. seen: bool (4,), the parts that were detected
    in any frame."""
    pose, _, left_hand, right_hand = seen
    if not seen.any():
        return "nothing detected"
    if not pose:
        return "no pose"
    return None if left_hand or right_hand else "no hands"


def unseen_text(kind: str, frames: int) -> str:
    """What is said of a sentence of `frames` frames that is of this kind of `UNSEEN`."""
    where = f"any of its {frames} frames" if frames > 1 else "its only frame"
    return f"{UNSEEN[kind][0]} in {where}"


def parts_seen(split: Split) -> np.ndarray:
    """Which parts were detected in any frame of each sentence, bool (N, 4). Reads no landmarks."""
    seen = np.zeros((len(split), len(PARTS)), dtype=bool)
    filled = np.flatnonzero(split.lengths)
    if len(filled):
        seen[filled] = np.logical_or.reduceat(split.detected, split.offsets[filled], axis=0)
    return seen


def unseen_warnings(split: Split) -> Iterator[str]:
    """One line for each kind of `UNSEEN` that a split has, with the number of its sentences."""
    names: dict[str, list[str]] = {kind: [] for kind in UNSEEN}
    seen = parts_seen(split)
    # Few sentences lack a part; only these are looked at one by one
    pose, _, left_hand, right_hand = seen.T
    for index in np.flatnonzero(~(pose & (left_hand | right_hand)) & (split.lengths > 0)):
        kind = unseen_kind(seen[index])
        assert kind is not None
        names[kind].append(split.sentences[index].id)
    for kind, (text, advice) in UNSEEN.items():
        found = names[kind]
        if found:
            yield (
                f"{split.name}: {text} in any frame of {len(found)} of {len(split)} sentences "
                f"({shown_names(found, MAX_NAMES)}); {advice}"
            )
