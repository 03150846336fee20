"""Count the multiply-adds of a forward pass, and measure how many the machine can do per second.

torch.utils.flop_counter does not count oneDNN's linear layers and LSTMs, which are most of the
work. So formulas count the linear layers, convolutions, LSTMs and cosine heads. Everything else
(attention, norms, pooling, softmax) is left out.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from models.cpu_kernels import Linear
from models.ctc_head import CosineHead

# An update costs as much as three forward passes: each product is repeated for the gradient of the
# input and for the gradient of the weights.
UPDATE = 3


def of_linear(layer: nn.Linear, x: Tensor) -> int:
    return x.numel() * layer.out_features


def of_head(layer: CosineHead, x: Tensor) -> int:
    return x.numel() * len(layer.weight)


def of_convolution(layer: nn.Conv1d, x: Tensor) -> int:
    """For stride 1 and padding that keeps the number of steps."""
    return len(x) * x.shape[2] * layer.weight.numel()


def of_lstm(layer: nn.LSTM, x: Tensor | PackedSequence) -> int:
    """Each step uses all weights once. A packed sequence has no padded steps."""
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
    """Multiply-adds of the model's counted layers during `run`, padded frames included."""
    counts: list[int] = []
    handles = []
    for layer in model.modules():
        if formula := _COUNTED.get(type(layer)):

            def count(layer: nn.Module, inputs: tuple, formula=formula) -> None:
                counts.append(formula(layer, inputs[0]))

            handles.append(layer.register_forward_pre_hook(count))
    try:
        with torch.no_grad():
            run()
    finally:
        for handle in handles:
            handle.remove()
    return sum(counts)


@torch.no_grad()
def matmul_peak(
    device: torch.device, dtype: torch.dtype = torch.float32, size: int = 2048, repeats: int = 10
) -> float:
    """Multiply-adds per second of the product of two square matrices, the best of some repeats.

    On a CPU, the faster one of BLAS and oneDNN: MKL uses only half of an AMD processor, and LSTMs
    and convolutions do not use it.
    """
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    products: list[Callable[[], object]] = [lambda: a @ b]
    if device.type == "cpu" and dtype is torch.float32 and torch.backends.mkldnn.is_available():
        other_a, other_b = a.to_mkldnn(), b.to_mkldnn()
        products.append(lambda: functional.linear(other_a, other_b))
    best = min(_seconds(product, device) for product in products for _ in range(repeats))
    return size**3 / best


def _seconds(action: Callable[[], object], device: torch.device) -> float:
    synchronize(device)
    started = time.perf_counter()
    action()
    synchronize(device)
    return time.perf_counter() - started


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
