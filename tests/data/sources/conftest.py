"""Recordings, landmark files, annotations and working folders that these tests share."""

import contextlib
import io
import multiprocessing
import signal
import threading
import tracemalloc
from multiprocessing import Pipe, forkserver
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from data.sources import extraction, extraction_workers
from data.sources.extraction import extract
from data.sources.extraction_folder import (
    Job,
    prepare_folder,
    record_failure,
    result_name,
    write_result,
)
from data.sources.landmark_import import import_landmark_files
from data.sources.video_files import signature
from tests.conftest import ROOT
from tests.data.signers import standing_signer
from tests.mediapipe_support import why_no_tracking

ANNOTATIONS = {
    "train": [
        "first|first.mp4|anna|loc-SUN SUN",
        "second|frames/second/1/*.png|ben|RAIN",
        "gone|gone.mp4|anna|WIND",
    ],
    "dev": [
        "third|third.avi|anna|loc-SUN",
        "broken|broken.mp4|anna|SUN",
        "empty|empty.mp4|anna|RAIN",
    ],
}
MAX_BYTES = 20 << 20  # memory that a refusal may need


@pytest.fixture(scope="session")
def cv2():
    """OpenCV; skips the test when MediaPipe cannot track."""
    if (reason := why_no_tracking()) is not None:
        pytest.skip(reason)
    import cv2

    return cv2


@pytest.fixture(scope="session", autouse=True)
def mediapipe_imported_once():
    """Workers of extractions in this process are forks of one process that has imported MediaPipe.
    (A script that a test starts has workers as users have them.)"""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mediapipe", "data.sources.extraction_workers"])

    def from_the_root(_: str):
        with contextlib.chdir(ROOT):  # a folder of a test may have a `data` of its own
            forkserver.ensure_running()
        return context

    with pytest.MonkeyPatch.context() as patch:
        forking = SimpleNamespace(get_context=from_the_root, Pipe=multiprocessing.Pipe)
        patch.setattr(extraction_workers, "multiprocessing", forking)
        yield


def panned(number: int, start: int = 0) -> np.ndarray:
    """A frame of scikit-image's astronaut, 400x512, in the order blue, green, red. Each frame is 5
    pixels further right."""
    from skimage.data import astronaut

    left = start + 5 * number
    return np.ascontiguousarray(astronaut()[:, left : left + 400, ::-1])


def annotate(folder: Path, tables: dict[str, list[str]]) -> Path:
    """Write the annotation file of each split."""
    folder.mkdir()
    for split, rows in tables.items():
        (folder / f"{split}.csv").write_text(
            "\n".join(["id|video|signer|annotation", *rows]) + "\n"
        )
    return folder


def write_video(cv2, path: Path, frames: list[np.ndarray], code: str) -> None:
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*code), 30, (width, height))
    assert writer.isOpened()
    for frame in frames:
        writer.write(frame)
    writer.release()


@pytest.fixture(scope="session")
def recordings(cv2, tmp_path_factory) -> Path:
    """A folder with annotations/ and input/: two videos, a folder of frames, two broken videos and
    one without an annotation."""
    root = tmp_path_factory.mktemp("recordings")
    source = root / "input"
    (source / "frames/second/1").mkdir(parents=True)
    write_video(cv2, source / "first.mp4", [panned(number) for number in range(7)], "mp4v")
    write_video(
        cv2, source / "third.avi", [panned(number, 40)[:400] for number in range(5)], "MJPG"
    )
    for number in range(4):
        cv2.imwrite(str(source / f"frames/second/1/images{number + 1:04d}.png"), panned(number, 20))
    (source / "broken.mp4").write_bytes((source / "first.mp4").read_bytes()[:2000])
    (source / "empty.mp4").write_bytes(b"")
    (source / "stray.mp4").write_bytes(b"x")
    annotate(root / "annotations", ANNOTATIONS)
    return root


@pytest.fixture(scope="session")
def extracted(recordings):
    """(the corpus of the recordings, extracted by one worker; its report)."""
    report = extract(
        recordings / "input",
        recordings / "annotations",
        recordings / "one",
        workers=1,
        normalize="phoenix2014",
    )
    return recordings / "one", report


def working_folder(folder: Path, sentences: dict[str, dict | str | None], **settings) -> Path:
    """A working folder as a run leaves it: for each id the facts of its result, the reason of its
    failure, or nothing."""
    folder.mkdir()
    jobs = [Job("train", id, "anna", "SUN RAIN", result_name("train", id)) for id in sentences]
    settings = {"extractor": {"mediapipe": "0.10.14"}, **settings}
    prepare_folder(folder, folder, settings, jobs)
    for job in jobs:
        outcome = sentences[job.id]
        if isinstance(outcome, str):
            record_failure(folder, job, outcome)
        elif outcome is not None:
            facts = {
                "frames": 2,
                "width": 300,
                "height": 400,
                "fps": 25.0,
                "hands": 2,
                "is_video": True,
            }
            facts |= {"fps_is_known": True, "even": True, **outcome}
            times = np.arange(facts["frames"]) / facts["fps"]
            landmarks = np.full((facts["frames"], 543, 3), 0.25, "<f2")
            detected = np.ones((facts["frames"], 4), bool)
            write_result(folder / f"{job.file}.npz", times, landmarks, detected, facts)
    return folder


