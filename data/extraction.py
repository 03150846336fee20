"""Videos and folders of frames with annotations → a corpus folder, by MediaPipe Holistic.

Every video is a job of its own: a worker process reads its frames, tracks them from a reset state, and leaves the result
as a small file in `<output>.extracting/`, written whole or not at all. At the end these files are put together in the
order of the annotations. The corpus therefore does not depend on how many workers there were or which was faster, and a
run that was killed goes on with the videos that have no file yet. Shards (RANK, WORLD_SIZE) leave their files the same
way, and `merge_shards` puts them together.

MediaPipe and OpenCV are imported in the workers only.
"""

import contextlib
import importlib.metadata
import importlib.util
import json
import multiprocessing
import os
import platform
import shutil
import signal
import sys
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from multiprocessing.connection import Connection, wait
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data.corpus import CorpusWriter, check_field, check_output
from data.footage import SHOWN, Footage, find_footage, match_footage, open_footage, signature
from data.landmarks import NUM_COORDINATES, NUM_LANDMARKS, PART_SLICES, PARTS
from data.npz import read_npz
from data.transcripts import SPLITS, clean_train, read_splits
from errors import DataError, UsageError

MODELS = ("pose_landmark_lite.tflite", "pose_landmark_full.tflite", "pose_landmark_heavy.tflite")  # by complexity
FEW_HANDS = 0.5  # a video with hands in fewer of its frames is worth a look
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
REPORT_EVERY = 8  # frames between a worker's reports


class TooLong(Exception):  # noqa: N818
    """A video that is left out because of --max_frames."""


@dataclass(frozen=True)
class Job:
    """One sentence of the plan: `file` is the name its result gets in the working folder, without suffix."""

    split: str
    id: str
    signer: str
    annotation: str
    file: str

    def __str__(self) -> str:
        return f"{self.split} {self.id!r}"


@dataclass
class ExtractionReport:
    """What came of an extraction or a merge; `failed` has a reason for every sentence that is not in the corpus."""

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
    """Write the corpus `output` from the footage in `source` with the annotations of any format of data/transcripts.py.

    workers: processes (default: one a CPU core). max_frames: longer videos are left out, since their annotation would not
    fit a part of them. normalize: 'phoenix2014' cleans the train annotations. fps: of folders of frames, which do not say.
    rank, world_size: this process takes every world_size-th sentence and leaves the working folder for `merge_shards`.

    A corpus has one aspect ratio and one frame rate, those of most of its sentences. Videos of another shape get their x
    and z in that ratio's image width, so that shapes are the same once the aspect is corrected; a frame rate is kept.
    Videos that fail are in the report with the reason, and the rest becomes the corpus.
    Raises DataError when nothing can be extracted, UsageError when `output` exists or does not fit what was begun.
    """
    check_output(output)
    splits = read_splits(annotations)
    if normalize == "phoenix2014":
        clean_train(splits, annotations)
    footage = find_footage(source)
    matched, unused = match_footage(splits, footage)
    jobs = [
        Job(split, sentence.id, sentence.signer, " ".join(sentence.glosses), _file_of(split, sentence.id))
        for split, sentences in splits.items()
        for sentence in sentences
    ]
    for job in jobs:
        for name in ("id", "signer", "annotation"):
            check_field(name, getattr(job, name), f"{job.split} sentence {job.id!r} in {annotations}")
    if not matched:
        raise DataError(
            f"none of {len(footage)} recordings in {source} belongs to one of {len(jobs)} sentences of {annotations}: "
            f"found {footage[0].path.relative_to(source)}, expected for example {_expected(splits)}"
        )
    settings = {
        "extractor": extractor(model_complexity),
        "normalize": normalize,
        "max_frames": max_frames,
        "frame_folder_fps": fps,
    }
    folder = output.with_name(output.name + ".extracting")
    _begin(folder, source, settings, jobs)
    mine = jobs[rank::world_size]
    todo = {job: matched[job.split, job.id] for job in mine if (job.split, job.id) in matched}
    waiting = {job: recording for job, recording in todo.items() if not _is_finished(folder, job, recording)}
    if len(waiting) < len(todo):
        print(
            f"{len(todo) - len(waiting)} of {len(todo)} videos were finished by a run before this one", file=sys.stderr
        )
    try:
        for job in mine:
            if job not in todo:
                _give_up(folder, job, f"has no footage: no video or folder of that name in {source}")
            elif job in waiting:
                (folder / f"{job.file}.npz").unlink(missing_ok=True)  # damaged, or of footage that was replaced
        _work(folder, waiting, settings, workers, progress)
    except OSError as error:
        raise DataError(f"cannot write to {folder}: {error.strerror}; finished videos are kept") from None
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
        report.warnings.append(f"{len(unused)} recordings have no annotation and were left out: {names}{more}")
    return report


