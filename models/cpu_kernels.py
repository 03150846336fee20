"""Linear layers and dropout that are fast on a CPU."""

import torch
from torch import Tensor, nn
from torch.nn import functional

LARGE = 2**23  # multiply-adds from which oneDNN is faster, going there and back included


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """functional.linear; on a CPU in float32 by oneDNN, as torch's convolutions are, in place of
    BLAS.

    The BLAS that torch comes with (MKL) leaves half of an AMD processor unused: there forward and
    backward take half as long (benchmarks/step.py). Small products, which the way to oneDNN and
    back would slow down, are torch's own; so are all under autocast, in other types and where a
    graph is traced or compiled. x (…, in), weight (out, in), bias (out,) -> (…, out).
    """
    if not _by_onednn(x, weight):
        return functional.linear(x, weight, bias)
    return functional.linear(x.to_mkldnn(), weight, bias).to_dense()


class Linear(nn.Linear):
    """nn.Linear by `linear`. (…, in_features) -> (…, out_features)."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


def _by_onednn(x: Tensor, weight: Tensor) -> bool:
    if torch.jit.is_tracing() or torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
        return False
    float32 = x.dtype is torch.float32 and weight.dtype is torch.float32
    # OneDNN knows neither a single vector nor no rows
    large = x.dim() > 1 and x.numel() * len(weight) >= LARGE
    return float32 and large and x.device.type == "cpu" and torch.backends.mkldnn.is_available()


LEVELS = 2**16  # of a random number of 16 bits


class Dropout(nn.Dropout):
    """nn.Dropout; on a CPU, where torch draws one number of 64 bits a value on one thread, four
    values share one.

    There the probability is rounded to 1/65536, and what is kept is scaled by the rounded one's
    inverse, so that the expectation stays exact. The draws follow torch.manual_seed. (…) -> (…).
    """

    def forward(self, x: Tensor) -> Tensor:
        if (
            not self.training
            or not self.p
            or x.device.type != "cpu"
            or torch.compiler.is_compiling()
        ):
            return super().forward(x)
        dropped = min(round(self.p * LEVELS), LEVELS - 1)
        words = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        kept = words.view(torch.int16)[: x.numel()].view(x.shape) >= dropped - LEVELS // 2
        return x * (kept.to(x.dtype) * (LEVELS / (LEVELS - dropped)))
