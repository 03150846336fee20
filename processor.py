"""The processor cores that this process may use, and how its threads wait. No torch in here."""

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

# The OpenMP runtimes that torch ships (GNU's on Linux, LLVM's on a Mac, Intel's in conda) know
# OMP_WAIT_POLICY. The other two are the settings of one runtime each, and stronger.
WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def wait_asleep() -> None:
    """Let OpenMP's threads sleep while they wait for each other, unless the user set how they wait.

    By default they spin for milliseconds at the end of every kernel. Beside other work, a spinning
    thread takes the core from the thread that it waits for (benchmarks/machine/busy.py). The
    runtime reads the variable when torch is imported, so call this before.
    """
    if not any(os.environ.get(name) for name in WAITING):
        os.environ["OMP_WAIT_POLICY"] = "passive"


def cores_allowed(root: Path = Path("/")) -> int:
    """Number of CPU cores that this process can use: those that it is bound to (taskset, Slurm),
    and not more than the quota of its control group (containers, systemd).

    torch does not know the quota. With more threads than that, the threads wait for each other in
    every kernel. root: where /proc and /sys are.
    """
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return min([cores, *(max(math.ceil(quota), 1) for quota in _quotas(root))])


def _quotas(root: Path) -> Iterator[float]:
    """The quota, in cores, of each control group around this process that has one."""
    for folder in _control_groups(root):
        with contextlib.suppress(OSError, ValueError):  # no such file, or 'max': no quota
            allowed, period = (folder / "cpu.max").read_text().split()  # version 2
            yield int(allowed) / int(period)
        with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
            allowed, period = (
                (folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period")
            )
            if int(allowed) > 0:  # -1: no quota
                yield int(allowed) / int(period)


def _control_groups(root: Path) -> Iterator[Path]:
    """The folders of the control groups of this process, with all groups around them."""
    mount = root / "sys/fs/cgroup"
    yield mount  # a container often sees its own group here
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:  # such as '0::/user.slice/a.scope', or '4:cpu,cpuacct:/docker/a'
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = mount / controllers if controllers else mount
        group = top / path.strip("/")
        yield from [group, *group.parents[: len(group.parts) - len(top.parts)]]
