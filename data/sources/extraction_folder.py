"""The working folder of an extraction, `<output>.extracting`.

It holds `plan.json` (the settings and the job of each sentence), and for each finished job either
`<file>.npz` (times, landmarks, detected parts and facts about the video) or `<file>.failed` (the
reason why there is no result). Each of these files is written completely or not at all.
"""

import contextlib
import json
import os
import platform
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from data.landmarks import PARTS
from data.sources.annotations.segments import Segment, segment_of
from data.sources.annotations.transcripts import SPLITS
from data.sources.safe_npz import read_npz
from data.sources.video_files import RecordingFile, signature
from errors import DataError, UsageError

# The facts in a result file. hands: frames with at least one hand. fps_is_known: the recording or
# the user gives the frame rate. even: the times of the frames are those of a constant rate. Results
# of this version also have `parts`: four bool, which parts were detected in any frame.
_FACTS = {
    "frames": int,
    "width": int,
    "height": int,
    "fps": float,
    "fps_is_known": bool,
    "even": bool,
    "is_video": bool,
    "hands": int,
}


@dataclass(frozen=True)
class Job:
    """The extraction of one sentence.

    file: name of its result, without suffix. segment: None for the whole recording.
    """

    split: str
    id: str
    signer: str
    annotation: str
    file: str
    segment: Segment | None = None

    def __str__(self) -> str:
        return f"{self.split} {self.id!r}"


def result_name(split: str, id: str) -> str:
    """The name of a sentence's result in the working folder, without suffix."""
    return sha256(f"{split}|{id}".encode()).hexdigest()[:32]


def prepare_folder(folder: Path, source: Path, settings: dict[str, Any], jobs: list[Job]) -> None:
    """Make the working folder if it does not exist, and write the plan of this run into it.

    Raises UsageError when the folder was begun with other settings or is not one of an extraction,
    DataError when it cannot be written.
    """
    try:
        if not (folder / "plan.json").is_file() and folder.is_dir() and any(folder.iterdir()):
            raise UsageError(
                f"{folder} already exists and is not from an extraction, which would write there "
                "and remove it at the end: rename it, or choose another --output"
            )
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / "plan.json").is_file():
            earlier = read_plan(folder)["settings"]
            if earlier != settings:
                different = ", ".join(
                    f"{name} {earlier.get(name)!r}, now {settings[name]!r}"
                    for name in settings
                    if earlier.get(name) != settings[name]
                )
                raise UsageError(
                    f"{folder} was begun with {different}: one corpus cannot mix them; "
                    "use the same options and versions as before, or remove the folder"
                )
        plan = {
            "settings": settings,
            "input": source.resolve().name,
            "jobs": [_fields(job) for job in jobs],
        }
        _write_file(folder / "plan.json", json.dumps(plan, ensure_ascii=False).encode())
    except OSError as error:
        raise DataError(f"cannot write to {folder}: {error.strerror}") from None


def read_plan(folder: Path) -> dict[str, Any]:
    """Read plan.json: {'settings': dict, 'input': name of the input folder, 'jobs': list of Job}.

    The plan may come from another machine. No path is made from it: the file name of each job must
    be the one that `result_name` gives. Raises DataError when the plan is missing or damaged.
    """
    try:
        plan = json.loads((folder / "plan.json").read_bytes())
        jobs = [_job(*fields) for fields in plan["jobs"]]
        for job in jobs:
            if job.split not in SPLITS or job.file != result_name(job.split, job.id):
                raise ValueError(f"{job} is not a sentence's job")
        return {"settings": dict(plan["settings"]), "input": plan["input"], "jobs": jobs}
    except FileNotFoundError:
        raise DataError(
            f"{folder} has no plan.json: expected a folder <output>.extracting made by extract"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{folder / 'plan.json'} cannot be read ({error!r}): remove {folder} and extract again"
        ) from None


def _fields(job: Job) -> list[Any]:
    """A job in plan.json; `_job` reads it."""
    *texts, segment = vars(job).values()
    return texts if segment is None else [*texts, segment.values]


def _job(split: str, id: str, signer: str, annotation: str, file: str, segment: Any = None) -> Job:
    """A job from its fields in plan.json. Raises ValueError and TypeError."""
    return Job(split, id, signer, annotation, file, segment and segment_of(segment))


def write_result(
    path: Path,
    times: np.ndarray,
    landmarks: np.ndarray,
    detected: np.ndarray,
    facts: dict[str, Any],
) -> None:
    """Write the result of a job: the times of the frames float64 (T,) in seconds, landmarks float32
    (T, 543, 3), detected bool (T, 4), and facts."""

    def write(file: BinaryIO) -> None:
        text = np.array(json.dumps(facts))
        np.savez(file, times=times, landmarks=landmarks, detected=detected, facts=text)

    _write_atomically(path, write)


def record_failure(folder: Path, job: Job, reason: str, left_out: bool = False) -> None:
    """Record why a job has no result. left_out: an option asked for it, so it is no failure."""
    (folder / f"{job.file}.npz").unlink(missing_ok=True)
    _write_file(
        folder / f"{job.file}.failed", json.dumps({"reason": reason, "left_out": left_out}).encode()
    )


def read_facts(path: Path) -> dict[str, Any] | None:
    """Read the facts of a result; None when the file is missing or damaged."""
    try:
        facts = json.loads(str(read_npz(path, ("facts",))["facts"]))
        types_fit = {name: type(facts[name]) for name in _FACTS} == _FACTS
        sizes_fit = types_fit and min(facts["frames"], facts["width"], facts["height"]) > 0
        parts = facts.get("parts", [True] * len(PARTS))
        parts_fit = [type(part) for part in parts] == [bool] * len(PARTS)
        return facts if sizes_fit and parts_fit else None
    except (DataError, ValueError, KeyError, TypeError, RecursionError):
        return None


def is_finished(folder: Path, job: Job, recording: RecordingFile) -> bool:
    """Whether a job has a result, made from its segment of the recording as it is now. Raises
    OSError."""
    facts = read_facts(folder / f"{job.file}.npz")
    return (
        facts is not None
        and facts.get("signature") == signature(recording)
        and facts.get("segment") == (job.segment.values if job.segment else None)
    )


@contextlib.contextmanager
def report_when_stopped(folder: Path, jobs: Collection[Job]) -> Iterator[None]:
    """Context of an extraction: when it is stopped (Ctrl-C, a signal), print on stderr how many of
    the jobs have a result, and how to continue."""
    try:
        yield
    except KeyboardInterrupt:
        done = sum((folder / f"{job.file}.npz").is_file() for job in jobs)
        print(
            f"{done:,} of {len(jobs):,} recordings are in {folder}; repeat the command to continue",
            file=sys.stderr,
        )
        raise


def _write_file(path: Path, content: bytes) -> None:
    _write_atomically(path, lambda file: file.write(content))


def _write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file completely or not at all, even when the machine stops."""
    partial = _partial(path)
    with open(partial, "wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _partial(path: Path) -> Path:
    """The file's name while this process writes it. No other process uses this name, here or on
    another machine that shares the folder."""
    return path.with_name(f"{path.name}.{platform.node()}.{os.getpid()}.partial")
