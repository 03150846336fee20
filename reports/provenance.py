"""environment.json: what is needed, besides config.yaml, to repeat a run. It has one entry per
session, that is per start of the run."""

import contextlib
import json
import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from data.corpus import Corpus
from models.machine_choices import MachineChoices
from processor import WAITING
from reports.result_files import write_json
from version import VERSION

PACKAGES = ("torch", "numpy", "jiwer", "PyYAML", "tensorboard", "matplotlib", "mediapipe")
OPENMP = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", *WAITING)  # variables that the session records
_PROJECT = Path(__file__).resolve().parent.parent


def git_state(folder: Path = _PROJECT) -> dict[str, Any]:
    """The commit of this code, and whether tracked files have changed since.

    Returns {"commit": …, "changed": …}. Both are None, and "reason" says why, when git is not
    installed, when there is no repository, or when the repository does not track the code.
    """
    try:

        def git(*arguments: str) -> str:
            command = ["git", "-C", str(folder), *arguments]
            environment = {**os.environ, "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"}
            finished = subprocess.run(
                command,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=20,
                env=environment,
            )
            if finished.returncode == 1:
                raise OSError("the git repository around the code does not track it")
            if finished.returncode:
                raise OSError(finished.stderr.strip().split("\n")[0])
            return finished.stdout.strip()

        git("ls-files", "--error-unmatch", "reports/provenance.py")
        commit = git("rev-parse", "HEAD")
        return {
            "commit": commit,
            "changed": bool(git("status", "--porcelain", "--untracked-files=no")),
        }
    except FileNotFoundError:
        return {"commit": None, "changed": None, "reason": "git is not installed"}
    except (OSError, subprocess.SubprocessError) as error:
        return {"commit": None, "changed": None, "reason": str(error)}


def describe_session(
    corpus: Corpus,
    device: torch.device,
    machine: MachineChoices,
    seed: int,
    start: str,
    processes: int = 1,
) -> dict[str, Any]:
    """Command line, code, versions, machine, corpus and seed of this process, as plain values.

    Args:
        machine: what the session decided by its machine.
        start: in words, what the session starts from, for example a checkpoint.
        processes: number of processes of the run.
    """
    versions = {}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(sys.orig_argv),
        "directory": os.getcwd(),
        "start": start,
        "version": VERSION,
        "git": git_state(),
        "python": platform.python_version(),
        "packages": versions,
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"cpu ({_processor()})",
        "threads": machine.threads,
        "processes": processes,
        "precision": machine.precision,
        "linear_layers": machine.linear_layers,
        "linear_layers_reason": machine.reason,
        "openmp": {name: os.environ[name] for name in OPENMP if name in os.environ},
        "seed": seed,
        "corpus": {
            "name": corpus.name,
            "path": str(corpus.path),
            "sha256_of_corpus_json": corpus.fingerprint,
            "simulated": corpus.simulated,
            "composed": corpus.composed,
        },
    }


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in (
            Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        ):
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def record_session(folder: Path, session: dict[str, Any]) -> None:
    """Append a session to the folder's environment.json. Raises OSError."""
    path = folder / "environment.json"
    try:
        earlier = json.loads(path.read_text(encoding="utf-8"))["sessions"]
        earlier = earlier if isinstance(earlier, list) else []
    # There is no such file yet, or another program wrote it: this session is the first
    except (OSError, ValueError, KeyError, TypeError):
        earlier = []
    write_json(path, {"sessions": [*earlier, session]})


def environment_facts(session: dict[str, Any]) -> dict[str, str]:
    """A session as the rows of a report: {name: value}."""
    git = session["git"]
    commit = git["commit"] or f"unknown ({git['reason']})"
    return {
        "started": session["started"],
        "command": session["command"],
        "directory": session["directory"],
        "start": session["start"],
        "version": session["version"],
        "git commit": f"{commit}, with changes" if git["changed"] else commit,
        "Python": session["python"],
        "packages": ", ".join(f"{name} {version}" for name, version in session["packages"].items()),
        "platform": session["platform"],
        "device": f"{session['device']}, {session['threads']} threads, {session['precision']}"
        + (f", {session['processes']} processes" if session["processes"] > 1 else ""),
        "seed": str(session["seed"]),
    }
