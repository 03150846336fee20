"""Videos and folders of frames with annotations → a corpus folder, by MediaPipe Holistic.

Every video is a job of its own: a worker process reads its frames, tracks them from a reset state,
and leaves the result as a small file in `<output>.extracting/`, written whole or not at all. At the
end these files are put together in the order of the annotations. The corpus therefore does not
depend on how many workers there were or which was faster, and a run that was killed goes on with
the videos that have no file yet. Shards (RANK, WORLD_SIZE) leave their files the same way, and
`merge_shards` puts them together.

MediaPipe and OpenCV are imported in the workers only.
"""

import json
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from data.corpus import check_field
from data.corpus_writer import CorpusWriter, check_output
from data.sources.extraction_folder import (
    Job,
    _begin,
    _file_of,
    _give_up,
    _is_finished,
    _read_facts,
    _read_plan,
)
from data.sources.extraction_workers import _work
from data.sources.holistic import FEW_HANDS, extractor_facts
from data.sources.recording_facts import _shares, commonest, to_aspect_ratio
from data.sources.safe_npz import read_npz
from data.sources.transcripts import clean_train, read_splits
from data.sources.video_files import SHOWN, find_recording_files, match_recording_files
from errors import DataError, UsageError


@dataclass
class ExtractionReport:
    """What came of an extraction or a merge; `failed` has a reason for every sentence that is not
    in the corpus."""

    sentences: int = 0
    frames: int = 0
    complete: bool = True  # False for a shard: it has no corpus yet
    failed: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def extract(
    source: Path,
    annotations: Path,
    output: Path,
    *,
    workers: int | None = None,
    max_frames: int | None = None,
    model_complexity: int = 1,
    normalize: str | None = None,
    fps: float = 25.0,
    rank: int = 0,
    world_size: int = 1,
    progress: bool = False,
) -> ExtractionReport:
    """Write the corpus `output` from the footage in `source` with the annotations of any format of
    data/sources/transcripts.py.

    workers: processes (default: one a CPU core). max_frames: longer videos are left out, since
    their annotation would not fit a part of them. normalize: 'phoenix2014' cleans the train
    annotations. fps: of folders of frames, which do not say. rank, world_size: this process takes
    every world_size-th sentence and leaves the working folder for `merge_shards`.

    A corpus has one aspect ratio and one frame rate, those of most of its sentences. Videos of
    another shape get their x and z in that ratio's image width, so that shapes are the same once
    the aspect is corrected; a frame rate is kept. Videos that fail are in the report with the
    reason, and the rest becomes the corpus. Raises DataError when nothing can be extracted,
    UsageError when `output` exists or does not fit what was begun.
    """
    check_output(output)
    splits = read_splits(annotations)
    if normalize == "phoenix2014":
        clean_train(splits, annotations)
    footage = find_recording_files(source)
    matched, unused = match_recording_files(splits, footage)
    jobs = [
        Job(
            split,
            sentence.id,
            sentence.signer,
            " ".join(sentence.glosses),
            _file_of(split, sentence.id),
        )
        for split, sentences in splits.items()
        for sentence in sentences
    ]
    for job in jobs:
        for name in ("id", "signer", "annotation"):
            check_field(
                name, getattr(job, name), f"{job.split} sentence {job.id!r} in {annotations}"
            )
    if not matched:
        raise DataError(
            f"none of {len(footage)} recordings in {source} belongs to one of {len(jobs)} sentences of {annotations}: "
            f"found {footage[0].path.relative_to(source)}, expected for example {_expected(splits)}"
        )
    settings = {
        "extractor": extractor_facts(model_complexity),
        "normalize": normalize,
        "max_frames": max_frames,
        "frame_folder_fps": fps,
    }
    folder = output.with_name(output.name + ".extracting")
    _begin(folder, source, settings, jobs)
    mine = jobs[rank::world_size]
    todo = {job: matched[job.split, job.id] for job in mine if (job.split, job.id) in matched}
    waiting = {
        job: recording
        for job, recording in todo.items()
        if not _is_finished(folder, job, recording)
    }
    if len(waiting) < len(todo):
        print(
            f"{len(todo) - len(waiting)} of {len(todo)} videos were finished by a run before this one",
            file=sys.stderr,
        )
    try:
        for job in mine:
            if job not in todo:
                _give_up(
                    folder, job, f"has no footage: no video or folder of that name in {source}"
                )
            elif job in waiting:
                # Damaged, or of footage that was replaced
                (folder / f"{job.file}.npz").unlink(missing_ok=True)
        _work(folder, waiting, settings, workers, progress)
    except OSError as error:
        raise DataError(
            f"cannot write to {folder}: {error.strerror}; finished videos are kept"
        ) from None
    if world_size > 1:
        report = _report([folder], mine)
        report.complete = False
    else:
        report = _assemble([folder], output)
        if not report.failed:
            shutil.rmtree(folder)
    if unused:
        names = ", ".join(str(one.path.relative_to(source)) for one in unused[:SHOWN])
        more = f", ... ({len(unused) - SHOWN} more)" if len(unused) > SHOWN else ""
        report.warnings.append(
            f"{len(unused)} recordings have no annotation and were left out: {names}{more}"
        )
    return report


