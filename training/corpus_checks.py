"""Checks of a corpus before a run: changed files, and sentences that cannot be trained on."""

from dataclasses import dataclass, replace

import numpy as np

from data.checks.unseen_sentences import unseen_warnings
from data.corpus import Corpus, Split
from data.ctc_lengths import ctc_steps, required_steps
from data.ctc_targets import PreparedSplit
from errors import DataError

_NOT_FINITE = 0x7C00  # the magnitude bits of a float16 that is infinite; NaN has more


@dataclass(frozen=True)
class BadSentence:
    """A sentence that cannot be trained on. An `unreadable` one cannot be scored either."""

    index: int
    id: str
    reason: str
    unreadable: bool


def find_bad_sentences(split: Split) -> list[BadSentence]:
    """The sentences of a split that cannot be trained on, with the reason.

    Reads all landmarks once, at about 10 GB/s from memory. The first epoch then finds them in the
    page cache.
    """
    bad = []
    for index, sentence in enumerate(split.sentences):
        reason = _unreadable(split, index)
        unreadable = reason is not None
        if not unreadable and not sentence.glosses:
            reason = "has no glosses"
        elif not unreadable and ctc_steps(sentence.frames) < required_steps(sentence.glosses):
            reason = (
                f"CTC cannot align it: its {sentence.frames} frames give "
                f"{ctc_steps(sentence.frames)} steps, its {len(sentence.glosses)} glosses need "
                f"{required_steps(sentence.glosses)}"
            )
        if reason is not None:
            bad.append(BadSentence(index, sentence.id, reason, unreadable))
    return bad


def _unreadable(split: Split, index: int) -> str | None:
    landmarks, _ = split.read(index)
    if len(landmarks) == 0:
        return "has no frames"
    magnitude = landmarks.view(np.uint16) & np.uint16(0x7FFF)
    if int(magnitude.max()) < _NOT_FINITE:
        return None
    frame = int((magnitude >= _NOT_FINITE).any(axis=(1, 2)).argmax())
    return f"landmarks have NaN or infinite values (first in frame {frame})"


def warn_of_changed_files(corpus: Corpus) -> None:
    """Print which files of train and dev differ from their hashes in corpus.json.

    The corpus's fingerprint then becomes that of the changed files. Takes about a second per GB,
    since it hashes all files. Raises DataError when one cannot be read.
    """
    for file in corpus.verify(("train", "dev")):
        print(
            f"warning: {corpus.path / file} was changed: its SHA-256 differs from the one in "
            "corpus.json"
        )


def check_splits(
    corpus: Corpus, train: PreparedSplit, dev: PreparedSplit, skip_bad: bool
) -> PreparedSplit:
    """Check train and dev before a run, and list their bad sentences. Print a warning for those in
    which parts were never detected.

    Args:
        corpus: for messages.
        train, dev: the two splits.
        skip_bad: leave out bad train sentences instead of raising DataError.

    Returns the train split without the sentences that are left out. No dev sentence is left out: a
    sentence without a CTC loss is still scored, a sentence that cannot be read is an error. Raises
    DataError that names the sentences.
    """
    bad = {prepared.split.name: find_bad_sentences(prepared.split) for prepared in (train, dev)}
    for name, found in bad.items():
        for one in found:
            scored = "; it is still scored" if name == "dev" and not one.unreadable else ""
            print(f"bad sentence: {name} sentence {one.id}: {one.reason}{scored}")
    unseen = [line for prepared in (train, dev) for line in unseen_warnings(prepared.split)]
    for line in [*dev.warnings(), *unseen]:
        print(f"warning: {line}")
    _refuse(
        corpus,
        "dev",
        [one for one in bad["dev"] if one.unreadable],
        "every dev sentence counts: repair or extract it",
    )
    left_out = {one.index for one in bad["train"]}
    if not skip_bad:
        other_way = ", or give --skip_bad to leave such sentences out"
        some_are_good = len(left_out) < len(train.split)
        _refuse(corpus, "train", bad["train"], f"repair it{other_way if some_are_good else ''}")
    if len(left_out) == len(train.split):
        raise DataError(
            f"{corpus.path}: none of the {len(train.split)} train sentences can be trained on"
        )
    if left_out:
        print(f"{len(left_out)} of {len(train.split)} train sentences are left out (--skip_bad)")
    targets = [None if index in left_out else target for index, target in enumerate(train.targets)]
    return replace(train, targets=targets)


def _refuse(corpus: Corpus, name: str, bad: list[BadSentence], advice: str) -> None:
    if bad:
        more = f" (and {len(bad) - 1} more of {name}, listed above)" if len(bad) > 1 else ""
        raise DataError(
            f"{corpus.path}: {name} sentence {bad[0].id}: {bad[0].reason}{more}; {advice}"
        )
