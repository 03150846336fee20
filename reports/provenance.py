"""What is needed to repeat a run, beside its config.yaml: environment.json, with one entry for each
time it was started."""

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

import torch

from data.corpus import Corpus
from reports.result_files import write_json

PACKAGES = ("torch", "numpy", "jiwer", "PyYAML", "tensorboard", "matplotlib", "mediapipe")
_PROJECT = Path(__file__).resolve().parent.parent


def git_state(folder: Path = _PROJECT) -> dict:
    """{"commit": …, "changed": …}: the commit of this code and whether tracked files differ from
    it; both None, with a "reason", where there is no git, no repository, or the code is not in the
    repository around it."""
    try:

        def git(*arguments: str) -> str:
            command = ["git", "-C", str(folder), *arguments]
            environment = {**os.environ, "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"}
            ended = subprocess.run(
                command,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=20,
                env=environment,
            )
            if ended.returncode == 1:
                raise OSError("the git repository around the code does not track it")
            if ended.returncode:
                raise OSError(ended.stderr.strip().split("\n")[0])
            return ended.stdout.strip()

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
    corpus: Corpus, device: torch.device, precision: str, seed: int, start: str, processes: int = 1
) -> dict:
    """Command line, code, versions, machine, corpus and seed of this process; `start`: what it
    began with, in words; `processes`: of the run. Plain values."""
    versions = {}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(sys.orig_argv),
        "directory": os.getcwd(),
        "start": start,
        "git": git_state(),
        "python": platform.python_version(),
        "packages": versions,
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"cpu ({_processor()})",
        "threads": torch.get_num_threads(),
        "processes": processes,
        "precision": precision,
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


def record_session(folder: Path, session: dict) -> None:
    """Append to the folder's environment.json: a run that is continued has one session for each
    start. Raises OSError."""
    path = folder / "environment.json"
    try:
        earlier = json.loads(path.read_text(encoding="utf-8"))["sessions"]
        earlier = earlier if isinstance(earlier, list) else []
    # None yet, or not one of ours: the new one must be kept
    except (OSError, ValueError, KeyError, TypeError):
        earlier = []
    write_json(path, {"sessions": [*earlier, session]})


def environment_facts(session: dict) -> dict[str, str]:
    """A session as the rows that a report shows."""
    git = session["git"]
    commit = git["commit"] or f"unknown ({git['reason']})"
    return {
        "started": session["started"],
        "command": session["command"],
        "directory": session["directory"],
        "start": session["start"],
        "git commit": f"{commit}, with changes" if git["changed"] else commit,
        "Python": session["python"],
        "packages": ", ".join(f"{name} {version}" for name, version in session["packages"].items()),
        "platform": session["platform"],
        "device": f"{session['device']}, {session['threads']} threads, {session['precision']}"
        + (f", {session['processes']} processes" if session["processes"] > 1 else ""),
        "seed": str(session["seed"]),
    }
