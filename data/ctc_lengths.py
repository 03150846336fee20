"""How many output steps a sentence has, and how many CTC needs. No torch in here."""

from collections.abc import Sequence
from itertools import pairwise

TIME_STRIDE = 4  # frames a step of the output


def required_steps(glosses: Sequence[str]) -> int:
    """Fewest time steps in which CTC can align a sentence: one per gloss, and a blank between two
    equal neighbours."""
    return len(glosses) + sum(left == right for left, right in pairwise(glosses))


def ctc_steps(frames: int) -> int:
    """Output steps of the teacher for a sentence of so many frames."""
    return -(-frames // TIME_STRIDE)


def min_frames(glosses: Sequence[str]) -> int:
    """Fewest frames in which the teacher can align the glosses."""
    return max(TIME_STRIDE * (required_steps(glosses) - 1) + 1, 1)
