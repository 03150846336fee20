"""CTC prefix beam search (Graves 2006; Hannun et al. 2014, arXiv:1408.2873) of a whole batch as one
tensor program.

A beam holds `width` different prefixes (gloss sequences) of each sentence, each with the
probability of all its alignments so far, those that end in a blank apart from those that end in its
last gloss. Each step keeps a prefix as it is or puts one of the step's most probable glosses behind
it; where that makes a prefix that the beam already holds, the two are added up. Only `steps` is a
Python loop. Probabilities are float64 and rescaled at each step, so that no logarithm is taken
inside the loop and sums and products round alike in any batch: neighbours and padding never change
a sentence's readings.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from decoding.language_model import END, LanguageModel

WIDTH = 30
TOKENS = 20
# Two prefixes are the same when the 64-bit hashes of their glosses are: `_hash`, from the parent's
# hash and the last gloss.
_STIR = -7046029254386353131
_NONE, _DEAD = -1, -2  # the empty prefix's parent; a slot of the beam that holds no prefix


@dataclass(frozen=True)
class BeamResult:
    """The best readings of each sentence, best first.

    glosses int64 (B, N, L), zero behind a reading's end; counts int64 (B, N); scores float64
    (B, N): log-probability of all alignments that the beam kept, plus what language model and bonus
    added; -inf where a sentence has no N-th reading.
    """

    glosses: Tensor
    counts: Tensor
    scores: Tensor

    def readings(self, sentence: int) -> list[tuple[list[int], float]]:
        """(class indices, score) of a sentence's readings."""
        rows = zip(
            self.glosses[sentence].tolist(),
            self.counts[sentence].tolist(),
            self.scores[sentence].tolist(),
            strict=True,
        )
        return [(glosses[:count], score) for glosses, count, score in rows if score > -float("inf")]


