"""Host values on a device, without making the device wait for the host or the host for the device."""

import functools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def on_device(values: np.ndarray | Tensor, device: torch.device) -> Tensor:
    """An array or tensor of the host on the device; on the CPU it shares its memory.

    To CUDA it goes through page-locked memory: a plain copy from ordinary memory would wait until
    all work that was launched before is done.
    """
    tensor = torch.from_numpy(values) if isinstance(values, np.ndarray) else values
    return (
        tensor.pin_memory().to(device, non_blocking=True)
        if device.type == "cuda"
        else tensor.to(device)
    )


@functools.lru_cache(maxsize=256)
def constant(values: tuple, device: torch.device) -> Tensor:
    """A tensor of fixed values, copied to the device once: `tensor.new_tensor([...])` waits for it
    each time."""
    # What is first asked for in evaluation is used in training, too
    with torch.inference_mode(False):
        return torch.tensor(values, device=device)


class HostCopies:
    """Host copies of tensors, begun now and read later.

    Asked for right away, a value on a CUDA device makes the host wait until everything launched so
    far is done, and the device then waits for the host to launch more. Read an update later it has
    long been there. On the CPU the tensors themselves are kept: they must not be changed in place.
    Tensors that are not on the CPU are all on one device.
    """

    def __init__(self, tensors: Sequence[Tensor]):
        # From CUDA: page-locked
        self._copies = [tensor.detach().to("cpu", non_blocking=True) for tensor in tensors]
        self._copied = None
        if on_cuda := [tensor.device for tensor in tensors if tensor.is_cuda]:
            self._copied = torch.cuda.Event()
            # Of the tensors' device, which need not be the current one: elsewhere it would be
            # reached at once.
            self._copied.record(torch.cuda.current_stream(on_cuda[0]))

    def read(self) -> list[Tensor]:
        """The tensors on the CPU; waits for the copies alone, not for what was launched after them."""
        if self._copied is not None:
            self._copied.synchronize()
        return self._copies
