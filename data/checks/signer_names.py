"""Names of signers that differ only in case or white space: probably one person."""

from collections import defaultdict
from collections.abc import Iterable

from data.sentences import UNKNOWN_SIGNER

_HOW = "differ only in upper and lower case or white space"


def alike_names(names: Iterable[str]) -> list[list[str]]:
    """Groups of two or more names that differ only in case or white space, sorted."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in sorted(set(names) - {UNKNOWN_SIGNER}):
        groups["".join(name.casefold().split())].append(name)
    return sorted(group for group in groups.values() if len(group) > 1)


def signer_warning(names: Iterable[str]) -> str | None:
    """A warning for the signers of a corpus, None if no names are alike."""
    groups = alike_names(names)
    if not groups:
        return None
    more = f" (and {len(groups) - 1} more)" if len(groups) > 1 else ""
    return (
        f"the signers {' and '.join(map(repr, groups[0]))} {_HOW}{more}; each is a signer of its "
        "own: write them alike if they are one person"
    )


def split_signer_warning(split: str, held_out: Iterable[str], train: Iterable[str]) -> str | None:
    """A warning for signers of a split who may be signers of train, None if there are none.

    Args:
        split: the name of the split.
        held_out, train: the signers of the split and of train.
    """
    own, left = set(held_out), set(train)
    pairs = [
        (mine, other)
        for group in alike_names(own | left)
        for mine in group
        for other in group
        if mine in own - left and other in left - own
    ]
    if not pairs:
        return None
    more = f" (and {len(pairs) - 1} more)" if len(pairs) > 1 else ""
    return (
        f"the signers {pairs[0][0]!r} of {split} and {pairs[0][1]!r} of train {_HOW}{more}: if "
        f"they are one person, a signer of {split} is in train; write them alike in the annotations"
    )