@torch.no_grad()
def beam_search(
    log_probs: Tensor,
    lengths: Tensor,
    width: int = WIDTH,
    tokens: int = TOKENS,
    language_model: LanguageModel | None = None,
    lm_weight: float = 1.0,
    gloss_bonus: float = 0.0,
) -> BeamResult:
    """The `width` most probable readings. log_probs (B, T, V) with the blank at 0, lengths int
    (B,), each 1 to T.

    tokens: glosses that can be said at a step, the most probable ones (the blank always can). A
    reading of n glosses is worth log P + lm_weight * log P_lm + gloss_bonus * n. -inf log-probs are
    fine. Runs where log_probs are. Raises ValueError on NaN, on a step without any possible class,
    and on impossible arguments.
    """
    batch, steps, classes = log_probs.shape
    device = log_probs.device
    if width < 1 or tokens < 1 or classes < 2:
        raise ValueError(
            f"width {width}, tokens {tokens}, classes {classes}: expected at least 1, 1 and 2"
        )
    shortest, longest = int(lengths.min()), int(lengths.max())
    if shortest < 1 or longest > steps:
        raise ValueError(f"lengths {lengths.tolist()}: expected 1 to {steps}")
    steps, tokens = longest, min(tokens, classes - 1)
    inside = torch.arange(steps, device=device) < lengths.to(device)[:, None]  # (B, T)
    blank, (top, token_ids) = log_probs[:, :steps, 0], log_probs[:, :steps, 1:].topk(tokens)
    best = torch.maximum(blank, top[..., 0])  # NaN where any class of the step is
    if (bad := ~best.isfinite() & inside).any():
        sentence, step = bad.nonzero()[0].tolist()
        raise ValueError(
            f"sentence {sentence}, step {step}: log-probabilities that are NaN, +inf, or all -inf"
        )
    best = best.where(inside, 0.0).double()
    # Relative to the step's best class. Steps behind a sentence's end leave every prefix what it
    # is.
    blank = (blank.double() - best).exp().where(inside, 1.0)
    token_probs, token_ids = (
        (top.double() - best[..., None]).exp().where(inside[..., None], 0.0),
        token_ids + 1,
    )
    follows = _follow_table(language_model, classes, lm_weight, gloss_bonus, device)

    ends_blank = torch.zeros(batch, width, dtype=torch.float64, device=device)
    ends_blank[:, 0] = 1.0
    ends_gloss = torch.zeros_like(ends_blank)
    last = torch.zeros(batch, width, dtype=torch.int64, device=device)
    own, parent = torch.full_like(last, _DEAD), torch.full_like(last, _NONE)
    own[:, 0] = 0
    slots = torch.arange(width, device=device).expand(batch, width)
    nothing = torch.zeros(batch, 1, dtype=torch.float64, device=device)
    came_from, added, scales = [], [], []

    for step in range(steps):
        probs, ids = token_probs[:, step], token_ids[:, step]  # (B, k)
        total = ends_blank + ends_gloss
        repeats = ids[:, None] == last[..., None]  # (B, K, k)
        extended = torch.where(repeats, ends_blank[..., None], total[..., None]) * probs[:, None]
        if follows is not None:
            extended = extended * follows[last[..., None], ids[:, None]]
        extended = torch.cat([extended.flatten(1), nothing], 1)  # (B, K * k + 1)
        # Prefix i put before prefix j's last gloss is prefix j: that extension moves from the
        # candidates to j.
        grown, i = (parent[..., None] == own[:, None]).max(-1)
        speakable, token = repeats.max(-1)
        joins = torch.where(grown & speakable, i * tokens + token, width * tokens)
        again = probs.gather(1, token).where(speakable, 0.0)  # the last gloss goes on
        stays_blank = total * blank[:, step, None]
        stays_gloss = ends_gloss * again + extended.gather(1, joins)
        extended.scatter_(1, joins, 0.0)
        value, chosen = torch.cat([stays_blank + stays_gloss, extended[:, :-1]], 1).topk(width)
        if step >= shortest:  # a sentence that has ended keeps its beam in its order
            running = inside[:, step, None]
            chosen = chosen.where(running, slots)
        scale = value[:, :1] if step < shortest else value[:, :1].where(running, 1.0)
        scales.append(scale)

        stays = chosen < width
        slot = torch.where(stays, chosen, (chosen - width).div(tokens, rounding_mode="floor"))
        gloss = ids.gather(1, (chosen - width) % tokens).where(~stays, 0)
        came_from.append(slot)
        added.append(gloss)
        ends_blank = stays_blank.gather(1, slot).where(stays, 0.0) / scale
        ends_gloss = stays_gloss.gather(1, slot).where(stays, value) / scale
        alive, before = value > 0, own.gather(1, slot)
        parent = torch.where(stays, parent.gather(1, slot), before).where(alive, _NONE)
        own = torch.where(stays, before, _hash(before, gloss)).where(alive, _DEAD)
        last = torch.where(stays, last.gather(1, slot), gloss)

    total = ends_blank + ends_gloss
    if language_model is not None:
        total = total * (lm_weight * language_model.table[:, END].to(device).double()).exp()[last]
    total, order = total.sort(dim=1, descending=True, stable=True)
    glosses, counts = _trace_back(came_from, added, order)
    # Running sums add up in one order, however long the batch is.
    log_scale = (torch.cat(scales, 1).log() + best).cumsum(1)[:, -1:]
    return BeamResult(glosses, counts, total.log() + log_scale)


def _follow_table(
    language_model: LanguageModel | None,
    classes: int,
    weight: float,
    bonus: float,
    device: torch.device,
) -> Tensor | None:
    """float64 (V, V) that an extension's probability is multiplied by, row: what it follows; None
    when that is 1."""
    if language_model is None:
        if bonus == 0.0:
            return None
        return torch.full((classes, classes), bonus, dtype=torch.float64, device=device).exp()
    if language_model.table.shape != (classes, classes):
        raise ValueError(
            f"the language model knows {len(language_model.table)} classes, the log-probabilities have {classes}"
        )
    return (weight * language_model.table.to(device).double() + bonus).exp()


def _hash(parent: Tensor, gloss: Tensor) -> Tensor:
    stirred = (parent ^ (gloss * _STIR)) * _STIR
    return stirred ^ (stirred >> 31)


def _trace_back(
    came_from: list[Tensor], added: list[Tensor], slot: Tensor
) -> tuple[Tensor, Tensor]:
    """Glosses (B, N, L) and their counts (B, N) of the prefixes that end in `slot` (B, N)."""
    steps = []
    for previous, gloss in zip(reversed(came_from), reversed(added), strict=True):
        steps.append(gloss.gather(1, slot))
        slot = previous.gather(1, slot)
    glosses = torch.stack(steps[::-1], dim=2)  # (B, N, T), 0 where nothing was added
    counts = (glosses != 0).sum(2)
    order = (glosses == 0).to(torch.uint8).argsort(dim=2, stable=True)
    return glosses.gather(2, order)[..., : max(int(counts.max()), 1)], counts
