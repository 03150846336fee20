"""The results of an extraction → a corpus: one frame rate, one image shape, and what to warn of."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from data.checks.tracking_jumps import jump_warning
from data.checks.unseen_sentences import unseen_kind, unseen_text
from data.corpus_writer import CorpusWriter
from data.sources.extraction_folder import Job, read_facts, read_plan
from data.sources.holistic import FEW_HANDS
from data.sources.recording_facts import (
    at_rate,
    common_rate,
    commonest,
    counts_text,
    to_aspect_ratio,
)
from data.sources.safe_npz import read_npz
from errors import DataError


@dataclass
class ExtractionReport:
    """The outcome of an extraction or a merge.

    sentences, frames: extracted. complete: False for a shard, which writes no corpus. failed: the
    reason for each sentence that failed.
    """

    sentences: int = 0
    frames: int = 0
    complete: bool = True
    failed: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def report_of(folders: list[Path], jobs: list[Job]) -> ExtractionReport:
    """Counts, failures and warnings of these jobs. Raises DataError when a job is not done yet."""
    report = ExtractionReport()
    not_done = []
    for job, path, facts in _outcomes(folders, jobs):
        if path is None:
            not_done.append(job)
        elif facts is None:
            failure = json.loads(path.read_bytes())
            if failure["left_out"]:
                report.warnings.append(f"{job} is left out: {failure['reason']}")
            else:
                report.failed[str(job)] = failure["reason"]
        else:
            report.sentences += 1
            report.frames += facts["frames"]
            report.warnings += _warnings(job, facts)
    if not_done:
        raise DataError(
            f"{len(not_done)} of {len(jobs)} sentences have not been extracted yet, "
            f"first {not_done[0]}: give the folders of all shards after all shards have finished; "
            f"given: {', '.join(map(str, folders))}"
        )
    return report


def _warnings(job: Job, facts: dict[str, Any]) -> Iterator[str]:
    unseen = unseen_kind(np.array(facts["parts"])) if "parts" in facts else None
    if unseen is not None:
        part = "hands are" if unseen == "no hands" else "signer is"
        yield f"{job}: {unseen_text(unseen, facts['frames'])}; check that the {part} in the image"
    elif facts["hands"] < FEW_HANDS * facts["frames"]:
        share = facts["hands"] / facts["frames"]
        yield (
            f"{job}: hands are found in only {100 * share:.0f} % of its frames; "
            "check that the hands are in the image"
        )
    if facts["is_video"] and not facts["fps_is_known"]:
        yield (
            f"{job}: the video does not give its frame rate, "
            f"{facts['fps']:g} frames/s is assumed (--fps)"
        )


def _outcomes(
    folders: list[Path], jobs: list[Job]
) -> Iterator[tuple[Job, Path | None, dict[str, Any] | None]]:
    """For each job: the path of its result and the facts in it; or the path of its `.failed` file
    and None; or None twice when it is not done yet."""
    for job in jobs:
        for folder in folders:
            facts = read_facts(folder / f"{job.file}.npz")
            if facts is not None:
                yield job, folder / f"{job.file}.npz", facts
                break
        else:
            failed = [folder / f"{job.file}.failed" for folder in folders]
            yield job, next((path for path in failed if path.is_file()), None), None


def assemble(folders: list[Path], output: Path, resample_fps: float | None) -> ExtractionReport:
    """Write the corpus from the results in the working folders."""
    plan = read_plan(folders[0])
    for folder in folders[1:]:
        _check_same_plan(folders[0], plan, folder)
    report = report_of(folders, plan["jobs"])
    results = [
        (job, path, facts)
        for job, path, facts in _outcomes(folders, plan["jobs"])
        if path is not None and facts is not None
    ]
    extracted, planned = (
        Counter(job.split for job in jobs)
        for jobs in ([job for job, _, _ in results], plan["jobs"])
    )
    if not extracted["train"]:
        reasons = [f"{job}: {reason}" for job, reason in report.failed.items()] + report.warnings
        first = next((reason for reason in reasons if reason.startswith("train ")), "none is there")
        raise DataError(
            f"none of the {planned['train']} train sentences could be extracted, so there is no "
            f"corpus to make: repair them and repeat the command; first {first}"
        )
    report.warnings += [
        f"the corpus has no split '{split}': none of its {count} sentences could be extracted"
        for split, count in planned.items()
        if not extracted[split]
    ]
    rates = Counter(float(facts["fps"]) for _, _, facts in results)
    even_rates = Counter(float(facts["fps"]) for _, _, facts in results if facts["even"])
    shapes = Counter(facts["width"] / facts["height"] for _, _, facts in results)
    fps, ratio = resample_fps or common_rate(even_rates or rates), commonest(shapes)
    if len(shapes) > 1:
        report.warnings.append(
            f"image shapes differ (width/height {counts_text(shapes)}): "
            f"the corpus gets {ratio:.4g}, x and z of the others are converted to it"
        )
    made_by = {"command": "extract", "input": plan["input"], **plan["settings"]}
    made_by |= {"resample_fps": resample_fps, "resampled": 0}
    with CorpusWriter(
        output, name=output.name, fps=fps, aspect_ratio=ratio, made_by=made_by
    ) as writer:
        for job, path, facts in results:
            try:
                arrays = read_npz(path)
                times, landmarks, detected = (
                    arrays[name] for name in ("times", "landmarks", "detected")
                )
            except (DataError, KeyError) as error:
                raise DataError(
                    f"{path}, the result of {job}, is damaged ({error}): "
                    "remove it and extract again"
                ) from None
            jump = jump_warning(landmarks, detected, facts["width"] / facts["height"])
            if jump is not None:
                report.warnings.append(f"{job}: {jump}")
            landmarks = to_aspect_ratio(landmarks, facts["width"] / facts["height"], ratio)
            try:
                frames = at_rate(times, landmarks, detected, fps)
            except DataError as error:
                raise DataError(
                    f"{path}, the result of {job}: {error}; remove it and extract again"
                ) from None
            made_by["resampled"] += frames[0] is not landmarks
            writer.split(job.split).add(job.id, job.signer, job.annotation, *frames)
    if made_by["resampled"] and resample_fps is None:
        report.warnings.append(
            f"frame rates differ ({counts_text(rates)}; uneven times in "
            f"{len(results) - even_rates.total()}): the corpus gets {fps:g}, "
            f"{made_by['resampled']} recordings are resampled to it; --resample_fps gives another"
        )
    return report


def _check_same_plan(first: Path, plan: dict[str, Any], folder: Path) -> None:
    """Raise DataError when the plan of `folder` differs from that of the first folder."""
    other = read_plan(folder)
    for name, text in (("settings", "settings or extractor"), ("jobs", "annotations")):
        if other[name] != plan[name]:
            detail = f": {plan[name]} and {other[name]}" if name == "settings" else ""
            raise DataError(
                f"{first} and {folder} were made with different {text}{detail}; "
                "they cannot be one corpus: extract one of them again"
            )
