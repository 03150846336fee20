"""Layers that see only the frames of a sentence, so that padding never changes its output."""

import torch
from torch import Tensor, distributed, nn


def sentence_mask(lengths: Tensor, frames: int) -> Tensor:
    """float (B, 1, frames), 1 where the frame belongs to the sentence. lengths: int (B,)."""
    return (torch.arange(frames, device=lengths.device) < lengths[:, None]).float()[:, None]


class MaskedBatchNorm(nn.BatchNorm1d):
    """Batch normalisation of (B, C, T) over the frames inside the sentences; frames outside come
    out as zeros.

    In evaluation it is nn.BatchNorm1d followed by the mask; in training the statistics are those
    that nn.BatchNorm1d would see had the sentences' frames been joined without padding. With
    `over_processes` they are those of the frames of all processes of torch.distributed, as of
    nn.SyncBatchNorm, which knows no mask and no CPU.
    """

    over_processes = False

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:  # type: ignore[override]
        """x (B, C, T), mask float (B, 1, T) -> (B, C, T) of x's type; statistics in float32."""
        # Compiled, kernels are joined anyway, and torch 2.11 loses a written-out gradient when it
        # compiles a second length.
        if self.training and not self.over_processes and not torch.compiler.is_compiling():
            out, mean, variance, count = _Normalize.apply(x, mask, self.weight, self.bias, self.eps)
            self._remember(mean, variance, count)
            return out
        if self.training:
            take = statistics_over_processes if self.over_processes else _statistics
            count, mean, variance = take(x.float(), mask, mask.sum(dtype=torch.float32))
            self._remember(mean.detach(), variance.detach(), count.detach())
        else:
            mean, variance = self.running_mean, self.running_var
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        return ((x * scale[:, None] + shift[:, None]) * mask).to(x.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Take a batch's mean and variance (C,) of count () frames into the running statistics."""
        unbiased = variance * (count / (count - 1).clamp(min=1))
        # An overflow that the trainer skips must not stay in the running statistics for ever. Where
        # the mean is not finite, the variance about it is not, either.
        finite = unbiased < torch.inf
        self.running_mean.lerp_(torch.where(finite, mean, self.running_mean), self.momentum)
        self.running_var.lerp_(torch.where(finite, unbiased, self.running_var), self.momentum)
        self.num_batches_tracked.add_(1)


def _statistics(x: Tensor, mask: Tensor, count: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """As `statistics_over_processes`, of this process alone."""
    mean = (x * mask).sum((0, 2)) / count
    return count, mean, (((x - mean[:, None]) * mask) ** 2).sum((0, 2)) / count


class _Normalize(torch.autograd.Function):
    """Batch normalisation over the frames inside: the output, and mean (C,), variance (C,) and
    count () of its frames.

    Written out, as autograd would launch 1.7 times as many kernels, and small batches wait for
    their launches on a GPU (benchmarks/launches.py). All of it is float32, whatever x and the mask
    are.
    """

    @staticmethod
    def forward(ctx, x: Tensor, mask: Tensor, weight: Tensor, bias: Tensor, eps: float):
        x32, mask = x.float(), mask.float()
        count = mask.sum()
        mean = (x32 * mask).sum((0, 2)) / count
        centred = (x32 - mean[:, None]) * mask
        variance = (centred * centred).sum((0, 2)) / count
        inverse = torch.rsqrt(variance + eps)
        out = torch.addcmul(bias[:, None], centred, (weight * inverse)[:, None]) * mask
        ctx.save_for_backward(centred, mask, weight, inverse, count)
        ctx.kind = x.dtype
        ctx.mark_non_differentiable(mean, variance, count)
        return out.to(x.dtype), mean, variance, count

    @staticmethod
    def backward(ctx, gradient: Tensor, *_):
        centred, mask, weight, inverse, count = ctx.saved_tensors
        gradient = gradient * mask
        of_bias, along = gradient.sum((0, 2)), (gradient * centred).sum((0, 2)) * inverse
        # What the mean and the variance take along with x: the gradient's mean, and its part along
        # the normalised values.
        rest = torch.addcmul(gradient, mask, (of_bias / count)[:, None], value=-1)
        rest = torch.addcmul(rest, centred, (along * inverse / count)[:, None], value=-1)
        return (rest * (weight * inverse)[:, None]).to(ctx.kind), None, along, of_bias, None


def statistics_over_processes(
    x: Tensor, mask: Tensor, count: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Number of frames (), mean (C,) and variance (C,) of the frames of all processes.

    x float32 (B, C, T), mask (B, 1, T) and count () of this process, which may be 0. Each process
    sums up squares about its own mean and they are joined afterwards (Chan, Golub & LeVeque 1979):
    one exchange, without the cancellation of sums of squares.
    """
    mean = (x * mask).sum((0, 2)) / count.clamp(min=1)
    squares = (((x - mean[:, None]) * mask) ** 2).sum((0, 2))
    table = _RowOfEachProcess.apply(torch.cat([count[None], mean, squares]))  # (processes, 1 + 2 C)
    counts, means, squares = table[:, :1], *table[:, 1:].chunk(2, dim=1)
    count = counts.sum()
    mean = (counts * means).sum(0) / count
    variance = (squares + counts * (means - mean) ** 2).sum(0) / count
    return count, mean, variance


class _RowOfEachProcess(torch.autograd.Function):
    """(D,) of each process -> (processes, D) on all of them. What all of them make of a row is its
    gradient."""

    @staticmethod
    def forward(ctx, row: Tensor) -> Tensor:
        table = [torch.empty_like(row) for _ in range(distributed.get_world_size())]
        distributed.all_gather(table, row.contiguous())
        return torch.stack(table)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(gradient)
        return gradient[distributed.get_rank()]
