"""Mean and variance of the frames inside the sentences, on one process or over all processes.

Both functions return (count (), mean (C,), variance (C,)), float32, for `MaskedBatchNorm`.
"""

from typing import Any

import torch
from torch import Tensor, distributed


def frame_statistics(x: Tensor, mask: Tensor, count: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Count (), mean (C,) and variance (C,) of the frames of this process.

    x float32 (B, C, T), mask (B, 1, T), count (): number of frames inside the mask, at least 1.
    """
    mean = (x * mask).sum((0, 2)) / count
    return count, mean, (((x - mean[:, None]) * mask) ** 2).sum((0, 2)) / count


def statistics_over_processes(
    x: Tensor, mask: Tensor, count: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Count (), mean (C,) and variance (C,) of the frames of all processes of torch.distributed.

    x float32 (B, C, T), mask (B, 1, T) and count () are those of this process; its count may be 0.
    Each process sums the squares about its own mean, and the sums are joined afterwards (Chan,
    Golub & LeVeque 1979). This needs one exchange and does not cancel, as sums of plain squares do.
    """
    mean = (x * mask).sum((0, 2)) / count.clamp(min=1)
    squares = (((x - mean[:, None]) * mask) ** 2).sum((0, 2))
    row = torch.cat([count[None], mean, squares])
    table: Tensor = _RowOfEachProcess.apply(row)
    counts = table[:, :1]  # table: (processes, 1 + 2 C)
    means, squares = table[:, 1:].chunk(2, dim=1)
    count = counts.sum()
    mean = (counts * means).sum(0) / count
    variance = (squares + counts * (means - mean) ** 2).sum(0) / count
    return count, mean, variance


class _RowOfEachProcess(torch.autograd.Function):
    """(D,) on each process -> the table (processes, D) on all of them. The gradient of a row is the
    sum of the gradients that all processes have for it."""

    @staticmethod
    def forward(ctx: Any, row: Tensor) -> Tensor:
        table = [torch.empty_like(row) for _ in range(distributed.get_world_size())]
        distributed.all_gather(table, row.contiguous())
        return torch.stack(table)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(gradient)
        return gradient[distributed.get_rank()]
