"""What depends on the machine: threads, number format, and how large linear layers are computed.

Results differ in the last bits with each of these. So they are decided once, the checkpoints of a
run hold them, and a run that continues on the same kind of device keeps them.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from errors import DataError, UsageError
from models.cpu_kernels import (
    BF16,
    LARGE,
    ONEDNN,
    TORCH,
    Linear,
    compute_linear_by,
    seconds_of_linear,
)
from models.devices import Precision

STEPS = 280  # of a batch in the test of linear layers: 8 sentences of 35 steps
# Multiply-adds of the largest linear layer in a batch from which threads share the work. Below,
# one thread is as fast as two (benchmarks/machine/busy.py), and leaves a core to other programs.
SHARED = 2**29
MARGIN = 1.2  # oneDNN is used where it is so many times as fast: a test is not exact
BF16_MARGIN = 1.5  # and bfloat16, which is less exact, where it is so many times as fast as both
_NAMES = {TORCH: "torch", ONEDNN: "oneDNN", BF16: "bf16"}


@dataclass(frozen=True)
class MachineChoices:
    """What a run decided by its machine.

    Attributes:
        device: 'cpu' or 'cuda'.
        precision: 'fp32', 'bf16' or 'fp16'.
        threads: number of threads of torch on the CPU.
        linear_layers: what computes large linear layers on the CPU, TORCH or ONEDNN.
        reason: why, in words.
    """

    device: str
    precision: str
    threads: int
    linear_layers: str
    reason: str = ""

    def apply(self) -> None:
        """Compute as this says, in this process."""
        compute_linear_by(self.linear_layers)

    def entry(self) -> dict[str, Any]:
        """What a checkpoint holds of it."""
        return {name: value for name, value in vars(self).items() if name != "reason"}

    def __str__(self) -> str:
        """One line, such as '2 threads; large linear layers by torch (test of one layer …)'."""
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        bf16 = self.device == "cpu" and self.precision == "bf16"
        way = BF16 if bf16 else self.linear_layers
        return f"{threads}; large linear layers by {_NAMES[way]} ({self.reason})"


def kept_choices(training: dict[str, Any], device: torch.device) -> MachineChoices | None:
    """The choices of a run that continues on this device; None where it ran on another kind.

    training: the `training` of its checkpoint. Earlier versions kept no choices; on a CPU they used
    oneDNN where torch has it. Raises DataError.
    """
    entry = training.get("machine")
    if entry is None:
        if device.type != "cpu":
            return None
        way = ONEDNN if torch.backends.mkldnn.is_available() else TORCH
        return MachineChoices("cpu", "fp32", torch.get_num_threads(), way)
    try:
        kept = MachineChoices(**entry)
        ways = kept.linear_layers in (TORCH, ONEDNN)
        usable = kept.precision in ("fp32", "bf16", "fp16") and ways
        if not usable or type(kept.threads) is not int or kept.threads < 1:
            raise ValueError
    except (TypeError, ValueError):
        raise DataError(
            f"the checkpoint's entry 'machine' is not one of this version: {entry!r:.80}; you can "
            "fine-tune from it, with a setting that shapes training, but not continue it"
        ) from None
    return kept if kept.device == device.type else None


def keep_precision(wanted: str, usual: Precision, kept: MachineChoices | None) -> Precision:
    """The number format of a run; with 'auto' that of the run so far, if the device has it.

    Prints a note where the device does not have it.

    Args:
        wanted: the setting.
        usual: what it means on this device.
        kept: the choices of the run so far.
    """
    if wanted != "auto" or kept is None or kept.precision == usual.name:
        return usual
    if kept.precision == "fp32" or usual.device.type == "cpu":  # which has what it had
        return Precision(kept.precision, usual.device)
    print(
        f"note: the run so far computed in {kept.precision}. This device does not have it and "
        f"continues in {usual.name}: results differ from those of a run on one machine"
    )
    return usual


def choose_machine(
    wanted: str,
    models: Sequence[nn.Module],
    precision: Precision,
    kept: MachineChoices | None = None,
    again: bool = False,
    steps: int = STEPS,
    any_precision: bool = False,
) -> MachineChoices:
    """Decide threads, linear layers and, if it is left open, the number format. Apply threads and
    linear layers in this process. Call `choose_device` first.

    Args:
        wanted: what computes large linear layers: TORCH, ONEDNN, or 'auto': as in the run so far,
            else the faster one in a test of a few tenths of a second.
        models: the models that the run computes.
        precision: the number format of the run, and its device.
        kept: the choices of the run so far.
        again: 'auto' tests again what the run so far decided.
        steps: output steps of a batch.
        any_precision: a new run of a large model may compute in bf16 in place of fp32, if that is
            much faster. A small model has too little to gain.

    Raises UsageError for ONEDNN where torch does not have it.
    """
    device = precision.device
    layers = [one for model in models for one in model.modules() if isinstance(one, Linear)]
    largest = steps * max((layer.weight.numel() for layer in layers), default=0)
    threads = _choose_threads(device, largest, kept)
    width = max((min(layer.weight.shape) for layer in layers), default=0)
    if_faster = any_precision and kept is None and largest >= SHARED
    way, reason = _choose_linear_layers(
        wanted, width, precision, None if again else kept, if_faster
    )
    name = precision.name
    if way == BF16:
        name, way = "bf16", TORCH
    chosen = MachineChoices(device.type, name, threads, way, reason)
    chosen.apply()
    return chosen


def _choose_threads(device: torch.device, largest: int, kept: MachineChoices | None) -> int:
    """Set and return the number of threads of torch on the CPU.

    A run that continues keeps its number where this process may use so many cores. Otherwise a
    small model gets one thread, and another model as many as there are cores. OMP_NUM_THREADS goes
    before both. Prints a note where the number of a run changes.

    largest: multiply-adds of the largest linear layer in a batch.
    """
    now = torch.get_num_threads()
    if device.type != "cpu":
        return now
    if "OMP_NUM_THREADS" not in os.environ and (kept is None or kept.threads < now):
        threads = kept.threads if kept is not None else 1 if largest < SHARED else now
        torch.set_num_threads(threads)
        return threads
    if kept is not None and kept.threads != now:
        print(
            f"note: {now} threads, the run so far used {kept.threads}: results differ in their "
            "last bits from those of a run that was not interrupted"
        )
    return now


def _choose_linear_layers(
    wanted: str, width: int, precision: Precision, kept: MachineChoices | None, bf16: bool
) -> tuple[str, str]:
    """What computes large linear layers, and why, in words.

    width: of the widest square one. bf16: whether BF16 may be the answer.
    """
    has_onednn = torch.backends.mkldnn.is_available()
    if wanted == ONEDNN and not has_onednn:
        raise UsageError("--linear_layers onednn: this torch has no oneDNN: use auto or torch")
    if wanted in (TORCH, ONEDNN):
        return wanted, f"--linear_layers {wanted}"
    if kept is not None and (kept.linear_layers == TORCH or has_onednn):
        return kept.linear_layers, "as in the checkpoint; --linear_layers auto tests again"
    if precision.device.type != "cpu" or precision.name != "fp32" or STEPS * width**2 < LARGE:
        return TORCH, "the model has none in fp32 on a CPU"
    if not has_onednn:
        return TORCH, "this torch has no oneDNN"
    ways = (TORCH, ONEDNN, BF16) if bf16 else (TORCH, ONEDNN)
    seconds = seconds_of_linear(STEPS, width, ways)
    way = ONEDNN if seconds[ONEDNN] * MARGIN < seconds[TORCH] else TORCH
    if bf16 and seconds[BF16] * BF16_MARGIN < min(seconds[TORCH], seconds[ONEDNN]):
        way = BF16
    shown = ", ".join(f"{_NAMES[one]} {1000 * seconds[one]:.1f} ms" for one in ways)
    return way, f"test of one layer and thread: {shown}"
