"""One frame rate and one image shape for a corpus whose recordings differ in them."""

from collections import Counter

import numpy as np


def to_aspect_ratio(landmarks: np.ndarray, ratio: float, wanted: float) -> np.ndarray:
    """Landmarks (T, 543, 3) of an image with width/height `ratio` → fractions of an image of the
    same height with width/height `wanted`.

    The old image is in the middle of the new one. Shapes do not change: x and z times the aspect
    ratio have the same differences as before. Returns float32, or the landmarks themselves when
    both ratios are equal.
    """
    if ratio == wanted:
        return landmarks
    converted = landmarks.astype(np.float32)
    converted[..., 0] = 0.5 + (converted[..., 0] - 0.5) * (ratio / wanted)
    converted[..., 2] *= ratio / wanted
    return converted


def commonest(counter: Counter[float]) -> float:
    """The most common value; the smallest of several equally common ones."""
    return min(counter, key=lambda value: (-counter[value], value))


def counts_text(counter: Counter[float]) -> str:
    """Values with their counts for a message: '25 in 3, 30 in 1'."""
    return ", ".join(f"{value:.4g} in {counter[value]}" for value in sorted(counter))