@pytest.fixture
def fake_workers(monkeypatch):
    """Threads instead of worker processes. A video has one frame per byte; a video that begins with
    "kill" ends its worker.

    `started`: number of workers; `extracted`: ids of the extracted videos.
    """
    state = SimpleNamespace(started=0, extracted=[])

    def run(pipe, folder):
        pipe.send(("ready", None))
        while True:
            try:
                job, recording = pipe.recv()
            except EOFError:
                return
            content = recording.path.read_bytes()
            if content.startswith(b"kill"):
                pipe.close()
                return
            state.extracted.append(job.id)
            facts = {
                "frames": len(content),
                "width": 3,
                "height": 4,
                "fps": 25.0,
                "fps_is_known": True,
                "even": True,
                "hands": 9,
            }
            facts |= {"is_video": True, "signature": signature(recording)}
            times = np.arange(len(content)) / 25
            landmarks = np.zeros((len(content), 543, 3), "<f2")
            detected = np.ones((len(content), 4), bool)
            write_result(folder / f"{job.file}.npz", times, landmarks, detected, facts)
            pipe.send(("ready", None))

    def start(folder, settings, model):
        state.started += 1
        ours, theirs = Pipe()
        thread = threading.Thread(target=run, args=(theirs, folder), daemon=True)
        thread.start()
        process = SimpleNamespace(
            join=thread.join, terminate=lambda: None, exitcode=-signal.SIGKILL
        )
        return extraction_workers.Worker(process, ours)

    monkeypatch.setattr(extraction_workers, "_start_worker", start)
    # These workers need no MediaPipe
    monkeypatch.setattr(extraction, "extractor_facts", lambda *_: {"name": "none"})
    return state


def three_videos(folder: Path) -> tuple[Path, Path]:
    """Folders of the videos and annotations of a, b and c; c has no video."""
    (folder / "input").mkdir()
    for id in "ab":
        (folder / f"input/{id}.mp4").write_bytes(b"12")
    return folder / "input", annotate(
        folder / "annotations", {"train": [f"{id}|{id}.mp4|anna|SUN" for id in "abc"]}
    )


@pytest.fixture
def features(tmp_path):
    """The folders of landmark files and annotations of three sentences."""
    rows = {
        "train": [("s1", "anna", "HELLO  WORLD", 6), ("s2", "ben", "WORLD", 4)],
        "dev": [("d1", "anna", "HELLO", 5)],
    }
    (tmp_path / "csv").mkdir()
    for split, sentences in rows.items():
        (tmp_path / "npy" / split).mkdir(parents=True)
        lines = ["id|folder|signer|annotation"]
        for id, signer, annotation, frames in sentences:
            np.save(
                tmp_path / "npy" / split / f"{id}.npy",
                standing_signer(frames).reshape(frames, 1629),
            )
            lines.append(f"{id}|{id}/*.png|{signer}|{annotation}")
        (tmp_path / "csv" / f"{split}.corpus.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "npy", tmp_path / "csv"


@pytest.fixture
def four_sentences(tmp_path) -> tuple[Path, Path]:
    """Landmark files and annotations of three train sentences and one dev sentence."""
    features, annotations = tmp_path / "features", tmp_path / "annotations"
    for split, ids in (("train", ("s1", "s2", "s3")), ("dev", ("d1",))):
        (features / split).mkdir(parents=True)
        annotations.mkdir(exist_ok=True)
        for number, id in enumerate(ids):
            np.save(features / split / f"{id}.npy", standing_signer(4, number))
        rows = "".join(f"{id}||anna|A B\n" for id in ids)
        (annotations / f"{split}.csv").write_text(f"id|video|signer|annotation\n{rows}")
    return features, annotations


def import_npy(features: Path, annotations: Path, output: Path) -> None:
    import_landmark_files(features, annotations, output, format="npy")


@pytest.fixture
def bounded():
    """Fails the test when it allocates more than MAX_BYTES at a time."""
    tracemalloc.start()
    yield
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < MAX_BYTES, f"{peak / 2**20:.0f} MiB were allocated"


def npy_bytes(shape: tuple[int, ...], values: bytes = b"") -> bytes:
    """An .npy file of float32 that declares a shape, with other content."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "<f4", "fortran_order": False, "shape": shape}
    )
    return buffer.getvalue() + values
