"""95 % intervals of error rates, in words and in the cells of tables.

The bootstrap draws sentences. From one sentence, from sentences without an error, or from sentences
that all have the same rate, it always draws the same rate: an interval without width, as if the
rate were certain. Here such a rate has no interval.
"""

from collections.abc import Sequence
from typing import Any


def interval_text(rate: float, ends: Sequence[float], sentences: int) -> str:
    """The interval in words.

    Args:
        rate: in percent.
        ends: of the interval, in percent.
        sentences: how many the rate is of.
    """
    if sentences == 1:
        return "no interval of one sentence"
    if rate == 0:
        return f"no interval: no error in {sentences:,} sentences"
    low, high = ends
    if low == high:
        return f"no interval: the same rate in all {sentences:,} sentences"
    return f"95 % interval {low:.2f} to {high:.2f}"


def wer_interval_text(rates: dict[str, Any]) -> str:
    """The interval of a WER in words. rates: see `decoding.scoring.rates`."""
    return interval_text(rates["wer"], rates["wer_interval"], rates["sentences"])


def interval_cell(rate: float | None, ends: Sequence[float] | None, sentences: int) -> str:
    """The interval in a table. rate, ends: None for a group without glosses."""
    if ends is None or sentences == 1:
        return "–"
    if rate == 0:
        return "no error"
    low, high = ends
    if low == high:
        return "–"
    return f"{low:.2f}–{high:.2f}"