def merge_shards(folders: list[Path], output: Path) -> ExtractionReport:
    """Write the corpus `output` from the working folders that the shards of one extraction left.

    The result is that of one extraction without shards. Raises DataError when a folder is none,
    when they were made from other annotations, settings or versions of the extractor, or when
    sentences have not been extracted yet.
    """
    check_output(output)
    return _assemble(folders, output)


def _expected(splits: dict) -> str:
    first = next(iter(splits.values()))[0]
    return first.footage or f"{first.id}.mp4 or a folder {first.id}"


# ----------------------------------------------------------------------------------------------- putting it together


def _report(folders: list[Path], jobs: list[Job]) -> ExtractionReport:
    """Counts, failures and warnings of the given sentences. Raises DataError when one has neither
    result nor failure."""
    report, open_jobs = ExtractionReport(), []
    for job, path, facts in _results(folders, jobs):
        if facts is not None:
            report.sentences += 1
            report.frames += facts["frames"]
            if facts["hands"] < FEW_HANDS * facts["frames"]:
                share = facts["hands"] / facts["frames"]
                report.warnings.append(
                    f"{job}: hands are found in only {100 * share:.0f} % of its frames"
                )
            if facts["is_video"] and not facts["fps_is_known"]:
                report.warnings.append(
                    f"{job}: the video does not tell its frame rate, {facts['fps']:g} is assumed"
                )
        elif path is not None:
            failure = json.loads(path.read_bytes())
            if failure["left_out"]:
                report.warnings.append(f"{job} is left out: {failure['reason']}")
            else:
                report.failed[str(job)] = failure["reason"]
        else:
            open_jobs.append(job)
    if open_jobs:
        raise DataError(
            f"{len(open_jobs)} of {len(jobs)} sentences have not been extracted yet, first {open_jobs[0]}: "
            f"give the folders of all shards, each of them finished; given: {', '.join(map(str, folders))}"
        )
    return report


def _results(
    folders: list[Path], jobs: list[Job]
) -> Iterator[tuple[Job, Path | None, dict | None]]:
    """For every sentence its result and the facts in it; or its `.failed` and None; or None twice."""
    for job in jobs:
        for folder in folders:
            facts = _read_facts(folder / f"{job.file}.npz")
            if facts is not None:
                yield job, folder / f"{job.file}.npz", facts
                break
        else:
            failed = [folder / f"{job.file}.failed" for folder in folders]
            yield job, next((path for path in failed if path.is_file()), None), None


def _assemble(folders: list[Path], output: Path) -> ExtractionReport:
    plan = _read_plan(folders[0])
    for folder in folders[1:]:
        other = _read_plan(folder)
        for name, what in (("settings", "settings or extractor"), ("jobs", "annotations")):
            if other[name] != plan[name]:
                detail = f": {plan[name]} and {other[name]}" if name == "settings" else ""
                raise DataError(
                    f"{folders[0]} and {folder} were made with different {what}{detail}; they cannot be one corpus"
                )
    report = _report(folders, plan["jobs"])
    results = [
        (job, path, facts)
        for job, path, facts in _results(folders, plan["jobs"])
        if facts is not None
    ]
    if not results:
        first = [*(f"{job}: {reason}" for job, reason in report.failed.items()), *report.warnings][
            0
        ]
        raise DataError(f"none of {len(plan['jobs'])} sentences could be extracted, first {first}")
    rates = Counter(facts["fps"] for _, _, facts in results)
    shapes = Counter(facts["width"] / facts["height"] for _, _, facts in results)
    fps, ratio = commonest(rates), commonest(shapes)
    if len(rates) > 1:
        report.warnings.append(
            f"frame rates differ ({_shares(rates)}): the corpus says {fps:g}, no video is resampled"
        )
    if len(shapes) > 1:
        report.warnings.append(
            f"image shapes differ (width/height {_shares(shapes)}): the corpus says {ratio:.4g}, x and z of the others "
            "are given in images of that shape"
        )
    settings = plan["settings"]
    made_by = {"command": "extract", "input": plan["input"], **settings}
    with CorpusWriter(
        output, name=output.name, fps=fps, aspect_ratio=ratio, made_by=made_by
    ) as writer:
        for job, path, facts in results:
            try:
                arrays = read_npz(path)
                landmarks, detected = arrays["landmarks"], arrays["detected"]
            except (DataError, KeyError) as error:
                raise DataError(
                    f"{path}, the result of {job}, is damaged ({error}): remove it and extract again"
                ) from None
            landmarks = to_aspect_ratio(landmarks, facts["width"] / facts["height"], ratio)
            writer.split(job.split).add(job.id, job.signer, job.annotation, landmarks, detected)
    return report


def shard_of(environment: Mapping[str, str]) -> tuple[int, int]:
    """RANK and WORLD_SIZE as torchrun sets them or a job array can; (0, 1) without. Raises
    UsageError."""
    rank, world = environment.get("RANK"), environment.get("WORLD_SIZE")
    if rank is None and world is None:
        return 0, 1
    if not (rank and world and rank.isdecimal() and world.isdecimal() and int(rank) < int(world)):
        raise UsageError(
            f"RANK is {rank!r} and WORLD_SIZE {world!r} in the environment: expected whole numbers, RANK from 0 to "
            "WORLD_SIZE - 1; unset both to extract everything here"
        )
    return int(rank), int(world)
