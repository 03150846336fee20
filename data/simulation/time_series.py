"""Arrays with one row per frame: noise with memory, smoothing, and sums of products that are the
same to the last bit on every machine."""

from itertools import pairwise

import numpy as np


def drift(rng: np.random.Generator, frames: int, memory: np.ndarray) -> np.ndarray:
    """First-order autoregressive noise of unit variance: float32 (frames, len(memory)).

    memory: the correlation between neighbouring frames of each column.
    """
    memory = np.asarray(memory, np.float32)
    noise = rng.standard_normal((frames, len(memory)), dtype=np.float32)
    noise[1:] *= np.sqrt(1 - memory * memory)
    for before, now in pairwise(noise):
        now += memory * before
    return noise


def smooth(values: np.ndarray, deviation: float) -> np.ndarray:
    """Gaussian smoothing in time of (T, C). The first and last row continue outside.

    deviation: the standard deviation in frames.
    """
    radius = max(1, int(np.ceil(3 * deviation)))
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / deviation) ** 2)
    padded = np.concatenate(
        [np.repeat(values[:1], radius, 0), values, np.repeat(values[-1:], radius, 0)]
    )
    total = np.zeros_like(values)
    for start, tap in enumerate((taps / taps.sum()).tolist()):
        total += tap * padded[start : start + len(values)]
    return total


def combine(weights: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """weights (T, K) times shapes (K, N) → (T, N).

    It does not use `@`: the rounding of a BLAS depends on its number of threads.
    """
    total: np.ndarray = weights[:, :1] * shapes[0]
    for weight, shape in zip(weights.T[1:], shapes[1:], strict=True):
        total += weight[:, None] * shape
    return total


def combine_frames(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """weights (T, K) times values (T, K, N), frame by frame → (T, N)."""
    total: np.ndarray = weights[:, :1] * values[:, 0]
    for column in range(1, weights.shape[1]):
        total += weights[:, column : column + 1] * values[:, column]
    return total
