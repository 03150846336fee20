"""One frame rate and one aspect ratio for recordings that differ in them."""

from collections import Counter

import numpy as np


def to_aspect_ratio(landmarks: np.ndarray, ratio: float, wanted: float) -> np.ndarray:
    """Landmarks (T, 543, 3) of an image of width/height `ratio` as fractions of one of the same
    height and `wanted`.

    The picture stands in the middle of the other; shapes are the same once x and z are multiplied
    by their ratio.
    """
    if ratio == wanted:
        return landmarks
    turned = landmarks.astype(np.float32)
    turned[..., 0] = 0.5 + (turned[..., 0] - 0.5) * (ratio / wanted)
    turned[..., 2] *= ratio / wanted
    return turned


def commonest(counter: Counter) -> float:
    """The commonest; of equally common ones the smallest."""
    return min(counter, key=lambda value: (-counter[value], value))


def _shares(counter: Counter) -> str:
    return ", ".join(f"{value:.4g} in {counter[value]}" for value in sorted(counter))
