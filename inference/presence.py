"""Where nobody is seen, nothing is signed: such steps of the log-probabilities become the blank.

All features are measured from the shoulders. Without a pose they are constant, and a model would
still find the gloss that fits them best.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from data.ctc_lengths import TIME_STRIDE
from data.landmarks import PARTS
from data.vocabulary import BLANK
from decoding.closed_set import NEVER

# After the last detected pose, this many steps can still have a gloss: the detector loses the pose
# for moments while somebody signs.
HELD_STEPS = 6


def blank_without_pose(log_probs: Tensor, detected: Tensor) -> Tensor:
    """The log-probabilities with certain blanks in the steps in which nobody is seen.

    Args:
        log_probs: float (B, T', V), T' = ceil(T / 4).
        detected: bool (B, T, 4), False after the end of a sentence.

    Returns float (B, T', V).
    """
    return blank_unseen(log_probs, steps_with_pose(detected))


def steps_with_pose(detected: Tensor) -> Tensor:
    """The steps in which somebody is seen: a pose was detected in them or in the HELD_STEPS steps
    before. Depends on no later frame. Made of operations that ONNX has.

    detected: bool (B, T, 4). Returns bool (B, ceil(T / 4)).
    """
    pose = detected[:, None, :, PARTS.index("pose")].float()
    held = HELD_STEPS * TIME_STRIDE
    padded = F.pad(pose, (held, TIME_STRIDE - 1))  # the last step can have fewer frames
    return F.max_pool1d(padded, held + TIME_STRIDE, TIME_STRIDE)[:, 0] > 0


def blank_unseen(log_probs: Tensor, seen: Tensor) -> Tensor:
    """log_probs: float (B, T', V); seen: bool (B, T'). Returns float (B, T', V), certain blanks in
    the steps that are not seen."""
    blank = log_probs.new_full((log_probs.shape[-1],), NEVER)
    blank[BLANK] = 0
    return torch.where(seen[..., None], log_probs, blank)
