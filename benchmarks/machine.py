"""What a benchmark ran on, in one line."""

import os
import platform
from datetime import date


def machine() -> str:
    """GPU if any, threads and processor, torch version."""
    import torch  # not before it is needed: --help is to be quick

    name = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            models = [
                line.split(":", 1)[1].strip() for line in file if line.startswith("model name")
            ]
        name = models[0] if models else name
    where = f"{torch.get_num_threads()} threads of {name}"
    if torch.cuda.is_available():
        where = f"{torch.cuda.get_device_name()}, {where}"
    return f"{where}, torch {torch.__version__}"


def describe_machine() -> str:
    """The date, then `machine`."""
    return f"{date.today()}, {machine()}"
