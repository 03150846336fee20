"""Copies between the CPU and a GPU that make neither of them wait for the other.

CUDA runs asynchronously: Python only queues the work. A plain copy from ordinary memory, and every
look at a value on the GPU, first waits until all queued work is done. The GPU then idles while
Python queues the next work. The functions here avoid these waits.
"""

import functools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def on_device(values: np.ndarray | Tensor, device: torch.device) -> Tensor:
    """Copy an array or a tensor from the CPU to the device, without waiting.

    A copy to CUDA goes through page-locked memory. On the CPU nothing is copied: the result shares
    the memory of `values`.
    """
    tensor = torch.from_numpy(values) if isinstance(values, np.ndarray) else values
    return (
        tensor.pin_memory().to(device, non_blocking=True)
        if device.type == "cuda"
        else tensor.to(device)
    )


@functools.lru_cache(maxsize=256)
def cached_constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """A tensor of fixed values, copied to the device only once.

    `tensor.new_tensor([...])` would copy the values, and wait, at every call.
    """
    # The first call may be inside inference mode, but training uses the cached tensor, too.
    with torch.inference_mode(False):
        return torch.tensor(values, device=device)


class HostCopies:
    """Copies of tensors in the CPU's memory. The constructor starts the copies, `read` waits for
    them.

    Example: the losses of an update are copied while the next update runs, and are printed after
    it. By then the copies are done, and nothing waits.
    """

    def __init__(self, tensors: Sequence[Tensor]):
        """Start to copy the tensors.

        All tensors that are on a GPU must be on the same one. A tensor that is on the CPU is kept
        itself, not a copy: do not change it in place before `read`.
        """
        # PyTorch makes a non-blocking copy from CUDA in page-locked memory.
        self._copies = [tensor.detach().to("cpu", non_blocking=True) for tensor in tensors]
        self._copied: torch.cuda.Event | None = None
        if cuda_devices := [tensor.device for tensor in tensors if tensor.is_cuda]:
            self._copied = torch.cuda.Event()
            # Name the stream of the tensors' device: it need not be the current device, and the
            # current stream of another device would report at once that the copies are done.
            self._copied.record(torch.cuda.current_stream(cuda_devices[0]))

    def read(self) -> list[Tensor]:
        """The tensors on the CPU. Waits for the copies only, not for work that was queued later."""
        if self._copied is not None:
            self._copied.synchronize()
        return self._copies