def merge_shards(folders: list[Path], output: Path) -> ExtractionReport:
    """Write the corpus `output` from the working folders that the shards of one extraction left.

    The result is that of one extraction without shards. Raises DataError when a folder is none, when they were made
    from other annotations, settings or versions of the extractor, or when sentences have not been extracted yet.
    """
    check_output(output)
    return _assemble(folders, output)


def extractor(model_complexity: int) -> dict:
    """Name, version and setting of the extractor, as corpus.json has it. Raises DataError where it cannot be used."""
    try:
        versions = {name: importlib.metadata.version(name) for name in ("mediapipe", "opencv-contrib-python")}
    except importlib.metadata.PackageNotFoundError as error:
        raise DataError(f"the package {error.name} is not installed: pip install -r requirements.txt") from None
    package = Path(importlib.util.find_spec("mediapipe").origin).parent
    model = package / "modules" / "pose_landmark" / MODELS[model_complexity]
    if not model.is_file():
        raise DataError(
            f"--model_complexity {model_complexity} needs {model}, which the mediapipe package does not bring and which is "
            "not downloaded here: put it there, or use --model_complexity 1"
        )
    return {"name": "MediaPipe Holistic", "model_complexity": model_complexity, **versions}


def _expected(splits: dict) -> str:
    first = next(iter(splits.values()))[0]
    return first.footage or f"{first.id}.mp4 or a folder {first.id}"


def _file_of(split: str, id: str) -> str:
    return sha256(f"{split}|{id}".encode()).hexdigest()[:32]


# ------------------------------------------------------------------------------------------------- the working folder


def _begin(folder: Path, source: Path, settings: dict, jobs: list[Job]) -> None:
    """Make the working folder, or see that it was begun with the same settings. Its plan is that of this run."""
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
        raise DataError(f"{folder} has no plan.json: expected a folder <output>.extracting that extract made") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{folder / 'plan.json'} cannot be read ({error!r}): remove {folder} and extract again"
        ) from None


def _partial(path: Path) -> Path:
    """What a file is called while this process writes it: no other process has that name, here or on another machine."""
    return path.with_name(f"{path.name}.{platform.node()}.{os.getpid()}.partial")


def _write_whole(path: Path, content: bytes) -> None:
    """Write a file that is there with all of its content or not at all, also when the machine stops."""
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
    _write_whole(folder / f"{job.file}.failed", json.dumps({"reason": reason, "left_out": left_out}).encode())


def _read_facts(path: Path) -> dict | None:
    """Facts of a finished video; None when there is no such file or it is damaged."""
    try:
        facts = json.loads(str(read_npz(path, ("facts",))["facts"]))
        plausible = {name: type(facts[name]) for name in _FACTS} == _FACTS
        return facts if plausible and min(facts["frames"], facts["width"], facts["height"]) > 0 else None
    except (DataError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _is_finished(folder: Path, job: Job, recording: Footage) -> bool:
    facts = _read_facts(folder / f"{job.file}.npz")
    return facts is not None and facts.get("signature") == signature(recording)


# -------------------------------------------------------------------------------------------------------- the workers


@dataclass
class Worker:
    """A worker process, our end of the pipe to it, and what it works on."""

    process: multiprocessing.Process
    pipe: Connection
    job: Job | None = None
    ready: bool = False


def _work(folder: Path, waiting: dict[Job, Footage], settings: dict, workers: int | None, progress: bool) -> None:
    """Have every waiting video leave its result or its `.failed` in the folder."""
    if not waiting:
        return
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = workers or max(1, available // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    queue = deque(waiting.items())
    crew = [_hire(folder, settings) for _ in range(min(count, len(waiting)))]
    counts: dict[Job, int] = {}  # frames of the videos opened so far
    with tqdm(desc="extract", unit="frame", unit_scale=True, disable=None if progress else True) as bar:
        try:
            while crew:
                for pipe in wait([worker.pipe for worker in crew]):
                    worker = next(worker for worker in crew if worker.pipe is pipe)
                    try:
                        kind, value = pipe.recv()
                    except (EOFError, ConnectionError):  # it died: of the video, or because memory ran out
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
                        with contextlib.suppress(ConnectionError):  # it died just now: the next recv says so
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
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs, folder, settings), daemon=True)
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
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process is asked to stop, and closes the pipe
    silent = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # MediaPipe's and FFmpeg's own messages, which would tear the progress bar
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


def missing_library(error: ImportError) -> str:
    """One line about a package that cannot be imported."""
    library = str(error).split(":")[0]
    if ".so" in library:
        return (
            f"OpenCV or MediaPipe needs the system library {library}: install it, on Debian and Ubuntu with "
            "apt-get install libgl1 libglib2.0-0"
        )
    return f"OpenCV or MediaPipe cannot be imported ({error}): pip install -r requirements.txt"


def _extract_one(
    folder: Path, job: Job, recording: Footage, settings: dict, tracker: "Tracker", pipe: Connection
) -> None:
    longest = settings["max_frames"]
    state = signature(recording)
    opened = open_footage(recording)
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


