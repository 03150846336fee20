"""When each gloss of a split begins and ends, where a corpus knows it.

    train.times.npy   int32 (glosses, 2), the glosses of all sentences one after the other: the
                      first frame of the gloss and the frame after its last one, counted from the
                      start of its sentence; -1 and -1 for a gloss whose times are not known

The file is optional. `prepare_data.py import --format boston104`, `compose` and `align` write it.
The augmentation `splice` needs it.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data.safe_npy import open_array
from data.sentences import Sentence
from errors import DataError

DTYPE = np.dtype("<i4")
UNKNOWN = -1  # the first and the last frame of a gloss whose times are not known


def times_file(split: str) -> str:
    """The name of the file in the corpus folder."""
    return f"{split}.times.npy"


def read_times(path: Path, sentences: Sequence[Sentence]) -> np.ndarray:
    """The times of the glosses of all sentences, int32 (glosses, 2), read-only.

    Raises DataError when the file is missing, damaged, or does not fit the sentences.
    """
    times = open_array(path, DTYPE, (2,))
    counts = np.array([len(sentence.glosses) for sentence in sentences], dtype=np.int64)
    if len(times) != counts.sum():
        raise DataError(
            f"{path} has the times of {len(times)} glosses, but the sentences have {counts.sum()}: "
            "make the corpus again"
        )
    frames = np.repeat([sentence.frames for sentence in sentences], counts)
    wrong = np.flatnonzero(wrong_times(times, frames))
    if len(wrong):
        row = int(wrong[0])
        sentence = sentences[int(np.searchsorted(np.cumsum(counts), row, side="right"))]
        raise DataError(
            f"{path} row {row}: frames {times[row, 0]} to {times[row, 1]}, but sentence "
            f"{sentence.id!r} has {sentence.frames} frames: make the corpus again"
        )
    return times


def wrong_times(times: np.ndarray, frames: np.ndarray | int) -> np.ndarray:
    """Which times are neither unknown nor a run of one or more frames of their sentence.

    times: int (G, 2). frames: int (G,) or one number, of the sentences. Returns bool (G,).
    """
    first, end = times[:, 0], times[:, 1]
    known = (first >= 0) & (first < end) & (end <= frames)
    return ~known & ~(times == UNKNOWN).all(axis=1)


def scale_times(times: np.ndarray, frames: int, new_frames: int) -> np.ndarray:
    """The times of a sentence at another frame rate; each gloss keeps one frame or more.

    times: int (G, 2) in a sentence of `frames` frames. Returns int32 (G, 2) for `new_frames`.
    """
    scaled = np.rint(times * (new_frames / frames)).astype(DTYPE)
    scaled[:, 0] = np.minimum(scaled[:, 0], new_frames - 1)
    scaled[:, 1] = np.clip(scaled[:, 1], scaled[:, 0] + 1, new_frames)
    return np.where(times == UNKNOWN, DTYPE.type(UNKNOWN), scaled)
