"""The working folder of an extraction: its plan, and one result or failure a sentence."""

import json
import os
import platform
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from data.sources.safe_npz import read_npz
from data.sources.transcripts import SPLITS
from data.sources.video_files import RecordingFile, signature
from errors import DataError, UsageError

# What a result says of its video.
_FACTS = {
    "frames": int,
    "width": int,
    "height": int,
    "fps": float,
    "fps_is_known": bool,
    "is_video": bool,
    "hands": int,
}


@dataclass(frozen=True)
class Job:
    """One sentence of the plan: `file` is the name its result gets in the working folder, without
    suffix."""

    split: str
    id: str
    signer: str
    annotation: str
    file: str

    def __str__(self) -> str:
        return f"{self.split} {self.id!r}"


def _file_of(split: str, id: str) -> str:
    return sha256(f"{split}|{id}".encode()).hexdigest()[:32]


# ------------------------------------------------------------------------------------------------- the working folder


def _begin(folder: Path, source: Path, settings: dict, jobs: list[Job]) -> None:
    """Make the working folder, or see that it was begun with the same settings. Its plan is that of
    this run."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / "plan.json").is_file():
            begun = _read_plan(folder)["settings"]
            if begun != settings:
                different = ", ".join(
                    f"{name} {begun.get(name)!r}, now {settings[name]!r}"
                    for name in settings
                    if begun.get(name) != settings[name]
                )
                raise UsageError(
                    f"{folder} was begun with {different}: one corpus cannot mix them; go on with the same or remove it"
                )
        plan = {
            "settings": settings,
            "input": source.resolve().name,
            "jobs": [list(vars(job).values()) for job in jobs],
        }
        _write_whole(folder / "plan.json", json.dumps(plan, ensure_ascii=False).encode())
    except OSError as error:
        raise DataError(f"cannot write to {folder}: {error.strerror}") from None


def _read_plan(folder: Path) -> dict:
    try:
        plan = json.loads((folder / "plan.json").read_bytes())
        jobs = [Job(*fields) for fields in plan["jobs"]]
        for job in jobs:  # a plan may come from another machine: no path is made of what it says
            if job.split not in SPLITS or job.file != _file_of(job.split, job.id):
                raise ValueError(f"{job} is not a sentence's job")
        return {"settings": dict(plan["settings"]), "input": plan["input"], "jobs": jobs}
    except FileNotFoundError:
        raise DataError(
            f"{folder} has no plan.json: expected a folder <output>.extracting that extract made"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{folder / 'plan.json'} cannot be read ({error!r}): remove {folder} and extract again"
        ) from None


def _partial(path: Path) -> Path:
    """What a file is called while this process writes it: no other process has that name, here or
    on another machine."""
    return path.with_name(f"{path.name}.{platform.node()}.{os.getpid()}.partial")


def _write_whole(path: Path, content: bytes) -> None:
    """Write a file that is there with all of its content or not at all, also when the machine
    stops."""
    partial = _partial(path)
    with open(partial, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _write_result(path: Path, landmarks: np.ndarray, detected: np.ndarray, facts: dict) -> None:
    partial = _partial(path)
    with open(partial, "wb") as file:
        np.savez(file, landmarks=landmarks, detected=detected, facts=np.array(json.dumps(facts)))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _give_up(folder: Path, job: Job, reason: str, left_out: bool = False) -> None:
    """Note why a sentence has no result; `left_out` where that was asked for."""
    (folder / f"{job.file}.npz").unlink(missing_ok=True)
    _write_whole(
        folder / f"{job.file}.failed", json.dumps({"reason": reason, "left_out": left_out}).encode()
    )


def _read_facts(path: Path) -> dict | None:
    """Facts of a finished video; None when there is no such file or it is damaged."""
    try:
        facts = json.loads(str(read_npz(path, ("facts",))["facts"]))
        plausible = {name: type(facts[name]) for name in _FACTS} == _FACTS
        return (
            facts
            if plausible and min(facts["frames"], facts["width"], facts["height"]) > 0
            else None
        )
    except (DataError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _is_finished(folder: Path, job: Job, recording: RecordingFile) -> bool:
    facts = _read_facts(folder / f"{job.file}.npz")
    return facts is not None and facts.get("signature") == signature(recording)
