"""The worker processes of an extraction: each extracts one video after the other.

Messages of a worker to the main process: ("ready", None) when it waits for a job, ("opened",
expected frames), ("frames", number of frames since the last message), and ("unusable", reason) when
MediaPipe or OpenCV cannot be imported. The main process sends (Job, RecordingFile).
"""

import contextlib
import multiprocessing
import os
import signal
from collections import deque
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from data.resampling import FrameRate
from data.sources.extraction_folder import Job, record_failure, write_result
from data.sources.holistic import missing_library
from data.sources.recording_facts import confirmed_rate
from data.sources.segment_reader import SegmentReader, in_reading_order
from data.sources.trackers import Tracker, open_tracker
from data.sources.video_files import RecordingFile, signature
from errors import DataError
from processor import cores_allowed
from progress_bar import ProgressLines

REPORT_EVERY = 8  # frames between two progress messages of a worker


class TooLong(Exception):  # noqa: N818
    """A video with more frames than --max_frames."""


@dataclass
class Worker:
    """A worker process, the main process's end of its pipe, and its current job."""

    process: BaseProcess
    pipe: Connection
    job: Job | None = None
    ready: bool = False


# ---- the main process ----


def extract_recordings(
    folder: Path,
    waiting: dict[Job, RecordingFile],
    settings: dict[str, Any],
    workers: int | None,
    progress: bool,
    model: Path | None = None,
) -> None:
    """Extract all waiting recordings; each leaves a result or a failure in the working folder.

    Args:
        folder: the working folder.
        waiting: the recording of each job. A job may be a segment of its recording.
        settings: those of the plan.
        workers: number of processes; None: one per CPU core.
        progress: show a progress bar.
        model: the model file of the tracker; None: MediaPipe's own models.

    Raises DataError when MediaPipe cannot be started.
    """
    if not waiting:
        return
    queue = deque(in_reading_order(waiting.items()))
    count = min(workers or _default_workers(), len(waiting))
    pool = [_start_worker(folder, settings, model) for _ in range(count)]
    progress_bar = _ProgressBar(len(waiting), progress)
    try:
        while pool:
            for pipe in wait([worker.pipe for worker in pool]):
                worker = next(worker for worker in pool if worker.pipe is pipe)
                try:
                    kind, value = worker.pipe.recv()
                except (EOFError, ConnectionError):
                    # The process died: the video crashed it, or memory ran out
                    pool.remove(worker)
                    reason = _end_of(worker)
                    if worker.job is None or not worker.ready:
                        raise DataError(f"MediaPipe cannot be started: {reason}") from None
                    record_failure(folder, worker.job, reason)
                    progress_bar.finish(worker.job)
                    if queue:
                        pool.append(_start_worker(folder, settings, model))
                    continue
                if kind == "unusable":
                    raise DataError(value)
                if kind == "frames":
                    progress_bar.add_frames(value)
                elif kind == "opened" and worker.job is not None:
                    progress_bar.open(worker.job, value)
                elif kind == "ready":
                    worker.ready = True
                    if worker.job is not None:
                        progress_bar.finish(worker.job)
                    if queue:
                        worker.job, recording = queue.popleft()
                        # If the process just died, the next recv notices it
                        with contextlib.suppress(ConnectionError):
                            worker.pipe.send((worker.job, recording))
                    else:
                        pool.remove(worker)
                        _stop_worker(worker)
    finally:
        for worker in pool:
            _stop_worker(worker)
        progress_bar.close()


def _default_workers() -> int:
    return max(1, cores_allowed() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def _start_worker(folder: Path, settings: dict[str, Any], model: Path | None) -> Worker:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_run_worker, args=(theirs, folder, settings, model), daemon=True
    )
    process.start()
    theirs.close()
    return Worker(process, ours)


def _stop_worker(worker: Worker) -> None:
    worker.pipe.close()
    worker.process.terminate()
    worker.process.join()


def _end_of(worker: Worker) -> str:
    """Why a worker process ended."""
    worker.process.join()
    code = worker.process.exitcode or 0
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    advice = (
        "out of memory? Try fewer --workers"
        if how == "signal SIGKILL"
        else "the recording may be damaged: try to convert it"
    )
    return f"its worker process ended with {how}; {advice}"