class Tracker:
    """MediaPipe Holistic for one video after the other. Raises ImportError where a library is missing."""

    def __init__(self, model_complexity: int = 1):
        os.environ.setdefault("GLOG_minloglevel", "2")
        import cv2
        import mediapipe

        cv2.setNumThreads(1)  # the processes share the cores among them
        self._to_rgb = lambda frame: cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        self._holistic = mediapipe.solutions.holistic.Holistic(
            static_image_mode=False, model_complexity=model_complexity, refine_face_landmarks=False
        )

    def reset(self) -> None:
        """Forget the video before: what is tracked must not depend on it."""
        self._holistic.reset()

    def track(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Landmarks float32 (543, 3) and detected bool (4,) of the next frame, uint8 (H, W, 3) blue, green, red.

        Left and right hand are the signer's, as MediaPipe names them; the face is the mesh's first 468 points.
        """
        found = self._holistic.process(self._to_rgb(frame))
        landmarks = np.zeros((NUM_LANDMARKS, NUM_COORDINATES), np.float32)
        detected = np.zeros(len(PARTS), bool)
        for column, part in enumerate(PARTS):
            points = getattr(found, f"{part}_landmarks")
            if points is not None:
                place = PART_SLICES[part]
                values = [(point.x, point.y, point.z) for point in points.landmark[: place.stop - place.start]]
                landmarks[place], detected[column] = values, True
        return landmarks, detected


# ----------------------------------------------------------------------------------------------- putting it together


def _report(folders: list[Path], jobs: list[Job]) -> ExtractionReport:
    """Counts, failures and warnings of the given sentences. Raises DataError when one has neither result nor failure."""
    report, open_jobs = ExtractionReport(), []
    for job, path, facts in _results(folders, jobs):
        if facts is not None:
            report.sentences += 1
            report.frames += facts["frames"]
            if facts["hands"] < FEW_HANDS * facts["frames"]:
                share = facts["hands"] / facts["frames"]
                report.warnings.append(f"{job}: hands are found in only {100 * share:.0f} % of its frames")
            if facts["is_video"] and not facts["fps_is_known"]:
                report.warnings.append(f"{job}: the video does not tell its frame rate, {facts['fps']:g} is assumed")
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


def _results(folders: list[Path], jobs: list[Job]) -> Iterator[tuple[Job, Path | None, dict | None]]:
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
    results = [(job, path, facts) for job, path, facts in _results(folders, plan["jobs"]) if facts is not None]
    if not results:
        first = [*(f"{job}: {reason}" for job, reason in report.failed.items()), *report.warnings][0]
        raise DataError(f"none of {len(plan['jobs'])} sentences could be extracted, first {first}")
    rates = Counter(facts["fps"] for _, _, facts in results)
    shapes = Counter(facts["width"] / facts["height"] for _, _, facts in results)
    fps, ratio = commonest(rates), commonest(shapes)
    if len(rates) > 1:
        report.warnings.append(f"frame rates differ ({_shares(rates)}): the corpus says {fps:g}, no video is resampled")
    if len(shapes) > 1:
        report.warnings.append(
            f"image shapes differ (width/height {_shares(shapes)}): the corpus says {ratio:.4g}, x and z of the others "
            "are given in images of that shape"
        )
    settings = plan["settings"]
    made_by = {"command": "extract", "input": plan["input"], **settings}
    with CorpusWriter(output, name=output.name, fps=fps, aspect_ratio=ratio, made_by=made_by) as writer:
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


def to_aspect_ratio(landmarks: np.ndarray, ratio: float, wanted: float) -> np.ndarray:
    """Landmarks (T, 543, 3) of an image of width/height `ratio` as fractions of one of the same height and `wanted`.

    The picture stands in the middle of the other; shapes are the same once x and z are multiplied by their ratio.
    """
    if ratio == wanted:
        return landmarks
    turned = landmarks.astype(np.float32)
    turned[..., 0] = 0.5 + (turned[..., 0] - 0.5) * (ratio / wanted)
    turned[..., 2] *= ratio / wanted
    return turned


def commonest(counter: Counter) -> float:
    """The commonest; of equally common ones the smallest."""
    return min(counter, key=lambda value: (-counter[value], value))


def _shares(counter: Counter) -> str:
    return ", ".join(f"{value:.4g} in {counter[value]}" for value in sorted(counter))


def shard_of(environment: Mapping[str, str]) -> tuple[int, int]:
    """RANK and WORLD_SIZE as torchrun sets them or a job array can; (0, 1) without. Raises UsageError."""
    rank, world = environment.get("RANK"), environment.get("WORLD_SIZE")
    if rank is None and world is None:
        return 0, 1
    if not (rank and world and rank.isdecimal() and world.isdecimal() and int(rank) < int(world)):
        raise UsageError(
            f"RANK is {rank!r} and WORLD_SIZE {world!r} in the environment: expected whole numbers, RANK from 0 to "
            "WORLD_SIZE - 1; unset both to extract everything here"
        )
    return int(rank), int(world)
