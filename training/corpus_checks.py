"""Checks of a corpus before a run: changed files, and sentences that cannot be trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from data.checks.changed_files import CHECKED_SPLITS
from data.checks.unseen_sentences import unseen_warnings
from data.corpus import Corpus, Split
from data.ctc_lengths import ctc_steps
from data.ctc_targets import PreparedSplit
from data.stored_landmarks import not_finite
from errors import DataError, counted

_CHUNK = 16_384  # frames that are checked at a time: tens of MB
_MAX_REMEMBERED = 10_000  # damaged frames of a split
_LARGE_BYTES = 2e9  # this many bytes to read are worth a line on the screen


@dataclass(frozen=True)
class CorpusContent:
    """What was found out by reading all files of train and dev.

    digests: SHA-256 of each file, by its name.
    damaged: for each split, the frames with NaN or infinite landmarks, rising.
    """

    digests: Mapping[str, str]
    damaged: Mapping[str, Sequence[int]]


def read_content(corpus: Corpus) -> CorpusContent:
    """Read the files of train and dev, about 1 GB/s; a file that is known already is not read.

    Raises DataError when a file cannot be read.
    """
    splits = [corpus.splits[name] for name in CHECKED_SPLITS if name in corpus.splits]
    paths = [corpus.path / file for split in splits for file in corpus.files(split.name)]
    try:
        unread = sum(
            path.stat().st_size for path in paths if not corpus.memory.knows(path, "sha256")
        )
        if unread > _LARGE_BYTES:
            print(
                f"reading {unread / 1e9:.1f} GB of {corpus.path} to verify them; later runs skip "
                "this while the files do not change"
            )
        digests = corpus.digests(CHECKED_SPLITS)
        damaged = {
            split.name: corpus.memory.about_file(
                corpus.path / f"{split.name}.landmarks.npy",
                "damaged frames",
                partial(damaged_frames, split),
                _are_frames,
            )
            for split in splits
        }
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}") from None
    return CorpusContent(digests, damaged)


def damaged_frames(split: Split) -> list[int]:
    """The frames of a split with NaN or infinite landmarks, rising."""
    landmarks = split.landmarks
    return [
        start + int(frame)
        for start in range(0, len(landmarks), _CHUNK)
        for frame in np.flatnonzero(not_finite(landmarks[start : start + _CHUNK]))
    ]


def _are_frames(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) <= _MAX_REMEMBERED
        and all(type(frame) is int for frame in value)
    )


@dataclass(frozen=True)
class BadSentence:
    """A sentence that cannot be trained on. An `unreadable` one cannot be scored either."""

    index: int
    id: str
    reason: str
    unreadable: bool


def find_bad_sentences(split: Split, damaged: Sequence[int] | None = None) -> list[BadSentence]:
    """The sentences of a split that cannot be trained on, with the reason.

    damaged: the result of `damaged_frames`, where it is known already.
    """
    frames = np.array(damaged_frames(split) if damaged is None else damaged, dtype=np.int64)
    first = np.searchsorted(frames, split.offsets)  # damaged frames before each sentence
    steps, needed = ctc_steps(split.lengths), split.required_steps
    # A sentence without glosses needs no step
    suspect = (first[:-1] < first[1:]) | (split.lengths == 0) | (needed == 0) | (steps < needed)
    bad = []
    for index in np.flatnonzero(suspect).tolist():
        sentence, reason = split.sentences[index], None
        if not sentence.frames:
            reason = "has no frames"
        elif first[index] < first[index + 1]:
            frame = frames[first[index]] - split.offsets[index]
            reason = f"landmarks have NaN or infinite values (first in frame {frame})"
        unreadable = reason is not None
        if not unreadable and not sentence.glosses:
            reason = "has no glosses"
        elif not unreadable:
            reason = (
                f"CTC cannot align it: it has {counted(steps[index], 'step')} "
                f"({counted(sentence.frames, 'frame')}), its "
                f"{counted(len(sentence.glosses), 'gloss')} need {needed[index]}"
            )
        assert reason is not None
        bad.append(BadSentence(index, sentence.id, reason, unreadable))
    return bad


def check_splits(
    corpus: Corpus,
    train: PreparedSplit,
    dev: PreparedSplit,
    skip_bad: bool,
    content: CorpusContent,
) -> PreparedSplit:
    """Check train and dev before a run, and list their bad sentences. Print a warning for those in
    which parts were never detected.

    Args:
        corpus: for messages.
        train, dev: the two splits.
        skip_bad: leave out bad train sentences instead of raising DataError.
        content: the result of `read_content`.

    Returns the train split without the sentences that are left out. No dev sentence is left out: a
    sentence without a CTC loss is still scored, a sentence that cannot be read is an error. Raises
    DataError that names the sentences.
    """
    bad = {
        name: find_bad_sentences(prepared.split, content.damaged[name])
        for name, prepared in (("train", train), ("dev", dev))
    }
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
            f"{corpus.path}: none of the {len(train.split)} train sentences can be trained on, for "
            "the reasons listed above: repair or extract them, or give another corpus"
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
