"""Reading values from the device once they are there, instead of waiting for them while there is work to launch."""

from collections.abc import Sequence

import torch
from torch import Tensor


class LateReading:
    """Host copies of tensors, begun now and read later.

    Asked for right away, a value on a CUDA device makes the host wait until everything launched so far is done, and the
    device then waits for the host to launch more. Read an update later it has long been there. On the CPU the tensors
    themselves are kept: they must not be changed in place. Tensors that are not on the CPU are all on one device.
    """

    def __init__(self, tensors: Sequence[Tensor]):
        self._copies = [tensor.detach().to("cpu", non_blocking=True) for tensor in tensors]  # from CUDA: page-locked
        self._copied = None
        if on_cuda := [tensor.device for tensor in tensors if tensor.is_cuda]:
            self._copied = torch.cuda.Event()
            # Of the tensors' device, which need not be the current one: elsewhere it would be reached at once.
            self._copied.record(torch.cuda.current_stream(on_cuda[0]))

    def read(self) -> list[Tensor]:
        """The tensors on the CPU; waits for the copies alone, not for what was launched after them."""
        if self._copied is not None:
            self._copied.synchronize()
        return self._copies
