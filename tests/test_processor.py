"""How many cores a process may use, and how its threads wait."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from processor import WAITING, cores_allowed, wait_asleep

ROOT = Path(__file__).resolve().parent.parent
GROUP = "sys/fs/cgroup/user.slice/job.scope"


@pytest.fixture
def three_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 2, 5})


def write(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


@pytest.mark.parametrize(
    ("quota", "expected"),
    [
        ("100000 100000", 1),
        ("150000 100000", 2),
        ("10000 100000", 1),
        ("max 100000", 3),
        ("99900000 100000", 3),
        ("", 3),
    ],
)
def test_cores_are_limited_by_the_quota_of_the_container(quota, expected, tmp_path, three_cores):
    assert cores_allowed(write(tmp_path, {"sys/fs/cgroup/cpu.max": quota})) == expected


def test_without_control_groups_the_cores_are_those_that_the_process_is_bound_to(
    tmp_path, three_cores
):
    assert cores_allowed(tmp_path) == 3


@pytest.mark.parametrize("folder", [GROUP, "sys/fs/cgroup/user.slice"])
def test_the_quota_of_a_group_holds_for_the_groups_inside_it(folder, tmp_path, three_cores):
    """A job of systemd or Slurm sees the control groups of the whole machine."""
    files = {"proc/self/cgroup": "0::/user.slice/job.scope\n", f"{folder}/cpu.max": "200000 100000"}
    assert cores_allowed(write(tmp_path, files)) == 2


def test_the_quota_of_another_group_does_not_count(tmp_path, three_cores):
    files = {
        "proc/self/cgroup": "0::/user.slice/job.scope\n",
        "sys/fs/cgroup/user.slice/other.scope/cpu.max": "100000 100000",
    }
    assert cores_allowed(write(tmp_path, files)) == 3


@pytest.mark.parametrize("controllers", ["cpu", "cpu,cpuacct"])
@pytest.mark.parametrize(("quota", "expected"), [("150000", 2), ("-1", 3)])
def test_version_1_of_control_groups_is_known(controllers, quota, expected, tmp_path, three_cores):
    folder = f"sys/fs/cgroup/{controllers}/docker/a"
    files = {
        "proc/self/cgroup": f"9:name=systemd:/x\n4:memory:/y\n1:{controllers}:/docker/a\n0::/\n",
        f"{folder}/cpu.cfs_quota_us": quota,
        f"{folder}/cpu.cfs_period_us": "100000",
    }
    assert cores_allowed(write(tmp_path, files)) == expected


def test_threads_sleep_while_they_wait_unless_the_user_chose(monkeypatch):
    for name in WAITING:
        monkeypatch.delenv(name, raising=False)
    wait_asleep()
    assert os.environ["OMP_WAIT_POLICY"] == "passive"
    for name in WAITING:
        monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
        monkeypatch.setenv(name, "1")
        wait_asleep()
        assert os.environ.get("OMP_WAIT_POLICY") in (None, "1")
        monkeypatch.delenv(name)


def test_a_script_sets_the_waiting_before_torch_is_loaded():
    code = (
        "import os, sys; from errors import run_script; import train_teacher, transcribe\n"
        "assert 'torch' not in sys.modules\n"
        "run_script(lambda: print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules) or 0)"
    )
    environment = {name: value for name, value in os.environ.items() if name not in WAITING}
    printed = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True
    ).stdout
    assert printed == "passive False\n"
