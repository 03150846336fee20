"""Loss spikes: updates whose loss is far above that of the updates just before.

The usual loss is described by median and median absolute deviation (MAD) of a short window. Unlike
mean and standard deviation they hardly change when a spike enters the window (Rousseeuw & Croux,
Alternatives to the Median Absolute Deviation, 1993).
"""

from collections.abc import Sequence
from statistics import median

WINDOW = 64  # updates
FEWEST = 16  # updates in the window before a loss can be a spike
DEVIATIONS = 6.0  # in units of 1.4826 MAD, the standard deviation of normally distributed values
# A spike is also at least this many times the median: a loss that hardly varies has no spikes.
_RISE = 1.3


def is_spike(loss: float, recent: Sequence[float]) -> bool:
    """Whether a loss is far above the recent ones. NaN is no spike."""
    if len(recent) < FEWEST:
        return False
    usual = median(recent)
    spread = 1.4826 * median(abs(one - usual) for one in recent)
    return loss > max(usual + DEVIATIONS * spread, _RISE * usual)


def remember(loss: float, recent: list[float]) -> None:
    """Add a loss to the window, in place."""
    recent.append(loss)
    del recent[:-WINDOW]
