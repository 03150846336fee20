"""Which hand leads: the evidence of one sentence, and the rules that decide.

Features are made as if the right hand led, so a sentence in which the left hand leads is mirrored
(`data/features.py`). The configuration of a model names its rule (`LEADING_HAND_RULES`):

    signer     The evidence of a sentence is left, right or neither. A signer whose sentences agree
               decides for all of them (`signer_votes.py`); one with few sentences decides for
               those without evidence. Otherwise a sentence decides by itself, and is right-handed
               without evidence.
    sentence   The rule of models that were trained with version 0.2 or earlier: each sentence by
               itself, and a hand must both be higher and move more.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from data.landmarks import ALL_LANDMARKS, PARTS, LandmarkSelection

HIPS_Y = 2.0  # shoulder widths from the shoulders down to the hips, roughly
# Shoulder widths by which one wrist must be higher, on average, for its hand to lead: if it also
# moves more, and if it does not (a sign that is held).
MARGIN, RAISED = 0.25, 0.75
# Shares of the frames. A hand leads if it was detected in SEEN or more of them, and the other hand
# in less than HARDLY_SEEN. (Of two hands that sign together, one can hide the other half the time.)
SEEN, HARDLY_SEEN = 0.5, 0.2
# Votes of a signer for the left hand: for all sentences, or for those without evidence. Negative
# for the right hand; 0 is no vote.
ALWAYS, WITHOUT_EVIDENCE = 2, 1
_HANDS = slice(PARTS.index("left_hand"), PARTS.index("right_hand") + 1)


def hand_totals(
    body: Tensor, detected: Tensor, counted: Tensor, selection: LandmarkSelection = ALL_LANDMARKS
) -> Tensor:
    """Sums over frames that show which hand leads. The totals of two runs of frames can be added.

    Args:
        body: float (B, T, 543, 3), the result of `body_coordinates`.
        detected: bool (B, T, 4).
        counted: bool (B, T), the frames to sum over.
        selection: the landmarks that `body` holds.

    Returns float (B, 7), left and right of each: height of the wrist above the hips, path of the
    wrist (both in shoulder widths), frames in which the hand was detected; and the number of
    frames.
    """
    wrists = (selection.left_wrist, selection.right_wrist)
    paths = torch.stack([body[:, :, wrist, :2] for wrist in wrists], dim=2)  # (B, T, 2, 2)
    height = (HIPS_Y - paths[..., 1]).clamp(min=0)
    step = torch.linalg.vector_norm(paths[:, 1:] - paths[:, :-1], dim=-1)
    movement = F.pad(step, (0, 0, 1, 0))  # the step to the first frame is not known
    each = torch.cat([height, movement, detected[..., _HANDS].to(body.dtype)], dim=-1)
    inside = counted[..., None].to(body.dtype)
    return torch.cat([(each * inside).sum(1), inside.sum(1)], dim=1)


def hand_evidence(totals: Tensor) -> Tensor:
    """1 where the left hand leads by the evidence of a sentence, -1 for the right hand, 0 if
    neither hand does.

    A hand leads if the other one was hardly detected. Otherwise the hand leads whose wrist is
    clearly higher and moves more, or is much higher.

    totals: float (B, 7), see `hand_totals`. Returns float (B,).
    """
    shares = totals[:, :6] / totals[:, 6:].clamp(min=1)
    left, right = shares[:, 0::2], shares[:, 1::2]
    higher, moves, more = (left - right).unbind(1)
    margin = higher.abs()
    raised = (margin > RAISED) | ((margin > MARGIN) & (higher * moves > 0))
    seen = shares[:, 4:]
    alone = (seen.amax(1) >= SEEN) & (seen.amin(1) < HARDLY_SEEN)
    return torch.where(alone, more.sign(), higher.sign() * raised)


def left_hand_leads(
    body: Tensor,
    detected: Tensor,
    inside: Tensor,
    selection: LandmarkSelection = ALL_LANDMARKS,
    votes: Tensor | None = None,
) -> Tensor:
    """Whether the left hand leads in each sentence, by the rule `signer`.

    Args:
        body: float (B, T, 543, 3), the result of `body_coordinates`.
        detected: bool (B, T, 4).
        inside: bool (B, T), False in the padding.
        selection: the landmarks that `body` holds.
        votes: int (B,), the vote of each sentence's signer; None: no signer is known.

    Returns bool (B,).
    """
    lead = hand_evidence(hand_totals(body, detected, inside, selection))
    if votes is not None:
        decides = (votes.abs() == ALWAYS) | (lead == 0)
        lead = torch.where(decides, votes.to(lead.dtype), lead)
    return lead > 0


def left_hand_higher_and_moving(
    body: Tensor, inside: Tensor, selection: LandmarkSelection = ALL_LANDMARKS
) -> Tensor:
    """Whether the left hand leads in each sentence, by the rule `sentence`: the left wrist is
    clearly higher, on average, and also moves more.

    The arguments are those of `left_hand_leads`. Returns bool (B,).
    """
    detected = torch.zeros(*inside.shape, len(PARTS), dtype=torch.bool, device=body.device)
    left_height, right_height, left_path, right_path, *_, frames = hand_totals(
        body, detected, inside, selection
    ).unbind(1)
    return (left_height - right_height > MARGIN * frames) & (left_path > right_path)
