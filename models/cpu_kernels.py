"""Linear layers and dropout that are fast on a CPU.

On other devices, and in every case that is not written here, both are torch's own layers.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

# Multiply-adds of a product from which oneDNN is faster, with the conversion to its layout and back
LARGE = 2**23
LEVELS = 2**16  # values of a random number of 16 bits


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """functional.linear; large products in float32 on a CPU run in oneDNN.

    torch computes linear layers with MKL, which uses only half of an AMD processor. With oneDNN,
    which torch uses for convolutions, forward and backward take half as long there
    (benchmarks/step.py). Torch's own product is used for small products, under autocast, in other
    types, and where a graph is traced or compiled.

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
    tracing = torch.jit.is_tracing()
    if tracing or torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
        return False
    float32 = x.dtype is torch.float32 and weight.dtype is torch.float32
    # oneDNN supports neither a single vector nor zero rows
    large = x.dim() > 1 and x.numel() * len(weight) >= LARGE
    has_onednn: bool = torch.backends.mkldnn.is_available()
    return float32 and large and x.device.type == "cpu" and has_onednn


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
