"""Reading values from the device once they are there, instead of waiting for them while there is work to launch."""

from collections.abc import Sequence

import torch
from torch import Tensor


class LateReading:
    """Host copies of tensors, begun now and read later.

    Asked for right away, a value on a CUDA device makes the host wait until everything launched so far is done, and the
    device then waits for the host to launch more. Read an update later it has long been there. On the CPU the tensors
    themselves are kept: they must not be changed in place.
    """

    def __init__(self, tensors: Sequence[Tensor]):
        self._copies = [tensor.detach().to("cpu", non_blocking=True) for tensor in tensors]  # from CUDA: page-locked
        self._copied = None
        if any(tensor.is_cuda for tensor in tensors):
            self._copied = torch.cuda.Event()
            self._copied.record()

    def read(self) -> list[Tensor]:
        """The tensors on the CPU; waits for the copies alone, not for what was launched after them."""
        if self._copied is not None:
            self._copied.synchronize()
        return self._copies
