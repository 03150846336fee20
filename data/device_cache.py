"""Landmarks that stay in GPU memory for the whole run.

Without the cache every batch is read from disk and copied to the GPU. With it a batch is only a
list of row numbers, and the GPU gathers the frames from its own memory. A sentence is copied when
it is used for the first time, so that a run on a large corpus starts at once. The train split of
PHOENIX-2014 takes 2.6 GB with all 543 landmarks, and 0.4 GB with those that the default teacher
uses.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from data.batching import LandmarkBatch, not_finite_error, sentence_lengths
from data.corpus import Split
from data.device_transfer import on_device
from data.features import frame_mask
from data.landmarks import ALL_LANDMARKS, NUM_COORDINATES, PARTS, LandmarkSelection
from data.stored_landmarks import decode_batch, not_finite

MAX_SHARE_OF_FREE_MEMORY = 0.5  # of the device; the model needs the rest


def cached_bytes(splits: Sequence[Split], selection: LandmarkSelection = ALL_LANDMARKS) -> int:
    """Bytes that the landmarks and `detected` of the splits need on a device."""
    values = NUM_COORDINATES * len(selection)
    return sum(
        len(split.landmarks) * (split.landmarks.itemsize * values + len(PARTS)) for split in splits
    )


class CachedSplit:
    """The frames of a split on a device.

    landmarks: int16 or float (frames, K, 3), the K landmarks of `selection`, as they are stored.
    detected: bool (frames, 4).
    The values of a frame are undefined until a batch first uses it.
    """

    def __init__(
        self,
        split: Split,
        device: torch.device,
        selection: LandmarkSelection = ALL_LANDMARKS,
    ):
        """Reserve the memory. Raises torch.OutOfMemoryError when the frames do not fit."""
        self._source, self.selection = split.landmarks, selection
        frames = len(split.landmarks)
        dtype = torch.from_numpy(np.empty(0, split.landmarks.dtype)).dtype
        self.landmarks = torch.empty(
            frames, len(selection), NUM_COORDINATES, dtype=dtype, device=device
        )
        self.detected = torch.empty(frames, len(PARTS), dtype=torch.bool, device=device)
        self._copied = np.zeros(frames, dtype=bool)

    def holds(self, split: Split) -> bool:
        """Whether the cache is for the frames of `split`.

        A `JoinedSplit` has the same frames as its original split, so one cache serves both.
        """
        return split.landmarks is self._source

    def batch(self, split: Split, indices: np.ndarray) -> "CachedBatch":
        """A batch of sentences, not gathered yet: the counterpart of `load_batch`.

        Frames that are not on the device yet are read from the files.

        Args:
            split: a split whose frames are cached here.
            indices: int (B,), the sentences.

        Raises DataError for NaN or infinity, and for a sentence without frames, as `load_batch`
        does.
        """
        lengths = sentence_lengths(split, indices)
        rows = np.zeros((len(indices), int(lengths.max())), dtype=np.int64)
        missing: dict[tuple[int, int], _Frames] = {}  # by the first row and the end
        new = []
        for row, index in enumerate(indices):
            start = 0
            for segment, stored, detected in split.stored_segments(index):
                count = len(stored)
                if segment is None:
                    places = row * rows.shape[1] + start + np.arange(count)
                    new.append(_Frames(places, self.selection.pick(stored), detected))
                else:
                    numbers = np.arange(segment.start, segment.stop)
                    rows[row, start : start + count] = numbers
                    key = segment.start, segment.stop
                    if not self._copied[segment].all() and key not in missing:
                        picked = self.selection.pick(stored)
                        if not_finite(picked).any():
                            raise not_finite_error(split, index)
                        missing[key] = _Frames(numbers, picked, detected)
                start += count
        return CachedBatch(self, rows, lengths, indices, list(missing.values()), new)

    def keep(self, frames: Sequence["_Frames"]) -> None:
        """Copy frames to the device."""
        numbers, stored, detected = map(np.concatenate, zip(*frames, strict=True))
        rows = on_device(numbers, self.landmarks.device)
        self.landmarks.index_copy_(0, rows, on_device(stored, rows.device))
        self.detected.index_copy_(0, rows, on_device(detected, rows.device))
        self._copied[numbers] = True


class _Frames(NamedTuple):
    """Frames on the CPU, and the rows of the device's tensors that they belong to.

    rows: int64 (T,). stored: (T, K, 3). detected: bool (T, 4).
    """

    rows: np.ndarray
    stored: np.ndarray
    detected: np.ndarray


@dataclass(frozen=True)
class CachedBatch:
    """A batch of cached sentences before its frames are gathered.

    cache: holds the frames.
    rows: int64 (B, T), the cached frame for each frame of the batch; 0 in the padding.
    lengths: int64 (B,), frames of each sentence. indices: int (B,), their indices in the split.
    missing: frames that the cache does not hold yet; their rows are those of the cache.
    new: the transitions between joined sentences, which the cache never holds; their rows are those
        of the B * T frames.
    """

    cache: CachedSplit
    rows: np.ndarray
    lengths: np.ndarray
    indices: np.ndarray
    missing: Sequence[_Frames]
    new: Sequence[_Frames]

    def to(self, device: torch.device) -> LandmarkBatch:
        """Gather the frames on the device of the cache, which must be `device`; does not wait."""
        if self.missing:
            self.cache.keep(self.missing)
        rows = on_device(self.rows.reshape(-1), device)
        lengths = on_device(self.lengths, device)
        stored = self.cache.landmarks.index_select(0, rows)  # (B T, K, 3)
        detected = self.cache.detected.index_select(0, rows)
        if self.new:
            positions, new_stored, new_detected = map(np.concatenate, zip(*self.new, strict=True))
            places = on_device(positions, device)
            stored.index_copy_(0, places, on_device(new_stored, device))
            detected.index_copy_(0, places, on_device(new_detected, device))
        batch, frames = self.rows.shape
        padding = ~frame_mask(lengths, frames)
        detected = _zero_padding(detected.view(batch, frames, -1), padding)
        stored = _zero_padding(stored.view(batch, frames, *stored.shape[1:]), padding)
        return LandmarkBatch(
            decode_batch(stored, detected, self.cache.selection), detected, lengths, self.indices
        )


def _zero_padding(x: Tensor, padding: Tensor) -> Tensor:
    """Set x (B, T, ...) to zero where `padding` bool (B, T) is True, in place."""
    return x.masked_fill_(padding.view(*padding.shape, *[1] * (x.ndim - 2)), 0)
