"""Videos and folders of frames with annotations → a corpus folder, through MediaPipe Holistic.

Each recording is one job: a worker process reads its frames, tracks them from a reset state, and
writes the result to the working folder `<output>.extracting`. At the end the results are joined in
the order of the annotations. So the corpus does not depend on the number or the speed of the
workers, and a run that was killed continues with the recordings that have no result yet. Shards
(RANK, WORLD_SIZE) write their results in the same way, and `merge_shards` joins them.

Only the workers import MediaPipe and OpenCV.
"""

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from data.corpus_writer import check_output
from data.sentences import check_sentence
from data.sources.annotations.transcripts import TranscribedSentence, clean_train, read_splits
from data.sources.extraction_assembly import ExtractionReport, assemble, report_of
from data.sources.extraction_folder import (
    Job,
    is_finished,
    prepare_folder,
    record_failure,
    report_when_stopped,
    result_name,
)
from data.sources.extraction_workers import extract_recordings
from data.sources.trackers import extractor_facts
from data.sources.video_files import (
    RecordingFile,
    find_recording_files,
    match_recording_files,
    unread_files,
)
from errors import DataError, UsageError, shown_names


def extract(
    source: Path,
    annotations: Path,
    output: Path,
    *,
    workers: int | None = None,
    max_frames: int | None = None,
    model_complexity: int = 1,
    model: Path | None = None,
    normalize: str | None = None,
    fps: float | None = None,
    resample_fps: float | None = None,
    rank: int = 0,
    world_size: int = 1,
    progress: bool = False,
) -> ExtractionReport:
    """Write the corpus `output` from the recordings in `source`.

    The corpus gets the frame rate and the aspect ratio of most of its sentences. A recording of
    another frame rate, or of uneven times, is resampled by the times of its frames. In a recording
    of another shape, x and z are converted to that aspect ratio, so that shapes stay the same once
    the aspect is corrected. Recordings that fail are in the report with the reason; the others
    become the corpus.

    Args:
        source: folder of videos and folders of frames.
        annotations: annotation files of any format of data/sources/annotations/transcripts.py.
        output: the corpus folder to write.
        workers: number of processes; None: one per CPU core.
        max_frames: leave longer recordings out. A cut one would not fit its annotation.
        model_complexity: of MediaPipe's pose model, 0 to 2; without `model` only.
        model: a model file of HolisticLandmarker; None: MediaPipe Holistic with its own models.
        normalize: 'phoenix2014' cleans the train annotations.
        fps: frames per second of all recordings, in place of their own; None: those of the videos,
            and 25 for folders of frames.
        resample_fps: frames per second of the corpus; None: those of most sentences.
        rank, world_size: this process extracts every world_size-th sentence. With a world_size
            above 1 it leaves only the working folder, for `merge_shards`.
        progress: show a progress bar.

    Raises DataError when nothing can be extracted, UsageError when `output` is not empty or when
    the working folder was begun with other settings.
    """
    check_output(output, source, annotations)
    splits = read_splits(annotations)
    if normalize == "phoenix2014":
        clean_train(splits, annotations)
    recordings = find_recording_files(source)
    matched, unused = match_recording_files(splits, recordings)
    jobs = _plan_jobs(splits, annotations)
    if not matched:
        raise DataError(
            f"none of {len(recordings)} recordings in {source} belongs to one of {len(jobs)} "
            f"sentences of {annotations}: found {recordings[0].path.relative_to(source)}, "
            f"expected for example {_example_recording(splits)}"
        )
    settings = {
        "extractor": extractor_facts(model_complexity, model),
        "normalize": normalize,
        "max_frames": max_frames,
        "fps": fps,
    }
    folder = output.with_name(output.name + ".extracting")
    prepare_folder(folder, source, settings, jobs)
    own_jobs = jobs[rank::world_size]
    recording_of = {
        job: matched[job.split, job.id] for job in own_jobs if (job.split, job.id) in matched
    }
    waiting = _unfinished(folder, recording_of)
    unread = unread_files(source) if len(recording_of) < len(own_jobs) else {}
    try:
        for job in own_jobs:
            if job not in recording_of:
                record_failure(folder, job, _why_no_recording(job, unread, source))
            elif job in waiting:
                # Its result is damaged, or its recording was replaced since
                (folder / f"{job.file}.npz").unlink(missing_ok=True)
        with report_when_stopped(folder, recording_of):
            extract_recordings(folder, waiting, settings, workers, progress, model)
    except OSError as error:
        raise DataError(
            f"cannot write to {folder}: {error.strerror}; the finished recordings are kept"
        ) from None
    if world_size > 1:
        report = report_of([folder], own_jobs)
        report.complete = False
    else:
        report = assemble([folder], output, resample_fps)
        if not report.failed:
            shutil.rmtree(folder)
    if unused:
        report.warnings.append(_unused_warning(unused, source))
    return report


