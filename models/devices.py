"""The device and the number format that a run computes in, and the memory that it takes."""

import contextlib
import ctypes
import math
import os
import sys

import torch

from errors import UsageError
from processor import cores_allowed

if sys.platform != "win32":
    import resource

_TORCHS_THREADS = torch.get_num_threads()  # at the start of this process
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's mallopt
_NO_CUDA = "no CUDA device found"
_NO_MPS = "MPS (the GPU of a Mac), for which torch has no CTC loss,"


def choose_device(name: str, deterministic: bool = False) -> torch.device:
    """The torch device that --device names, with torch set up for it.

    Args:
        name: 'cpu', 'cuda', 'cuda:N', or 'auto': CUDA if there is a CUDA device, else the CPU, with
            a note. A GPU with a number becomes the current one. The GPU of a Mac is not used.
        deterministic: let torch use deterministic algorithms only.

    Raises UsageError for another name and for a device that this machine does not have.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
        if name == "cpu":
            found = f"{_NO_MPS} is not used" if torch.backends.mps.is_available() else _NO_CUDA
            print(f"{found}: computing on the CPU")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"--device {name}: expected auto, cpu, cuda or cuda:N") from None
    if device.type == "mps":
        raise UsageError(f"--device {name}: {_NO_MPS} is not supported: use --device cpu")
    if device.type not in ("cpu", "cuda") or (device.type == "cpu" and device.index):
        raise UsageError(f"--device {name}: expected auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"--device {name}: this machine has {torch.cuda.device_count()} CUDA devices"
        )
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)  # else events and NCCL would use the first GPU
    if device.type == "cpu":
        _keep_freed_memory()
        if "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(min(_TORCHS_THREADS, cores_allowed()))
    if deterministic:
        # cuBLAS is deterministic only with this setting
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        if device.type == "cuda":
            print(
                "--deterministic: torch warns about each CUDA kernel that has no deterministic "
                "version; runs may then differ in their last bits"
            )
        # With warn_only torch warns about such a kernel, and does not stop the run
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False
    return device


def _keep_freed_memory() -> None:
    """Let glibc reuse freed blocks of many megabytes and not return them to the system.

    After a return, the next allocation has page faults, which take longer than the arithmetic.
    Without them two to three times as many features are computed per second (benchmarks/speed.py).
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library has no mallopt
            libc = ctypes.CDLL("libc.so.6")
            libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
            libc.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


def peak_memory(device: torch.device) -> float:
    """Peak memory in GB: on a CUDA device, of all tensors since `reset_peak_memory`; on the CPU, of
    the whole process since it started, or NaN on Windows, where Python cannot read it."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    if sys.platform == "win32":
        return math.nan
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def reset_peak_memory(device: torch.device) -> None:
    """Let `peak_memory` count from now on; has no effect on the CPU."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


class Precision:
    """The number format of a run: autocast and gradient scaling.

    name: 'fp32', 'bf16', 'fp16' (CUDA only), or 'auto': bf16 on a GPU that has it, else fp32.
    Raises UsageError for fp16 on the CPU.
    """

    def __init__(self, name: str, device: torch.device):
        if name == "auto":
            name = (
                "bf16"
                if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
                else "fp32"
            )
        if name == "fp16" and device.type == "cpu":
            raise UsageError("--precision fp16 needs a CUDA device: use fp32 or bf16 on the CPU")
        self.name, self.device = name, device
        self.scaler = torch.amp.GradScaler(device.type, enabled=name == "fp16")
        # TF32 is less exact than fp32, but not than bf16 and fp16
        if device.type == "cuda":
            torch.set_float32_matmul_precision("highest" if name == "fp32" else "high")
            torch.backends.cudnn.allow_tf32 = name != "fp32"

    def describe(self) -> str:
        """The format in words, such as 'bf16 (TF32 where float32 stays)'."""
        if self.device.type != "cuda":
            return self.name
        return (
            f"{self.name} (without TF32)"
            if self.name == "fp32"
            else f"{self.name} (TF32 where float32 stays)"
        )

    def autocast(self) -> torch.autocast:
        """The context for forward passes. CTC and log-probabilities are float32 inside it, too."""
        dtype = torch.float16 if self.name == "fp16" else torch.bfloat16
        return torch.autocast(self.device.type, dtype=dtype, enabled=self.name != "fp32")
