"""CTC loss in plain tensor operations, for devices that compute asynchronously, such as GPUs.

torch's native CTC waits for a CUDA device twice per call, to copy lengths. cuDNN's CTC ignores
targets that cannot be aligned. Here the forward and backward variables (Graves et al., ICML 2006)
are computed in one recursion, over all sentences and heads at once: the backward variables are the
forward variables of the reversed sentence. Each step launches four small kernels. On the CPU,
torch's own CTC is used; both need about the same time there (benchmarks/step.py).
"""

import torch
from torch import Tensor

from data.features import frame_mask
from models.bilstm import flip_index

_IMPOSSIBLE = float("-inf")


class _NegativeLogLikelihood(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, log_probs: Tensor, targets: Tensor, steps: Tensor, target_lengths: Tensor
    ) -> Tensor:
        batch, longest, classes = log_probs.shape
        labels = _with_blanks(targets)  # (B, S)
        states = 2 * target_lengths + 1
        frames = flip_index(steps, longest)  # (B, T)
        places = flip_index(states, labels.shape[1])  # (B, S)
        emitted = log_probs.gather(2, labels[:, None].expand(batch, longest, -1))  # (B, T, S)
        turned = _turn(emitted, frames, places)
        paths = _forward_variables(
            torch.cat([emitted, turned]), torch.cat([labels, labels.gather(1, places)])
        )  # (2 B, T, S)
        ahead, back = paths[:batch], _turn(paths[batch:], frames, places)
        # (B, S)
        last = ahead.gather(1, (steps - 1)[:, None, None].expand(-1, 1, labels.shape[1]))[:, 0]
        ends = last.gather(1, torch.stack([states - 1, (states - 2).clamp(min=0)], dim=1))
        ends[:, 1].masked_fill_(target_lengths == 0, _IMPOSSIBLE)
        likelihood = ends.logsumexp(1)  # (B,)
        if log_probs.requires_grad:
            inside = frame_mask(steps, longest)
            known = frame_mask(states, labels.shape[1])
            share = (ahead + back - emitted - likelihood[:, None, None]).exp()
            share = share.masked_fill(~(inside[:, :, None] & known[:, None]), 0)
            # A product with one-hot labels adds up the states of a class in a fixed order;
            # scatter_add does not.
            one_hot = torch.zeros(
                batch, labels.shape[1], classes, dtype=share.dtype, device=share.device
            )
            one_hot.scatter_(2, labels[:, :, None], 1)
            # (B, T, V): how often each class is emitted at each step
            ctx.save_for_backward(share @ one_hot)
        return -likelihood

    @staticmethod
    def backward(ctx, gradient: Tensor):
        (share,) = ctx.saved_tensors
        return -share * gradient[:, None, None], None, None, None


def ctc(log_probs: Tensor, targets: Tensor, steps: Tensor, target_lengths: Tensor) -> Tensor:
    """CTC negative log-likelihood of each sentence, (B,). The blank is class 0.

    Args:
        log_probs: float32 or float64 (B, T, V), after log_softmax.
        targets: int64 (B, L), padded with any class.
        steps: int64 (B,), at least 1.
        target_lengths: int64 (B,).

    All tensors are on one device; the CPU never waits for it. A sentence that cannot be aligned has
    an infinite loss and NaN gradients.
    """
    # Full precision also under autocast, as in torch's own CTC: bf16 has a mantissa of 8 bits.
    with torch.autocast(log_probs.device.type, enabled=False):
        return _NegativeLogLikelihood.apply(log_probs, targets, steps, target_lengths)


def _with_blanks(targets: Tensor) -> Tensor:
    """(B, L) -> (B, 2 L + 1): a blank before, between and after the labels."""
    labels = targets.new_zeros(len(targets), 2 * targets.shape[1] + 1)
    labels[:, 1::2] = targets
    return labels


def _turn(x: Tensor, frames: Tensor, places: Tensor) -> Tensor:
    """x (B, T, S) with each sentence reversed in time and in its states."""
    x = x.gather(1, frames[:, :, None].expand(x.shape))
    return x.gather(2, places[:, None].expand(x.shape))


def _forward_variables(emitted: Tensor, labels: Tensor) -> Tensor:
    """Log-probability of all partial alignments that end in a state at a step.

    emitted (B, T, S), labels int64 (B, S) -> (B, T, S).
    """
    batch, longest, states = emitted.shape
    # Two impossible states in front: staying, moving on and skipping a blank become three slices.
    paths = emitted.new_full((longest, batch, states + 2), _IMPOSSIBLE)
    paths[0, :, 2:4] = emitted[:, 0, :2]
    skippable = (labels != 0) & (labels != torch.nn.functional.pad(labels[:, :-2], (2, 0)))
    # The impossible states in front stay impossible, whatever is added.
    barred = torch.zeros_like(emitted[:, 0]).masked_fill(~skippable, _IMPOSSIBLE)
    emitted = emitted.transpose(0, 1).contiguous()  # (T, B, S)
    for step in range(1, longest):
        before = paths[step - 1]
        arrived = torch.logaddexp(before[:, 2:], before[:, 1:-1])
        arrived = torch.logaddexp(arrived, before[:, :-2] + barred)
        torch.add(arrived, emitted[step], out=paths[step, :, 2:])
    return paths[:, :, 2:].transpose(0, 1)
