"""Loss spikes: updates whose loss is far above that of the updates just before.

Median and median absolute deviation of a short window stand for the usual loss: unlike mean and
standard deviation they stay where they are when a spike enters the window (P. J. Rousseeuw and C.
Croux, Alternatives to the Median Absolute Deviation, 1993).
"""

from collections.abc import Sequence
from statistics import median

WINDOW = 64  # updates that are remembered
FEWEST = 16  # updates before anything can be a spike
DEVIATIONS = 6.0  # of 1.4826 MAD, which is the standard deviation of normal values
# And at least this many times the median, so that a loss that hardly varies does not spike all the
# time
_RISE = 1.3


def is_spike(loss: float, recent: Sequence[float]) -> bool:
    """Whether a loss stands far above the recent ones (in the order of the updates). A NaN never
    does."""
    if len(recent) < FEWEST:
        return False
    usual = median(recent)
    spread = 1.4826 * median(abs(one - usual) for one in recent)
    return loss > max(usual + DEVIATIONS * spread, _RISE * usual)


def remember(loss: float, recent: list[float]) -> None:
    """Take a loss into the window, in place."""
    recent.append(loss)
    del recent[:-WINDOW]
