"""How much arithmetic a forward pass is, and how much the machine could do.

torch.utils.flop_counter sees none of oneDNN's linear layers and LSTMs, which are most of the work,
so layers are counted by formula: linear layers, convolutions, LSTMs and cosine heads. Everything
else (attention, norms, pooling, softmax) is left out.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from models.cpu_kernels import Linear
from models.ctc_head import CosineHead

# Forward passes that an update is: each product is done again for the input's and for the weights'
# gradient
UPDATE = 3


def of_linear(layer: nn.Linear, x: Tensor) -> int:
    return x.numel() * layer.out_features


def of_head(layer: CosineHead, x: Tensor) -> int:
    return x.numel() * len(layer.weight)


def of_convolution(layer: nn.Conv1d, x: Tensor) -> int:
    """Of stride 1 that keeps the number of steps."""
    return len(x) * x.shape[2] * layer.weight.numel()


def of_lstm(layer: nn.LSTM, x: Tensor | PackedSequence) -> int:
    """Each step reads all weights once; a packed sequence has the sentences' own steps only."""
    steps = len(x.data) if isinstance(x, PackedSequence) else x.shape[0] * x.shape[1]
    return steps * sum(
        weight.numel() for name, weight in layer.named_parameters() if name.startswith("weight")
    )


_COUNTED = {
    nn.Linear: of_linear,
    Linear: of_linear,
    CosineHead: of_head,
    nn.Conv1d: of_convolution,
    nn.LSTM: of_lstm,
}


def count_multiply_adds(model: nn.Module, run: Callable[[], object]) -> int:
    """Multiply-adds of the model's counted layers while `run` runs: over all frames that are
    computed, padded ones too."""
    found, handles = [], []
    for layer in model.modules():
        if formula := _COUNTED.get(type(layer)):

            def count(layer: nn.Module, given: tuple, formula=formula) -> None:
                found.append(formula(layer, given[0]))

            handles.append(layer.register_forward_pre_hook(count))
    try:
        with torch.no_grad():
            run()
    finally:
        for handle in handles:
            handle.remove()
    return sum(found)


@torch.no_grad()
def matmul_peak(
    device: torch.device, dtype: torch.dtype = torch.float32, size: int = 2048, repeats: int = 10
) -> float:
    """Multiply-adds a second of the product of two square matrices, the best of some. On a CPU the
    faster of BLAS and oneDNN: MKL leaves half of an AMD processor unused, and LSTM and convolutions
    do not go through it."""
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    ways: list[Callable[[], object]] = [lambda: a @ b]
    if device.type == "cpu" and dtype is torch.float32 and torch.backends.mkldnn.is_available():
        other_a, other_b = a.to_mkldnn(), b.to_mkldnn()
        ways.append(lambda: functional.linear(other_a, other_b))
    best = min(_seconds(way, device) for way in ways for _ in range(repeats))
    return size**3 / best


def _seconds(action: Callable[[], object], device: torch.device) -> float:
    synchronize(device)
    started = time.perf_counter()
    action()
    synchronize(device)
    return time.perf_counter() - started


def synchronize(device: torch.device) -> None:
    """Wait for what the device still has to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
