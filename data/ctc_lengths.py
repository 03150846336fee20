"""Lengths in CTC: frames, output steps of the teacher, and the fewest steps that glosses need.

This module does not import torch, so that command lines start fast.
"""

from collections.abc import Sequence
from operator import eq

TIME_STRIDE = 4  # input frames per output step of the teacher


def ctc_steps(frames: int) -> int:
    """Output steps of the teacher for a sentence of `frames` frames: frames / 4, rounded up."""
    return -(-frames // TIME_STRIDE)


def required_steps(glosses: Sequence[str]) -> int:
    """Fewest output steps in which CTC can align the glosses.

    Each gloss needs one step. Two equal neighbours need a blank step between them.
    """
    return len(glosses) + sum(map(eq, glosses, glosses[1:]))


def min_frames(glosses: Sequence[str]) -> int:
    """Fewest frames from which CTC can align the glosses; at least 1."""
    return max(TIME_STRIDE * (required_steps(glosses) - 1) + 1, 1)
