"""Lengths in CTC: frames, output steps of the teacher, and the fewest steps that glosses need.

This module imports neither torch nor numpy, so that command lines start fast.
"""

from collections.abc import Sequence
from operator import eq
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np

TIME_STRIDE = 4  # input frames per output step of the teacher
Frames = TypeVar("Frames", int, "np.ndarray")


def ctc_steps(frames: Frames) -> Frames:
    """Output steps of the teacher for a sentence of `frames` frames: frames / 4, rounded up. Also
    for an array of lengths."""
    return -(-frames // TIME_STRIDE)


def required_steps(glosses: Sequence[str]) -> int:
    """Fewest output steps in which CTC can align the glosses.

    Each gloss needs one step. Two equal neighbours need a blank step between them.
    """
    return len(glosses) + sum(map(eq, glosses, glosses[1:]))


def min_frames(glosses: Sequence[str]) -> int:
    """Fewest frames from which CTC can align the glosses; at least 1."""
    return frames_of_steps(required_steps(glosses))


def frames_of_steps(steps: Frames) -> Frames:
    """Fewest frames that give this many output steps; at least 1. Also for an array of steps."""
    return TIME_STRIDE * (steps - 1) * (steps > 0) + 1
