"""A gloss with its times and how sure the model is of it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from data.vocabulary import Vocabulary
from decoding.timed_gloss import TimedGloss


@torch.no_grad()
def gloss_spans(
    log_probs: Tensor, lengths: Tensor, glosses: Tensor, counts: Tensor
) -> tuple[Tensor, Tensor]:
    """First step and the step after the last one of each gloss, int64 (B, L) each, 0 behind a
    reading's end.

    log_probs (B, T, V) with the blank at 0, lengths int (B,), glosses int64 (B, L), counts int
    (B,). Viterbi over the readings' CTC states (blank, gloss, blank, …); a reading must have at
    least one alignment of probability above 0, else ValueError.
    """
    device = log_probs.device
    lengths, counts = lengths.to(device), counts.to(device)
    batch, steps, _ = log_probs.shape
    number = glosses.shape[1]
    labels = torch.zeros(batch, 2 * number + 1, dtype=torch.int64, device=device)
    labels[:, 1::2] = glosses
    emitted = log_probs.double().gather(2, labels[:, None].expand(-1, steps, -1))  # (B, T, S)
    impossible = torch.full((batch, 2), -torch.inf, dtype=torch.float64, device=device)
    # Over the blank between two different glosses
    skips = torch.zeros_like(labels, dtype=torch.bool)
    skips[:, 3::2] = labels[:, 3::2] != labels[:, 1:-2:2]
    score = torch.full_like(emitted[:, 0], -torch.inf)
    score[:, :2] = emitted[:, 0, :2]
    choices = []
    for step in range(1, steps):
        shifted = torch.cat([impossible, score], 1)
        # (3, B, S)
        ways = torch.stack([score, shifted[:, 1:-1], shifted[:, :-2].where(skips, -torch.inf)])
        best, choice = ways.max(0)
        running = (step < lengths)[:, None]
        score = torch.where(running, best + emitted[:, step], score)
        choices.append(choice.where(running, 0))
    # A last blank, or the last gloss
    ends = torch.stack([2 * counts, (2 * counts - 1).clamp(min=0)], 1)
    final, which = score.gather(1, ends).max(1)
    if not final.isfinite().all():
        raise ValueError("a reading has no alignment with these log-probabilities")
    state = ends.gather(1, which[:, None])
    path = [state]
    for choice in reversed(choices):
        state = state - choice.gather(1, state)
        path.append(state)
    path = torch.cat(path[::-1], 1)  # (B, T)
    inside = torch.arange(steps, device=device) < lengths[:, None]
    # (B, T, L)
    spoken = (path[..., None] == torch.arange(number, device=device) * 2 + 1) & inside[..., None]
    begins = spoken.to(torch.uint8).argmax(1)
    return begins, begins + spoken.sum(1)


def timed_glosses(
    log_probs: Tensor, reading: Sequence[int], vocabulary: Vocabulary, step: float, until: float
) -> list[TimedGloss]:
    """The glosses of a reading at their places in its most probable CTC alignment.

    log_probs (T', V) with the blank at 0; reading: class indices, with at least one alignment
    (else ValueError); step: seconds of a step; until: seconds of the recording, which the last step
    can run over.
    """
    if not reading:
        return []
    indices = torch.tensor([list(reading)])
    begins, ends = gloss_spans(
        log_probs[None], torch.tensor([len(log_probs)]), indices, torch.tensor([len(reading)])
    )
    timed = []
    for index, begin, end in zip(reading, begins[0].tolist(), ends[0].tolist(), strict=True):
        confidence = float(log_probs[begin:end, index].double().exp().mean())
        timed.append(
            TimedGloss(
                vocabulary.decode([index])[0], begin * step, min(end * step, until), confidence
            )
        )
    return timed
