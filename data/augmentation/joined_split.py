"""A split in which some sentences are joined from segments of others."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np

from data.corpus import Split
from data.features import MIN_SHOULDER_WIDTH
from data.landmarks import LEFT_SHOULDER, PART_SLICES, PARTS, RIGHT_SHOULDER
from data.sentences import Sentence
from data.stored_landmarks import LARGEST_VALUE, decode

LandmarkPair = tuple[np.ndarray, np.ndarray]  # landmarks float (T, 543, 3) and detected bool (T, 4)
_LIKE_SCALE = 0.02  # shoulder widths that differ by less are alike; the recording stays as it is


class JoinedSplit(Split, ABC):
    """Ids and indices are those of the original split. Some sentences have become others.

    original: the split whose sentences are joined. It may be a `JoinedSplit`, too.
    """

    def __init__(self, original: Split, joined: Mapping[int, Sentence]):
        """joined: what each joined sentence has become, by its index."""
        self.original = original
        sentences = list(original.sentences)
        for index, sentence in joined.items():
            sentences[index] = sentence
        super().__init__(original.name, sentences, original.landmarks, original.detected)
        self._joined = frozenset(joined)

    @property
    def single(self) -> Split:
        """The split without joined sentences."""
        return self.original.single

    @property
    def joined(self) -> list[int]:
        """The indices of the joined sentences, in this split and in the original one, rising."""
        of_original = self.original.joined if isinstance(self.original, JoinedSplit) else []
        return sorted({*self._joined, *of_original})

    def read(self, index: int) -> LandmarkPair:
        """Landmarks float (T, 543, 3) and detected bool (T, 4) of one sentence."""
        if index not in self._joined:
            return self.original.read(index)
        _, stored, seen = zip(*self.stored_segments(index), strict=True)
        detected = np.concatenate(seen)
        return decode(np.concatenate(stored), detected), detected

    def segments(self, index: int) -> list[slice | LandmarkPair]:
        """The segments of one sentence, see `Split.segments`."""
        if index not in self._joined:
            return self.original.segments(index)
        return self._segments(index)

    @abstractmethod
    def _segments(self, index: int) -> list[slice | LandmarkPair]:
        """The segments of a joined sentence."""


def shoulder_width(landmarks: np.ndarray, detected: np.ndarray, aspect_ratio: float) -> float:
    """The median distance of the shoulders, in image heights: the unit of `body_coordinates`.

    landmarks: float (T, 543, 3); detected: bool (T, 4). Returns NaN if no pose was detected, or
    if a shoulder is NaN.
    """
    seen = detected[:, PARTS.index("pose")]
    shoulders = landmarks[seen][:, (LEFT_SHOULDER, RIGHT_SHOULDER), :2].astype(np.float32)
    widths = np.linalg.norm((shoulders[:, 0] - shoulders[:, 1]) * (aspect_ratio, 1.0), axis=1)
    if not len(widths):
        return float("nan")
    return max(float(np.sort(widths)[(len(widths) - 1) // 2]), MIN_SHOULDER_WIDTH)


def scaled(recording: LandmarkPair, factor: float) -> LandmarkPair | None:
    """A recording that is scaled about the middle of the image. Parts that were not detected stay
    zeros.

    Returns landmarks float32 and detected, or None if the recording is to stay as it is: the factor
    is about 1 or NaN, or a value cannot be stored.
    """
    if not abs(factor - 1) > _LIKE_SCALE:  # NaN too
        return None
    landmarks, detected = recording
    middle = np.array([0.5, 0.5, 0.0], dtype=np.float32)
    larger = (landmarks.astype(np.float32) - middle) * np.float32(factor) + middle
    for part, points in PART_SLICES.items():
        larger[~detected[:, PARTS.index(part)], points] = 0
    return (larger, detected) if np.abs(larger).max() <= LARGEST_VALUE else None  # not NaN either
