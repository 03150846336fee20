"""Host values on a device, without making the device wait for the host or the host for the device."""

import functools

import numpy as np
import torch
from torch import Tensor


def on_device(values: np.ndarray | Tensor, device: torch.device) -> Tensor:
    """An array or tensor of the host on the device; on the CPU it shares its memory.

    To CUDA it goes through page-locked memory: a plain copy from ordinary memory would wait until all work that was
    launched before is done.
    """
    tensor = torch.from_numpy(values) if isinstance(values, np.ndarray) else values
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


@functools.lru_cache(maxsize=256)
def constant(values: tuple, device: torch.device) -> Tensor:
    """A tensor of fixed values, copied to the device once: `tensor.new_tensor([...])` waits for it each time."""
    with torch.inference_mode(False):  # what is first asked for in evaluation is used in training, too
        return torch.tensor(values, device=device)
