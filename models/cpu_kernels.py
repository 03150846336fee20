"""Linear layers and dropout that are fast on a CPU.

On other devices, and in every case that is not written here, both are torch's own layers.
"""

import statistics
import time
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

# Multiply-adds of a product from which oneDNN can be faster, with the conversion to its layout
LARGE = 2**23
HOPELESS = 20
LEVELS = 2**16  # values of a random number of 16 bits
TORCH, ONEDNN = "torch", "onednn"  # the ways to compute a large linear layer
BF16 = "bf16"  # and the way of autocast, which is less exact

_way = TORCH


def compute_linear_by(way: str) -> None:
    """From now on, compute the large linear layers of this process by TORCH or ONEDNN.

    Which is faster depends on the processor (`models/machine_choices.py` finds out). Their results
    differ in the last bits.
    """
    global _way
    _way = way


def linear_is_computed_by() -> str:
    """How this process computes large linear layers: TORCH or ONEDNN."""
    return _way


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """functional.linear; after `compute_linear_by(ONEDNN)`, large products in float32 on a CPU run
    in oneDNN.

    torch computes linear layers with a BLAS library: MKL on x86. MKL uses only half of an AMD
    processor; oneDNN, which torch uses for convolutions, takes half as long there. On Intel
    processors oneDNN takes longer than MKL (benchmarks/step.py). Torch's own product is used for
    small products, under autocast, in other types, and where a graph is traced or compiled.

    x (…, in), weight (out, in), bias (out,) -> (…, out).
    """
    if not _by_onednn(x, weight):
        return functional.linear(x, weight, bias)
    return functional.linear(x.to_mkldnn(), weight, bias).to_dense()


class Linear(nn.Linear):
    """nn.Linear computed by `linear`. (…, in_features) -> (…, out_features)."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


def _by_onednn(x: Tensor, weight: Tensor) -> bool:
    if _way != ONEDNN or torch.jit.is_tracing():
        return False
    if torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
        return False
    float32 = x.dtype is torch.float32 and weight.dtype is torch.float32
    # oneDNN supports neither a single vector nor zero rows
    large = x.dim() > 1 and x.numel() * len(weight) >= LARGE
    return float32 and large and x.device.type == "cpu"


def seconds_of_linear(
    rows: int, width: int, ways: Sequence[str] = (TORCH, ONEDNN), repeats: int = 5
) -> dict[str, float]:
    """CPU seconds of a linear layer, forward and backward, in one thread, for each way.

    Medians of some repeats, after one that is not counted: in it, libraries load their kernels. The
    ways take turns. BF16 is not repeated if it is HOPELESS times as slow as another way in that
    first turn: some processors compute in bfloat16 very slowly. CPU time of one thread hardly
    depends on what else the machine does. The random numbers of torch are not used.

    Args:
        rows, width: the product is (rows, width) × (width, width).
        ways: some of TORCH, ONEDNN, BF16.
    """
    x, gradient = torch.ones(rows, width, requires_grad=True), torch.ones(rows, width)
    weight = torch.full((width, width), 0.01, requires_grad=True)
    bias = torch.zeros(width, requires_grad=True)
    before, threads = _way, torch.get_num_threads()

    def seconds(way: str) -> float:
        compute_linear_by(TORCH if way == BF16 else way)
        started = time.thread_time()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=way == BF16):
            output = linear(x, weight, bias)
        output.backward(gradient.to(output.dtype))
        return time.thread_time() - started

    torch.set_num_threads(1)
    try:
        first = {way: seconds(way) for way in ways}
        limit = HOPELESS * min(first.values())
        repeated = [way for way in ways if way != BF16 or first[way] < limit]
        turns = [{way: seconds(way) for way in repeated} for _ in range(repeats)]
    finally:
        torch.set_num_threads(threads)
        compute_linear_by(before)
    return first | {way: statistics.median(turn[way] for turn in turns) for way in repeated}


class Dropout(nn.Dropout):
    """nn.Dropout; on a CPU four values share one random number of 64 bits.

    torch draws one number of 64 bits for each value, on one thread. With 16 bits for each value the
    probability is rounded to a multiple of 1/65536. The kept values are scaled by the inverse of
    the rounded probability to keep a value, so the expectation is exact. The draws follow
    torch.manual_seed. (…) -> (…).
    """

    def forward(self, x: Tensor) -> Tensor:
        on_cpu = x.device.type == "cpu" and not torch.compiler.is_compiling()
        if not self.training or not self.p or not on_cpu:
            return super().forward(x)
        dropped = min(round(self.p * LEVELS), LEVELS - 1)
        words = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        kept = words.view(torch.int16)[: x.numel()].view(x.shape) >= dropped - LEVELS // 2
        return x * (kept.to(x.dtype) * (LEVELS / (LEVELS - dropped)))
