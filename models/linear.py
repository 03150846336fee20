"""A linear layer whose products are oneDNN's on a CPU."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Linear(nn.Linear):
    """nn.Linear; on a CPU in float32 by oneDNN, as torch's convolutions are, in place of BLAS.

    The BLAS that torch comes with (MKL) leaves half of an AMD processor unused: there forward and backward take half as
    long (benchmarks/step.py). Under autocast, in other types and where a graph is traced or compiled it is nn.Linear's own
    product. (…, in_features) -> (…, out_features).
    """

    def forward(self, x: Tensor) -> Tensor:
        if not _by_onednn(x, self.weight):
            return super().forward(x)
        return functional.linear(x.to_mkldnn(), self.weight, self.bias).to_dense()


def _by_onednn(x: Tensor, weight: Tensor) -> bool:
    if torch.jit.is_tracing() or torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
        return False
    float32 = x.dtype is torch.float32 and weight.dtype is torch.float32
    rows = x.dim() > 1 and x.numel() > 0  # oneDNN knows neither a single vector nor no rows
    return float32 and rows and x.device.type == "cpu" and torch.backends.mkldnn.is_available()