class _ProgressBar:
    """Frames extracted, of an estimate of all frames: unopened videos count with the mean length of
    the opened ones. Where there is no terminal, lines count the recordings."""

    def __init__(self, videos: int, visible: bool):
        self._videos = videos
        self._lengths: dict[Job, int] = {}
        self._finished = 0
        self._lines = ProgressLines("extract", videos, "recording", visible)
        self._bar = tqdm(
            desc="extract", unit="frame", unit_scale=True, disable=None if visible else True
        )

    def open(self, job: Job, expected_frames: int) -> None:
        self._lengths[job] = expected_frames
        self._bar.total = self._estimate()

    def add_frames(self, count: int) -> None:
        self._bar.update(count)
        self._lines.tell(self._finished)

    def finish(self, job: Job) -> None:
        self._finished += 1
        self._lengths.setdefault(job, 0)
        self._bar.total = max(self._bar.n, self._estimate())
        self._bar.set_postfix_str(f"{len(self._lengths)} of {self._videos} videos opened")
        self._lines.tell(self._finished)

    def close(self) -> None:
        self._bar.close()

    def _estimate(self) -> int:
        return round(sum(self._lengths.values()) / len(self._lengths) * self._videos)


# ---- a worker process ----


def _run_worker(
    pipe: Connection, folder: Path, settings: dict[str, Any], model: Path | None
) -> None:
    """Take jobs and leave their results until the main process closes the pipe."""
    # At Ctrl-C the main process stops and closes the pipe
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # MediaPipe and FFmpeg print messages of their own, which would break the progress bar
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(null, stream)
    try:
        tracker = open_tracker(model, settings["extractor"].get("model_complexity", 1))
    except ImportError as error:
        pipe.send(("unusable", missing_library(error)))
        return
    except DataError as error:
        pipe.send(("unusable", str(error)))
        return
    reader = SegmentReader(settings["fps"])
    pipe.send(("ready", None))
    try:
        while True:
            job, recording = pipe.recv()
            try:
                _extract_recording(folder, job, recording, settings, reader, tracker, pipe)
            except TooLong as error:
                record_failure(folder, job, str(error), left_out=True)
            except ConnectionError:  # of the pipe, not of the video: nothing is known of it
                raise
            except (DataError, OSError) as error:
                record_failure(folder, job, f"{recording.path}: {error}")
            pipe.send(("ready", None))
    except (EOFError, ConnectionError):
        return  # the main process closed the pipe, or died


def _extract_recording(
    folder: Path,
    job: Job,
    recording: RecordingFile,
    settings: dict[str, Any],
    reader: SegmentReader,
    tracker: Tracker,
    pipe: Connection,
) -> None:
    """Track one recording, or the job's segment of it, and write the result.

    Raises TooLong, DataError and OSError.
    """
    max_frames = settings["max_frames"]
    state = signature(recording)
    opened = reader.open(recording, job.segment)
    pipe.send(("opened", opened.expected))
    tracker.reset()
    times: list[float] = []
    landmarks: list[np.ndarray] = []
    detected: list[np.ndarray] = []
    unreported, shape = 0, (0, 0, 0)
    for time, frame in opened.frames:
        if max_frames is not None and max(opened.expected, len(landmarks) + 1) > max_frames:
            raise TooLong(f"longer than --max_frames {max_frames}")
        points, parts = tracker.track(frame)
        times.append(time)
        landmarks.append(points)
        detected.append(parts)
        unreported, shape = unreported + 1, frame.shape
        if unreported == REPORT_EVERY:
            pipe.send(("frames", unreported))
            unreported = 0
    pipe.send(("frames", unreported))
    stacked = np.stack(detected)
    rate = confirmed_rate(FrameRate(opened.fps, opened.even), np.array(times))
    facts = {
        "frames": len(landmarks),
        "width": shape[1],
        "height": shape[0],
        "fps": round(rate.fps, 3),
        "fps_is_known": opened.fps_is_known,
        "even": rate.even,
        "is_video": recording.is_video,
        "hands": int(stacked[:, 2:].any(axis=1).sum()),
        "parts": stacked.any(axis=0).tolist(),
        "signature": state,
        "segment": job.segment.values if job.segment else None,
    }
    write_result(folder / f"{job.file}.npz", np.array(times), np.stack(landmarks), stacked, facts)
    (folder / f"{job.file}.failed").unlink(missing_ok=True)
