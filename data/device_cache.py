"""Landmarks that stay on the device: batches are gathered where they are computed on, and no frame
is copied twice.

PHOENIX-2014's train split takes 2.6 GB with all 543 landmarks, and 0.4 GB with those that the
default teacher reads.
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
from data.landmarks import NUM_COORDINATES, PARTS, WHOLE, Layout

_PIECE = 16_384  # frames that are uploaded at once: tens of MB
SHARE_OF_FREE = 0.5  # of the device's free memory may be taken; the rest is the model's


def cached_bytes(splits: Sequence[Split], layout: Layout = WHOLE) -> int:
    """Bytes that the splits' landmarks and flags take on a device."""
    return sum(len(split.landmarks) for split in splits) * (
        2 * NUM_COORDINATES * len(layout) + len(PARTS)
    )


class CachedSplit:
    """A split's landmarks float16 (frames, K, 3) and detected bool (frames, 4) on a device."""

    def __init__(self, split: Split, device: torch.device, layout: Layout = WHOLE):
        frames = len(split.landmarks)
        self._source, self.layout = split.landmarks, layout
        self.landmarks = torch.empty(
            frames, len(layout), NUM_COORDINATES, dtype=torch.float16, device=device
        )
        self.detected = on_device(np.array(split.detected), device)
        finite = torch.ones(frames, dtype=torch.bool, device=device)
        for start in range(0, frames, _PIECE):
            rows = slice(start, start + _PIECE)
            piece = on_device(layout.pick(split.landmarks[rows]), device)
            self.landmarks[rows] = piece
            finite[rows] = piece.isfinite().flatten(1).all(1)
        self._finite = finite.cpu().numpy()

    def holds(self, split: Split) -> bool:
        """Whether the split's sentences are made of these landmarks; one with joined sentences is,
        too."""
        return split.landmarks is self._source

    def batch(self, split: Split, indices: np.ndarray) -> "CachedBatch":
        """What `load_batch` would read, as the rows to gather. Raises DataError as it does."""
        lengths = sentence_lengths(split, indices)
        rows = np.zeros((len(indices), int(lengths.max())), dtype=np.int64)
        places, between = [], []
        for row, index in enumerate(indices):
            start = 0
            for piece in split.pieces(index):
                if isinstance(piece, slice):
                    if not self._finite[piece].all():
                        raise not_finite_error(split, index)
                    count = piece.stop - piece.start
                    rows[row, start : start + count] = np.arange(piece.start, piece.stop)
                else:
                    count = len(piece[0])
                    places.append(row * rows.shape[1] + start + np.arange(count))
                    between.append(piece)
                start += count
        return CachedBatch(self, rows, lengths, indices, places, between)


@dataclass(frozen=True)
class CachedBatch:
    """A batch of a resident split that is known but not gathered yet: rows int64 (B, T) of it,
    lengths int64 (B,), indices; and at which places of the (B T) frames stand others that are not
    in it."""

    resident: CachedSplit
    rows: np.ndarray
    lengths: np.ndarray
    indices: np.ndarray
    places: list[np.ndarray]
    between: list[tuple[np.ndarray, np.ndarray]]

    def to(self, device: torch.device) -> LandmarkBatch:
        """Gather it, on the split's device. Nothing is waited for."""
        rows = on_device(self.rows.reshape(-1), device)
        lengths = on_device(self.lengths, device)
        landmarks = self.resident.landmarks.index_select(0, rows)  # (B T, K, 3)
        detected = self.resident.detected.index_select(0, rows)
        if self.places:
            places = on_device(np.concatenate(self.places), device)
            pick = self.resident.layout.pick
            landmarks.index_copy_(
                0, places, on_device(np.concatenate([pick(x) for x, _ in self.between]), device)
            )
            detected.index_copy_(
                0, places, on_device(np.concatenate([seen for _, seen in self.between]), device)
            )
        shape = self.rows.shape
        outside = ~frame_mask(lengths, shape[1])
        return LandmarkBatch(
            _cleared(landmarks.view(*shape, *landmarks.shape[1:]), outside),
            _cleared(detected.view(*shape, -1), outside),
            lengths,
            self.indices,
        )


def _cleared(x: Tensor, outside: Tensor) -> Tensor:
    """x (B, T, ...) with zeros where `outside` bool (B, T), in place."""
    return x.masked_fill_(outside.view(*outside.shape, *[1] * (x.ndim - 2)), 0)
