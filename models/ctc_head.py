"""The cosine classifier over glosses and blank."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.cpu_kernels import linear


class CosineHead(nn.Module):
    """logits = scale * cos(x, class vector), as in CoSign (Jiao et al., ICCV 2023).

    The length of a class vector has no effect. Otherwise the classes with long vectors would win,
    and rare glosses would lose. (B, T, width) -> float32 (B, T, classes).
    """

    def __init__(self, width: int, classes: int, scale: float = 32.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(classes, width) / width**0.5)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        # float32 also under autocast: logits reach 32 (the scale), and bf16 has steps of 0.125
        # above 16.
        with torch.autocast(x.device.type, enabled=False):
            x = functional.normalize(x.to(self.weight.dtype), dim=-1)
            return self.scale * linear(x, functional.normalize(self.weight, dim=-1)).float()
