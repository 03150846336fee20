"""Landmarks that stay in GPU memory for the whole run.

Without the cache every batch is read from disk and copied to the GPU. With it a batch is only a
list of row numbers, and the GPU gathers the frames from its own memory. The train split of
PHOENIX-2014 takes 2.6 GB with all 543 landmarks, and 0.4 GB with those that the default teacher
uses.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from data.batching import LandmarkBatch, not_finite_error, sentence_lengths
from data.corpus import Split
from data.device_transfer import on_device
from data.features import frame_mask
from data.landmarks import ALL_LANDMARKS, NUM_COORDINATES, PARTS, LandmarkSelection

UPLOAD_FRAMES = 16_384  # frames that are copied to the device at a time: tens of MB
MAX_SHARE_OF_FREE_MEMORY = 0.5  # of the device; the model needs the rest


def cached_bytes(splits: Sequence[Split], selection: LandmarkSelection = ALL_LANDMARKS) -> int:
    """Bytes that the landmarks and `detected` of the splits need on a device."""
    bytes_per_frame = 2 * NUM_COORDINATES * len(selection) + len(PARTS)  # float16 and bool
    return sum(len(split.landmarks) for split in splits) * bytes_per_frame


class CachedSplit:
    """The frames of a split on a device.

    landmarks: float16 (frames, K, 3), the K landmarks of `selection`.
    detected: bool (frames, 4).
    """

    def __init__(
        self,
        split: Split,
        device: torch.device,
        selection: LandmarkSelection = ALL_LANDMARKS,
    ):
        """Copy the frames to the device. Raises torch.OutOfMemoryError when they do not fit."""
        frames = len(split.landmarks)
        self._source, self.selection = split.landmarks, selection
        self.landmarks = torch.empty(
            frames, len(selection), NUM_COORDINATES, dtype=torch.float16, device=device
        )
        self.detected = on_device(np.array(split.detected), device)
        finite = torch.ones(frames, dtype=torch.bool, device=device)
        for start in range(0, frames, UPLOAD_FRAMES):
            rows = slice(start, start + UPLOAD_FRAMES)
            uploaded = on_device(selection.pick(split.landmarks[rows]), device)
            self.landmarks[rows] = uploaded
            finite[rows] = uploaded.isfinite().flatten(1).all(1)
        self._finite = finite.cpu().numpy()  # bool (frames,): no NaN or infinity in the frame

    def holds(self, split: Split) -> bool:
        """Whether the cache holds the frames of `split`.

        A `MixedSplit` has the same frames as its original split, so one cache serves both.
        """
        return split.landmarks is self._source

    def batch(self, split: Split, indices: np.ndarray) -> "CachedBatch":
        """A batch of sentences, not gathered yet: the counterpart of `load_batch`.

        Args:
            split: a split whose frames are cached here.
            indices: int (B,), the sentences.

        Raises DataError for NaN or infinity, and for a sentence without frames, as `load_batch`
        does.
        """
        lengths = sentence_lengths(split, indices)
        rows = np.zeros((len(indices), int(lengths.max())), dtype=np.int64)
        new_positions, new_frames = [], []
        for row, index in enumerate(indices):
            start = 0
            for segment in split.segments(index):
                if isinstance(segment, slice):
                    if not self._finite[segment].all():
                        raise not_finite_error(split, index)
                    count = segment.stop - segment.start
                    rows[row, start : start + count] = np.arange(segment.start, segment.stop)
                else:
                    count = len(segment[0])
                    new_positions.append(row * rows.shape[1] + start + np.arange(count))
                    new_frames.append(segment)
                start += count
        return CachedBatch(self, rows, lengths, indices, new_positions, new_frames)


@dataclass(frozen=True)
class CachedBatch:
    """A batch of cached sentences before its frames are gathered.

    cache: holds the frames.
    rows: int64 (B, T), the cached frame for each frame of the batch; 0 in the padding.
    lengths: int64 (B,), frames of each sentence. indices: int (B,), their indices in the split.
    new_positions: which of the B * T frames are not in the cache: the transitions between joined
        sentences. One array per transition.
    new_frames: landmarks (T', 543, 3) and detected (T', 4) of each transition.
    """

    cache: CachedSplit
    rows: np.ndarray
    lengths: np.ndarray
    indices: np.ndarray
    new_positions: list[np.ndarray]
    new_frames: list[tuple[np.ndarray, np.ndarray]]

    def to(self, device: torch.device) -> LandmarkBatch:
        """Gather the frames on the device of the cache, which must be `device`; does not wait."""
        rows = on_device(self.rows.reshape(-1), device)
        lengths = on_device(self.lengths, device)
        landmarks = self.cache.landmarks.index_select(0, rows)  # (B T, K, 3)
        detected = self.cache.detected.index_select(0, rows)
        if self.new_positions:
            positions = on_device(np.concatenate(self.new_positions), device)
            pick = self.cache.selection.pick
            new_landmarks = np.concatenate([pick(new[0]) for new in self.new_frames])
            new_detected = np.concatenate([new[1] for new in self.new_frames])
            landmarks.index_copy_(0, positions, on_device(new_landmarks, device))
            detected.index_copy_(0, positions, on_device(new_detected, device))
        batch, frames = self.rows.shape
        padding = ~frame_mask(lengths, frames)
        return LandmarkBatch(
            _zero_padding(landmarks.view(batch, frames, *landmarks.shape[1:]), padding),
            _zero_padding(detected.view(batch, frames, -1), padding),
            lengths,
            self.indices,
        )


def _zero_padding(x: Tensor, padding: Tensor) -> Tensor:
    """Set x (B, T, ...) to zero where `padding` bool (B, T) is True, in place."""
    return x.masked_fill_(padding.view(*padding.shape, *[1] * (x.ndim - 2)), 0)
