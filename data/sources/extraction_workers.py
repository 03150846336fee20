"""The worker processes of an extraction."""

import contextlib
import multiprocessing
import os
import signal
from collections import deque
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data.sources.extraction_folder import Job, _give_up, _write_result
from data.sources.holistic import Tracker, missing_library
from data.sources.video_files import RecordingFile, open_video_frames, signature
from errors import DataError

REPORT_EVERY = 8  # frames between a worker's reports


class TooLong(Exception):  # noqa: N818
    """A video that is left out because of --max_frames."""


# -------------------------------------------------------------------------------------------------------- the workers


@dataclass
class Worker:
    """A worker process, our end of the pipe to it, and what it works on."""

    process: multiprocessing.Process
    pipe: Connection
    job: Job | None = None
    ready: bool = False


def _work(
    folder: Path,
    waiting: dict[Job, RecordingFile],
    settings: dict,
    workers: int | None,
    progress: bool,
) -> None:
    """Have every waiting video leave its result or its `.failed` in the folder."""
    if not waiting:
        return
    available = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    count = workers or max(1, available // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    queue = deque(waiting.items())
    crew = [_hire(folder, settings) for _ in range(min(count, len(waiting)))]
    counts: dict[Job, int] = {}  # frames of the videos opened so far
    with tqdm(
        desc="extract", unit="frame", unit_scale=True, disable=None if progress else True
    ) as bar:
        try:
            while crew:
                for pipe in wait([worker.pipe for worker in crew]):
                    worker = next(worker for worker in crew if worker.pipe is pipe)
                    try:
                        kind, value = pipe.recv()
                    # It died: of the video, or because memory ran out
                    except (EOFError, ConnectionError):
                        crew.remove(worker)
                        reason = _end_of(worker)
                        if not worker.ready:
                            raise DataError(f"MediaPipe cannot be started: {reason}") from None
                        _give_up(folder, worker.job, reason)
                        _finish_video(bar, counts, worker.job, len(waiting))
                        if queue:
                            crew.append(_hire(folder, settings))
                        continue
                    if kind == "unusable":
                        raise DataError(value)
                    if kind == "frames":
                        bar.update(value)
                        continue
                    if kind == "opened":
                        counts[worker.job] = value
                        bar.total = _estimate(counts, len(waiting))
                        continue
                    worker.ready = True
                    if worker.job is not None:
                        _finish_video(bar, counts, worker.job, len(waiting))
                    worker.job, recording = queue.popleft() if queue else (None, None)
                    if worker.job is None:
                        crew.remove(worker)
                        _dismiss(worker)
                    else:
                        # It died just now: the next recv says so
                        with contextlib.suppress(ConnectionError):
                            pipe.send((worker.job, recording))
        finally:
            for worker in crew:
                _dismiss(worker)


def _estimate(counts: dict[Job, int], videos: int) -> int:
    """Frames of all videos, those not opened yet taken to be as long as the others are on average."""
    return round(sum(counts.values()) / len(counts) * videos)


def _finish_video(bar: tqdm, counts: dict[Job, int], job: Job, videos: int) -> None:
    counts.setdefault(job, 0)
    bar.total = max(bar.n, _estimate(counts, videos))
    bar.set_postfix_str(f"{len(counts)} of {videos} videos begun")


def _hire(folder: Path, settings: dict) -> Worker:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_serve, args=(theirs, folder, settings), daemon=True
    )
    process.start()
    theirs.close()
    return Worker(process, ours)


def _dismiss(worker: Worker) -> None:
    worker.pipe.close()
    worker.process.terminate()
    worker.process.join()


def _end_of(worker: Worker) -> str:
    worker.process.join()
    code = worker.process.exitcode
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    memory = "; out of memory? Try fewer --workers" if code == -signal.SIGKILL else ""
    return f"the process that read it ended with {how}{memory}"


def _serve(pipe: Connection, folder: Path, settings: dict) -> None:
    """What a worker does: take a job, leave its result, until the pipe is closed."""
    # The main process is asked to stop, and closes the pipe
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    silent = os.open(os.devnull, os.O_WRONLY)
    # MediaPipe's and FFmpeg's own messages, which would tear the progress bar
    for stream in (1, 2):
        os.dup2(silent, stream)
    try:
        tracker = Tracker(settings["extractor"]["model_complexity"])
    except ImportError as error:
        pipe.send(("unusable", missing_library(error)))
        return
    pipe.send(("ready", None))
    try:
        while True:
            job, recording = pipe.recv()
            try:
                _extract_one(folder, job, recording, settings, tracker, pipe)
            except TooLong as error:
                _give_up(folder, job, str(error), left_out=True)
            except (DataError, OSError) as error:
                _give_up(folder, job, f"{recording.path}: {error}")
            pipe.send(("ready", None))
    except (EOFError, ConnectionError):
        return  # nobody is there any more


def _extract_one(
    folder: Path,
    job: Job,
    recording: RecordingFile,
    settings: dict,
    tracker: "Tracker",
    pipe: Connection,
) -> None:
    longest = settings["max_frames"]
    state = signature(recording)
    opened = open_video_frames(recording)
    pipe.send(("opened", opened.expected))
    tracker.reset()
    landmarks, detected, unsaid, shape = [], [], 0, (0, 0, 0)
    for frame in opened.frames:
        if longest is not None and max(opened.expected, len(landmarks) + 1) > longest:
            raise TooLong(f"longer than --max_frames {longest}")
        points, parts = tracker.track(frame)
        landmarks.append(points.astype("<f2"))
        detected.append(parts)
        unsaid, shape = unsaid + 1, frame.shape
        if unsaid == REPORT_EVERY:
            pipe.send(("frames", unsaid))
            unsaid = 0
    pipe.send(("frames", unsaid))
    stacked = np.stack(detected)
    facts = {
        "frames": len(landmarks),
        "width": shape[1],
        "height": shape[0],
        "fps": round(opened.fps or settings["frame_folder_fps"], 3),
        "fps_is_known": opened.fps is not None,
        "is_video": recording.is_video,
        "hands": int(stacked[:, 2:].any(axis=1).sum()),
        "signature": state,
    }
    _write_result(folder / f"{job.file}.npz", np.stack(landmarks), stacked, facts)
    (folder / f"{job.file}.failed").unlink(missing_ok=True)
