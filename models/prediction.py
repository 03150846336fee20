"""What is decoded: the predictions of both heads, joined."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class JoinedHeads:
    """How the predictions of both heads are joined.

    conv_share: share of the convolution head in the mixture, 0 to 1; the sequence head has the
    rest. prior_scale: how much of a gloss's frequency in train is divided out, 0 to 1. With 0 and
    0, the sequence head predicts alone.
    """

    conv_share: float = 0.0
    prior_scale: float = 0.0

    def __str__(self) -> str:
        parts = []
        if self.conv_share:
            parts.append(f"{100 * self.conv_share:g} % of the convolution head")
        if self.prior_scale:
            parts.append(f"gloss frequency to the power of {self.prior_scale:g} divided out")
        return ", ".join(parts) or "sequence head alone"


SEQUENCE_ALONE = JoinedHeads()


def join_heads(
    log_probs: Tensor, conv_log_probs: Tensor, heads: JoinedHeads, log_prior: Tensor
) -> Tensor:
    """Join the predictions of the sequence head and of the convolution head.

    The sequence head sees the whole sentence. It also expects glosses in the neighbourhoods that
    they had in train. The convolution head sees about a second, and makes fewer errors in new
    neighbourhoods. The mixture of both is

        log(conv_share * p(convolution) + (1 - conv_share) * p(sequence))

    Then prior_scale times log_prior is subtracted, since a model expects frequent glosses too
    often; as in hybrid speech recognition (Bourlard & Morgan 1994), with a scale below 1.

    Args:
        log_probs, conv_log_probs: of the two heads, (B, T', V).
        log_prior: (V,), see `log_prior_of`.

    Returns log-probabilities (B, T', V).
    """
    joined = log_probs
    if heads.conv_share == 1:
        joined = conv_log_probs
    elif heads.conv_share:
        shares = math.log1p(-heads.conv_share), math.log(heads.conv_share)
        joined = torch.stack([log_probs + shares[0], conv_log_probs + shares[1]]).logsumexp(0)
    if heads.prior_scale:
        joined = (joined - heads.prior_scale * log_prior).log_softmax(-1)
    return joined


def log_prior_of(counts: Tensor) -> Tensor:
    """Log-frequency of each class in train, float32 (classes,), 0 for the blank.

    The mean over all glosses of train is 0, so that glosses as a whole become neither more nor less
    probable against the blank. counts: (classes,), how often train has each class; a gloss that it
    lacks counts as one that is there once, and the blank's count has no effect.
    """
    counts = counts.to(torch.float32).clone()
    counts[0] = 0
    frequency = counts.clamp(min=1).log()
    prior = frequency - (frequency * counts).sum() / counts.sum().clamp(min=1)
    prior[0] = 0
    return prior


class Prediction(nn.Module):
    """The last step of a model: `join_heads`. Until `use` is called, the sequence head predicts
    alone. It has no weights; a checkpoint has its settings beside them."""

    log_prior: Tensor

    def __init__(self, classes: int):
        super().__init__()
        self.heads = SEQUENCE_ALONE
        self.register_buffer("log_prior", torch.zeros(classes), persistent=False)

    def use(self, heads: JoinedHeads, log_prior: Tensor) -> None:
        """Join the heads in this way from now on. log_prior (classes,), see `log_prior_of`."""
        self.heads = heads
        self.log_prior.copy_(log_prior)

    def named_beside(self, decoder: str) -> str:
        """The decoder's name. If the heads are joined, it also says how."""
        return decoder if self.heads == SEQUENCE_ALONE else f"{decoder}; heads: {self.heads}"

    def forward(self, log_probs: Tensor, conv_log_probs: Tensor) -> Tensor:
        """Log-probabilities of the sequence head and of the convolution head -> those that are
        decoded, (B, T', V) each."""
        return join_heads(log_probs, conv_log_probs, self.heads, self.log_prior)
