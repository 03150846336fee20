"""CTC alignment: when each gloss of a hypothesis begins and ends, and how probable it is there."""

from collections.abc import Sequence

import torch
from torch import Tensor

from data.features import frame_mask
from data.vocabulary import Vocabulary
from decoding.timed_gloss import TimedGloss


@torch.no_grad()
def gloss_spans(
    log_probs: Tensor, lengths: Tensor, glosses: Tensor, counts: Tensor
) -> tuple[Tensor, Tensor]:
    """The first step of each gloss and the step after its last one, int64 (B, L) each.

    This is the Viterbi path through the CTC states of a hypothesis (blank, gloss, blank, …).

    Args:
        log_probs: float (B, T, V), with the blank at class 0.
        lengths: int (B,), steps of each sentence.
        glosses: int64 (B, L), class indices of each hypothesis, padded.
        counts: int (B,), glosses of each hypothesis. Behind them both results are 0.

    Raises ValueError if a hypothesis has no alignment of probability above 0.
    """
    device = log_probs.device
    lengths, counts = lengths.to(device), counts.to(device)
    batch, steps, _ = log_probs.shape
    number = glosses.shape[1]
    labels = torch.zeros(batch, 2 * number + 1, dtype=torch.int64, device=device)
    labels[:, 1::2] = glosses
    emitted = log_probs.gather(2, labels[:, None].expand(-1, steps, -1)).double()  # (B, T, S)
    impossible = torch.full((batch, 2), -torch.inf, dtype=torch.float64, device=device)
    # Between two different glosses the blank can be skipped
    skips = torch.zeros_like(labels, dtype=torch.bool)
    skips[:, 3::2] = labels[:, 3::2] != labels[:, 1:-2:2]
    score = torch.full_like(emitted[:, 0], -torch.inf)
    score[:, :2] = emitted[:, 0, :2]
    choices = []
    for step in range(1, steps):
        shifted = torch.cat([impossible, score], 1)
        # The state stays, or comes from one or two states before: (3, B, S)
        origins = torch.stack([score, shifted[:, 1:-1], shifted[:, :-2].where(skips, -torch.inf)])
        best, choice = origins.max(0)
        running = (step < lengths)[:, None]
        score = torch.where(running, best + emitted[:, step], score)
        choices.append(choice.where(running, 0))
    # A path ends in the last blank or in the last gloss
    ends = torch.stack([2 * counts, (2 * counts - 1).clamp(min=0)], 1)
    final, which = score.gather(1, ends).max(1)
    if not final.isfinite().all():
        raise ValueError("a hypothesis has no alignment with these log-probabilities")
    state = ends.gather(1, which[:, None])
    states = [state]
    for choice in reversed(choices):
        state = state - choice.gather(1, state)
        states.append(state)
    path = torch.cat(states[::-1], 1)  # (B, T)
    inside = frame_mask(lengths, steps)
    gloss_states = torch.arange(number, device=device) * 2 + 1
    in_gloss = (path[..., None] == gloss_states) & inside[..., None]  # (B, T, L)
    begins = in_gloss.to(torch.uint8).argmax(1)
    return begins, begins + in_gloss.sum(1)


def sentence_spans(log_probs: Tensor, classes: Sequence[int]) -> list[tuple[int, int]]:
    """`gloss_spans` of one sentence: first step and step after the last one of each gloss.

    log_probs: float (T', V). classes: class indices of the hypothesis.
    """
    if not classes:
        return []
    begins, ends = gloss_spans(
        log_probs[None],
        torch.tensor([len(log_probs)]),
        torch.tensor([list(classes)]),
        torch.tensor([len(classes)]),
    )
    return list(zip(begins[0].tolist(), ends[0].tolist(), strict=True))


def timed_glosses(
    log_probs: Tensor,
    hypothesis: Sequence[int],
    vocabulary: Vocabulary,
    step_seconds: float,
    duration: float,
) -> list[TimedGloss]:
    """The glosses of a hypothesis with their times in its most probable CTC alignment.

    Args:
        log_probs: float (T', V), with the blank at class 0.
        hypothesis: class indices.
        vocabulary: names of the classes.
        step_seconds: seconds of one step.
        duration: seconds of the recording. The last step may be longer than what is left of it.

    Raises ValueError if the hypothesis has no alignment.
    """
    timed = []
    for index, (begin, end) in zip(hypothesis, sentence_spans(log_probs, hypothesis), strict=True):
        (gloss,) = vocabulary.decode([index])
        confidence = float(log_probs[begin:end, index].double().exp().mean())
        stop = min(end * step_seconds, duration)
        timed.append(TimedGloss(gloss, begin * step_seconds, stop, confidence))
    return timed