def merge_shards(
    folders: list[Path], output: Path, resample_fps: float | None = None
) -> ExtractionReport:
    """Write the corpus `output` from the working folders of all shards of one extraction.

    The corpus equals that of an extraction without shards. resample_fps: frames per second of the
    corpus; None: those of most sentences. Raises DataError when a folder is no
    working folder, when annotations, settings or versions of the extractor differ between folders,
    or when a sentence has not been extracted yet. Raises UsageError when `output` is not empty.
    """
    check_output(output, *folders)
    return assemble(folders, output, resample_fps)


def shard_of(environment: Mapping[str, str]) -> tuple[int, int]:
    """(RANK, WORLD_SIZE) of an environment, as torchrun or a job array sets them; (0, 1) without.

    Raises UsageError for other values than whole numbers with RANK below WORLD_SIZE.
    """
    rank, world = environment.get("RANK"), environment.get("WORLD_SIZE")
    if rank is None and world is None:
        return 0, 1
    if not (rank and world and rank.isdecimal() and world.isdecimal() and int(rank) < int(world)):
        raise UsageError(
            f"RANK is {rank!r} and WORLD_SIZE is {world!r} in the environment: expected whole "
            "numbers, RANK from 0 to WORLD_SIZE - 1; unset both to extract everything here"
        )
    return int(rank), int(world)


# ---- before the extraction ----


def _plan_jobs(splits: dict[str, list[TranscribedSentence]], annotations: Path) -> list[Job]:
    """One job per sentence. Raises DataError for a field that a corpus cannot store."""
    jobs = []
    for split, sentences in splits.items():
        for sentence in sentences:
            annotation = " ".join(sentence.glosses)
            file = result_name(split, sentence.id)
            job = Job(split, sentence.id, sentence.signer, annotation, file, sentence.segment)
            where = f"{split} sentence {job.id!r} in {annotations}"
            check_sentence(split, job.id, job.signer, annotation, where)
            jobs.append(job)
    return jobs


def _example_recording(splits: dict[str, list[TranscribedSentence]]) -> str:
    first = next(iter(splits.values()))[0]
    return first.recording or f"{first.id}.mp4 or a folder {first.id}"


def _why_no_recording(job: Job, unread: dict[str, Path], source: Path) -> str:
    """unread: files that are no recordings, by their name without the suffix."""
    file = unread.get(job.id)
    if file is None:
        return f"has no recording: no video or folder of that name in {source}"
    return (
        f"has no recording: {file} is there, but {file.suffix} is not read; convert it, for "
        f"example with `ffmpeg -i {file.name} {job.id}.mp4`"
    )


def _unfinished(folder: Path, recording_of: dict[Job, RecordingFile]) -> dict[Job, RecordingFile]:
    """The jobs without a valid result, with their recordings. Raises OSError."""
    waiting = {
        job: recording
        for job, recording in recording_of.items()
        if not is_finished(folder, job, recording)
    }
    if len(waiting) < len(recording_of):
        print(
            f"{len(recording_of) - len(waiting)} of {len(recording_of)} recordings were finished "
            "by an earlier run",
            file=sys.stderr,
        )
    return waiting


def _unused_warning(unused: list[RecordingFile], source: Path) -> str:
    names = shown_names(str(one.path.relative_to(source)) for one in unused)
    return f"{len(unused)} recordings have no annotation and are left out: {names}"
