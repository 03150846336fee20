"""How landmarks become 16-bit numbers on disk and on a GPU, and floats again.

Format 1 stores fractions of the image as float16. Format 2 stores int16 numbers:

    offset = 0.01 sinh(stored / 4096)

x and y of the nose are offsets from 0. x and y of every other landmark are offsets from the nose of
the same frame. z is an offset from 0. An undetected part is zeros in both formats.

The step between two numbers grows with the offset: 0.0000024 of the image near the nose, 1/4096 of
the offset far from it. So a person has the same precision however small in the image. The step of
float16 depends on the place in the image: 0.0005 in its right and its lower half.
`benchmarks/landmarks/stored_precision.py` measures both.
"""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from data.landmarks import ALL_LANDMARKS, PART_SLICES, PARTS, LandmarkSelection

FORMAT_VERSION = 2  # of new corpora, except those of `synthesize`, which have format 1
STORED_DTYPES = {1: np.dtype("<f2"), 2: np.dtype("<i2")}  # of every format that can be read
_FINEST, _STEPS = 0.01, 4096.0  # offset = _FINEST * sinh(stored / _STEPS)
_LARGEST = 32767
LARGEST_OFFSET = float(_FINEST * np.sinh(_LARGEST / _STEPS))  # 14.9
# MediaPipe guesses points outside the image, up to about 6 image heights away. A larger value than
# this is no guess: the landmarks are pixels, or damaged.
LARGEST_VALUE = 100.0
# Of a float16. All of them are 1 in NaN and infinity only; to test these bits is ten times as fast
# as np.isfinite.
_EXPONENT_BITS = np.uint16(0x7C00)


def encode(landmarks: np.ndarray, detected: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Landmarks as they are stored.

    Args:
        landmarks: float (T, 543, 3), x and y in fractions of the image.
        detected: bool (T, 4). The landmarks of undetected parts become zeros.
        dtype: int16 or float16; or float32, for landmarks that are in memory only.

    Returns a new array (T, 543, 3). An int16 offset above 14.9 becomes 14.9. Raises ValueError for
    NaN, infinity and values that are too large: above 100 as int16.
    """
    compressed = dtype.kind == "i"
    with np.errstate(over="ignore"):
        exact = landmarks.astype(np.float64 if compressed else dtype)
    for column, part in enumerate(PARTS):
        exact[~detected[:, column].astype(bool), PART_SLICES[part]] = 0
    if not np.isfinite(exact).all():
        raise ValueError("landmarks have NaN, infinite or too large values")
    if not compressed:
        return exact
    largest = exact.flat[np.abs(exact).argmax()]
    if abs(largest) > LARGEST_VALUE:
        raise ValueError(
            f"landmarks have the value {largest:.5g}, expected fractions of the image: divide "
            "pixels by the width and the height of the image"
        )
    stored = np.empty(exact.shape, dtype)
    stored[:, :1] = _nearest(exact[:, :1])
    nose = _table()[stored[:, :1, :2].view(np.uint16)]  # as it will be read
    exact[:, 1:, :2] -= nose * _per_landmark(detected)[:, 1:, None]
    stored[:, 1:] = _nearest(exact[:, 1:])
    return stored


def decode(stored: np.ndarray, detected: np.ndarray) -> np.ndarray:
    """Stored landmarks (T, 543, 3) as fractions of the image; detected: bool (T, 4).

    Returns new float32 landmarks for int16. Floats are returned as they are.
    """
    if stored.dtype.kind != "i":
        return stored
    landmarks = _table()[stored.view(np.uint16)]
    seen = _per_landmark(detected)[:, 1:]
    for coordinate in (0, 1):  # one by one: long runs of values are added faster than pairs
        landmarks[:, 1:, coordinate] += landmarks[:, :1, coordinate] * seen
    return landmarks


def decode_batch(
    stored: Tensor, detected: Tensor, selection: LandmarkSelection = ALL_LANDMARKS
) -> Tensor:
    """The same for a batch on its device.

    Args:
        stored: int16 or float (B, T, K, 3), the K landmarks of `selection`; the first is the nose.
        detected: bool (B, T, 4).

    Returns float32 (B, T, K, 3) for int16. Floats are returned as they are.
    """
    if stored.dtype != torch.int16:
        return stored
    rows = stored.reshape(-1).int() & 0xFFFF
    landmarks = _table_on(stored.device).index_select(0, rows).view(stored.shape)
    counts = [part.stop - part.start for part in selection.part_slices.values()]
    seen = torch.cat(
        [
            detected[..., column, None].expand(*detected.shape[:-1], count)
            for column, count in enumerate(counts)
        ],
        dim=-1,
    )
    seen = seen[..., 1:].float()
    for coordinate in (0, 1):
        landmarks[..., 1:, coordinate].addcmul_(landmarks[..., :1, coordinate], seen)
    return landmarks


def not_finite(stored: np.ndarray) -> np.ndarray:
    """Which frames hold NaN or infinity. stored: (..., T, K, 3). Returns bool (..., T).

    int16 numbers are always finite, so they are not read.
    """
    if stored.dtype.kind == "i":
        return np.zeros(stored.shape[:-2], dtype=bool)
    if stored.dtype == np.float16:
        exponents = stored.view(np.uint16) & _EXPONENT_BITS
        found: np.ndarray = (exponents == _EXPONENT_BITS).any((-2, -1))
        return found
    found = ~np.isfinite(stored).all((-2, -1))
    return found


def _nearest(offsets: np.ndarray) -> np.ndarray:
    """The stored number of each offset, as float."""
    numbers = np.rint(_STEPS * np.arcsinh(offsets / _FINEST))
    return numbers.clip(-_LARGEST, _LARGEST)


def _per_landmark(detected: np.ndarray) -> np.ndarray:
    """bool (T, 4) of the parts -> bool (T, 543)."""
    sizes = [part.stop - part.start for part in PART_SLICES.values()]
    return np.repeat(detected.astype(bool), sizes, axis=1)


@cache
def _table() -> np.ndarray:
    """The offset of each stored number, float32 (65536,); the index is the number as uint16.

    A table gives the same numbers on every machine and device, and is faster than sinh.
    """
    numbers = np.arange(1 << 16, dtype=np.uint16).view(np.int16)
    return (_FINEST * np.sinh(numbers / _STEPS)).astype(np.float32)


@cache
def _table_on(device: torch.device) -> Tensor:
    # The first call may be inside inference mode, but training uses the cached tensor, too.
    with torch.inference_mode(False):
        return torch.from_numpy(_table()).to(device)
