"""Choose a few of many sentences or frames."""

import numpy as np


def evenly_spread(length: int, count: int) -> list[int]:
    """At most `count` indices of `length` elements, evenly spread from the first to the last."""
    if length <= count:
        return list(range(length))
    return sorted({round(place) for place in np.linspace(0, length - 1, count)})
