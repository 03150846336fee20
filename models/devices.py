"""The device and the number format that a run computes in."""

import contextlib
import ctypes
import math
import os
import resource
import sys
from pathlib import Path

import torch

from errors import UsageError

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's mallopt


def choose_device(name: str, deterministic: bool = False) -> torch.device:
    """The torch device for 'auto', 'cpu', 'cuda' or 'cuda:N'. Raises UsageError when it is not
    there.

    'auto' is CUDA where there is one; where there is none, it says so. A GPU that is named becomes
    the current one.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
        if name == "cpu":
            print("no CUDA device found: computing on the CPU")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"--device {name}: expected auto, cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"--device {name}: expected auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"--device {name}: this machine has {torch.cuda.device_count()} CUDA devices"
        )
    # Else events and NCCL would be those of the first GPU
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    if device.type == "cpu":
        _keep_freed_memory()
        if "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(min(torch.get_num_threads(), cores_allowed()))
    if deterministic:
        # What cuBLAS asks for to be deterministic
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        # Warn_only lets it run, and torch names each kernel of the kind once
        if device.type == "cuda":
            print(
                "--deterministic: where CUDA has no deterministic kernel torch names it, and runs may differ in their last bits"
            )
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False
    return device


def cores_allowed(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Cores that this process may use: those it is bound to, and of those what a container's quota
    pays for. torch knows the former alone; threads beyond the latter wait for each other at every
    kernel."""
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    with contextlib.suppress(OSError, ValueError):  # no quota, or none that is known
        share, period = quota.read_text().split()
        cores = min(cores, max(math.ceil(int(share) / int(period)), 1))
    return cores


def _keep_freed_memory() -> None:
    """Let glibc reuse freed blocks of many megabytes instead of returning them: each return costs
    page faults on the next allocation, which take longer than the arithmetic (benchmarks/speed.py:
    two to three times the features a second)."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            libc = ctypes.CDLL("libc.so.6")
            libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
            libc.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


def peak_memory(device: torch.device) -> float:
    """GB that tensors took at most on the CUDA device since `forget_peak_memory`; on the CPU, the
    process since it began."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def forget_peak_memory(device: torch.device) -> None:
    """Begin to measure anew, where the peak can be forgotten."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


class Precision:
    """Autocast and gradient scaling. 'auto' is bf16 on CUDA and fp32 on the CPU; fp16 needs CUDA."""

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
        # What was asked for in float32 stays float32; beside bf16 or fp16 TF32 loses nothing
        if device.type == "cuda":
            torch.set_float32_matmul_precision("highest" if name == "fp32" else "high")
            torch.backends.cudnn.allow_tf32 = name != "fp32"

    def describe(self) -> str:
        """In words, e.g. 'bf16 (TF32 where float32 stays)'."""
        if self.device.type != "cuda":
            return self.name
        return (
            f"{self.name} (without TF32)"
            if self.name == "fp32"
            else f"{self.name} (TF32 where float32 stays)"
        )

    def autocast(self) -> torch.autocast:
        """Context for forward passes; CTC and log-probabilities stay float32 inside it."""
        dtype = torch.float16 if self.name == "fp16" else torch.bfloat16
        return torch.autocast(self.device.type, dtype=dtype, enabled=self.name != "fp32")
