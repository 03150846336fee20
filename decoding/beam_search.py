"""CTC prefix beam search (Graves 2006; Hannun et al. 2014, arXiv:1408.2873) of a whole batch, with
tensor operations only.

The beam of a sentence holds `width` different prefixes (gloss sequences). Each prefix has two
probabilities: of all its alignments up to this step that end in a blank, and of those that end in
its last gloss. A step keeps a prefix, or appends one of the most probable glosses of the step. If
the result is a prefix that the beam already holds, the probabilities are added.

The only Python loop is over the steps. Probabilities are float64 and are rescaled at each step, so
the loop takes no logarithms. Sums and products are rounded in the same way in every batch: other
sentences and padding never change the hypotheses of a sentence, to the last bit.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from data.features import frame_mask
from decoding.language_model import END, LanguageModel

BEAM_WIDTH = 30  # prefixes of a beam
TOKENS = 20  # glosses that a step can append
# Prefixes are compared by 64-bit hashes of their glosses, see `_hash`
_HASH_MULTIPLIER = -7046029254386353131
_NO_PARENT, _NO_PREFIX = -1, -2  # parent of the empty prefix; a place of the beam without a prefix


@dataclass(frozen=True)
class BeamResult:
    """The N best hypotheses of each sentence, best first.

    glosses: int64 (B, N, L), class indices, 0 behind the end of a hypothesis.
    counts: int64 (B, N), glosses of each hypothesis.
    scores: float64 (B, N), log-probability of all alignments that the beam kept, plus the language
        model and the gloss bonus; -inf if a sentence has fewer hypotheses.
    """

    glosses: Tensor
    counts: Tensor
    scores: Tensor

    def hypotheses(self, sentence: int) -> list[tuple[list[int], float]]:
        """(class indices, score) of each hypothesis of a sentence, best first."""
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
    width: int = BEAM_WIDTH,
    tokens: int = TOKENS,
    language_model: LanguageModel | None = None,
    lm_weight: float = 1.0,
    gloss_bonus: float = 0.0,
) -> BeamResult:
    """The `width` best hypotheses of each sentence. The score of a hypothesis of n glosses is
    log P + lm_weight * log P_lm + gloss_bonus * n.

    Args:
        log_probs: float (B, T, V) with the blank at class 0; -inf is allowed. The search runs on
            their device.
        lengths: int (B,), steps of each sentence, 1 to T.
        width: prefixes that the beam of a sentence holds.
        tokens: glosses that can be appended at a step: the most probable ones of the step.
        language_model: bigrams of the same classes; None: without one.
        lm_weight: weight of the language model.
        gloss_bonus: added for each gloss.

    Raises ValueError for NaN, for a step in which no class is possible, and for impossible
    arguments.
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
    inside = frame_mask(lengths.to(device), steps)  # (B, T)
    blank, (top, token_ids) = log_probs[:, :steps, 0], log_probs[:, :steps, 1:].topk(tokens)
    best = torch.maximum(blank, top[..., 0])  # NaN if any class of the step is NaN
    if (bad := ~best.isfinite() & inside).any():
        sentence, step = bad.nonzero()[0].tolist()
        raise ValueError(
            f"sentence {sentence}, step {step}: log-probabilities that are NaN, +inf, or all -inf"
        )
    best = best.where(inside, 0.0).double()
    # Probabilities relative to the step's best class. Behind the end of a sentence the blank has
    # probability 1 and the glosses 0: these steps change no prefix.
    blank = (blank.double() - best).exp().where(inside, 1.0)
    token_probs, token_ids = (
        (top.double() - best[..., None]).exp().where(inside[..., None], 0.0),
        token_ids + 1,
    )
    if language_model is not None and language_model.table.shape != (classes, classes):
        raise ValueError(
            f"the language model knows {len(language_model.table)} classes, "
            f"the log-probabilities have {classes}"
        )
    table = language_model.table.to(device) if language_model is not None else None
    bonus = torch.tensor(gloss_bonus, dtype=torch.float64, device=device)

    ends_blank = torch.zeros(batch, width, dtype=torch.float64, device=device)
    ends_blank[:, 0] = 1.0
    ends_gloss = torch.zeros_like(ends_blank)
    last = torch.zeros(batch, width, dtype=torch.int64, device=device)
    # Hashes of each prefix and of its parent, the prefix without its last gloss
    hashes, parent = torch.full_like(last, _NO_PREFIX), torch.full_like(last, _NO_PARENT)
    hashes[:, 0] = 0
    slots = torch.arange(width, device=device).expand(batch, width)
    nothing = torch.zeros(batch, 1, dtype=torch.float64, device=device)
    came_from, added, scales = [], [], []

    for step in range(steps):
        probs, ids = token_probs[:, step], token_ids[:, step]  # (B, k)
        total = ends_blank + ends_gloss
        repeats = ids[:, None] == last[..., None]  # (B, K, k)
        extended = torch.where(repeats, ends_blank[..., None], total[..., None]) * probs[:, None]
        # The factor of an appended gloss: only the bigrams that this step needs are looked up
        if table is not None:
            bigrams = table[last[..., None], ids[:, None]].double()  # (B, K, k)
            extended = extended * (lm_weight * bigrams + bonus).exp()
        elif gloss_bonus:
            extended = extended * bonus.exp()
        extended = torch.cat([extended.flatten(1), nothing], 1)  # (B, K * k + 1)
        # If prefix j is prefix i plus one gloss, the extension of i by this gloss is j: its
        # probability is added to j, and it is no candidate of its own.
        parent_in_beam, i = (parent[..., None] == hashes[:, None]).max(-1)
        is_token, token = repeats.max(-1)  # is the last gloss of the prefix a token of this step?
        joins = torch.where(parent_in_beam & is_token, i * tokens + token, width * tokens)
        repeat_prob = probs.gather(1, token).where(is_token, 0.0)  # the last gloss continues
        stays_blank = total * blank[:, step, None]
        stays_gloss = ends_gloss * repeat_prob + extended.gather(1, joins)
        extended.scatter_(1, joins, 0.0)
        value, chosen = torch.cat([stays_blank + stays_gloss, extended[:, :-1]], 1).topk(width)
        if step >= shortest:  # a sentence that has ended keeps its beam, in the same order
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
        possible, before = value > 0, hashes.gather(1, slot)
        parent = torch.where(stays, parent.gather(1, slot), before).where(possible, _NO_PARENT)
        hashes = torch.where(stays, before, _hash(before, gloss)).where(possible, _NO_PREFIX)
        last = torch.where(stays, last.gather(1, slot), gloss)

    total = ends_blank + ends_gloss
    if table is not None:
        total = total * (lm_weight * table[last, END].double()).exp()
    total, order = total.sort(dim=1, descending=True, stable=True)
    glosses, counts = _trace_back(came_from, added, order)
    # cumsum adds in the same order however long the batch is; sum does not
    log_scale = (torch.cat(scales, 1).log() + best).cumsum(1)[:, -1:]
    return BeamResult(glosses, counts, total.log() + log_scale)


def _hash(parent: Tensor, gloss: Tensor) -> Tensor:
    """The hash of a prefix, from the hash of its parent and its last gloss; int64."""
    mixed = (parent ^ (gloss * _HASH_MULTIPLIER)) * _HASH_MULTIPLIER
    return mixed ^ (mixed >> 31)


def _trace_back(
    came_from: list[Tensor], added: list[Tensor], slot: Tensor
) -> tuple[Tensor, Tensor]:
    """Glosses (B, N, L) and their counts (B, N) of the prefixes that are at `slot` (B, N) of the
    last beam. came_from, added: (B, K) of each step, the slot before it and the appended gloss."""
    steps = []
    for previous, gloss in zip(reversed(came_from), reversed(added), strict=True):
        steps.append(gloss.gather(1, slot))
        slot = previous.gather(1, slot)
    glosses = torch.stack(steps[::-1], dim=2)  # (B, N, T), 0 where nothing was added
    counts = (glosses != 0).sum(2)
    order = (glosses == 0).to(torch.uint8).argsort(dim=2, stable=True)
    return glosses.gather(2, order)[..., : max(int(counts.max()), 1)], counts
