"""Linear layers whose products are oneDNN's on a CPU."""

import torch
from torch import Tensor, nn
from torch.nn import functional


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """functional.linear; on a CPU in float32 by oneDNN, as torch's convolutions are, in place of BLAS.

    The BLAS that torch comes with (MKL) leaves half of an AMD processor unused: there forward and backward take half as
    long (benchmarks/step.py). Under autocast, in other types and where a graph is traced or compiled it is torch's own.
    x (…, in), weight (out, in), bias (out,) -> (…, out).
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
    rows = x.dim() > 1 and x.numel() > 0  # oneDNN knows neither a single vector nor no rows
    return float32 and rows and x.device.type == "cpu" and torch.backends.mkldnn.is_available()
