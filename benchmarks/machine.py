"""What a benchmark ran on, in one line."""

import os
import platform
from datetime import date

import torch


def describe_machine() -> str:
    """Date, processor or GPU, cores used, torch version."""
    name = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            models = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
        name = models[0] if models else name
    where = f"{torch.get_num_threads()} threads of {name}"
    if torch.cuda.is_available():
        where = f"{torch.cuda.get_device_name()}, {where}"
    return f"{date.today()}, {where}, torch {torch.__version__}"
