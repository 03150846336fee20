"""The trackers: which MediaPipe and which model file can be used, and HolisticLandmarker."""

import os
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from data.landmarks import PART_SLICES
from data.sources import trackers
from data.sources.extraction import merge_shards
from data.sources.extraction_workers import extract_recordings
from data.sources.holistic_task import TaskTracker
from data.sources.trackers import TASK_FILES, extractor_facts, open_tracker
from errors import DataError
from tests.data.sources.conftest import panned, working_folder

FRAME = np.zeros((6, 8, 3), np.uint8)


@pytest.fixture
def task_file(tmp_path) -> Path:
    path = tmp_path / "holistic.task"
    with zipfile.ZipFile(path, "w") as archive:
        for name in TASK_FILES:
            archive.writestr(name, name)
    return path


@pytest.fixture
def versions(monkeypatch):
    """versions["mediapipe"] is the version that seems to be installed."""
    found = {"mediapipe": "1.2.3", "opencv-contrib-python": "5.0.0.93"}
    monkeypatch.setattr(trackers.importlib.metadata, "version", found.__getitem__)
    return found


def test_the_facts_of_a_model_file_are_its_hash_and_not_its_name(task_file, versions):
    facts = extractor_facts(model=task_file)
    assert facts["name"] == "MediaPipe HolisticLandmarker" and facts["mediapipe"] == "1.2.3"
    assert len(facts["model_sha256"]) == 64 and "model_complexity" not in facts
    renamed = task_file.rename(task_file.with_name("other.task"))
    assert extractor_facts(model=renamed) == facts
    with zipfile.ZipFile(renamed, "a") as archive:
        archive.writestr("face_blendshapes.tflite", "more")
    assert extractor_facts(model=renamed)["model_sha256"] != facts["model_sha256"]


def test_an_old_mediapipe_with_a_model_file_is_refused(task_file, versions):
    versions["mediapipe"] = "0.10.14"
    with pytest.raises(DataError, match=r"needs MediaPipe 1\.x, and 0\.10\.14 is installed"):
        extractor_facts(model=task_file)


def test_a_mediapipe_without_models_asks_for_a_model_file(versions, monkeypatch, tmp_path):
    package = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda _: package)
    with pytest.raises(DataError, match=r"MediaPipe 1\.2\.3 has no models of its own: .*--model"):
        extractor_facts()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "there is no such file"),
        ("text", "a zip archive not found; expected a model file"),
        (["pose_detector.tflite"], "face_detector.tflite, .* not found; expected a model file"),
    ],
)
def test_a_file_that_is_no_model_file_is_refused(content, expected, versions, tmp_path):
    path = tmp_path / "some.task"
    if isinstance(content, str):
        path.write_text(content)
    elif content is not None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(content[0], "x")
    with pytest.raises(DataError, match=rf"--model .*some\.task: {expected}"):
        extractor_facts(model=path)


def test_shards_of_two_extractors_are_not_merged(tmp_path):
    facts = ({"name": "MediaPipe Holistic"}, {"name": "MediaPipe HolisticLandmarker"})
    shards = [
        working_folder(tmp_path / str(number), {"a": {}}, extractor=extractor)
        for number, extractor in enumerate(facts)
    ]
    with pytest.raises(DataError, match=r"different settings or extractor.*cannot be one corpus"):
        merge_shards(shards, tmp_path / "out")


# ---- the task, with a MediaPipe made for these tests ----


class Landmarker:
    """Finds pose and face, whose coordinates are the number of the frame; never a hand."""

    def __init__(self, log: list[str]):
        self.log = log
        log.append("opened")

    def detect_for_video(self, picture, milliseconds):
        self.log.append(f"{milliseconds} ms")
        if picture.data.max() == 255:
            raise RuntimeError("CalculatorGraph::Run() failed:\nthe model is not right")
        value = float(len(self.log))
        point = SimpleNamespace(x=value, y=value, z=value)
        return SimpleNamespace(
            pose_landmarks=[point] * 33,
            face_landmarks=[point] * 478,
            left_hand_landmarks=[],
            right_hand_landmarks=None,
        )

    def close(self):
        self.log.append("closed")


@pytest.fixture
def log(monkeypatch) -> list[str]:
    """What the tracker asks of MediaPipe."""
    pytest.importorskip("cv2")
    log: list[str] = []

    def create(options):
        if options.base_options.model_asset_path == "bad.task":
            raise ValueError("no such model")
        return Landmarker(log)

    vision = SimpleNamespace(
        HolisticLandmarkerOptions=SimpleNamespace,
        RunningMode=SimpleNamespace(VIDEO="video"),
        HolisticLandmarker=SimpleNamespace(create_from_options=create),
    )
    mediapipe = SimpleNamespace(
        tasks=SimpleNamespace(vision=vision, BaseOptions=SimpleNamespace),
        Image=SimpleNamespace,
        ImageFormat=SimpleNamespace(SRGB=1),
    )
    monkeypatch.setitem(__import__("sys").modules, "mediapipe", mediapipe)
    return log


def test_each_video_starts_anew_at_time_zero(log):
    tracker = open_tracker(Path("holistic.task"))
    assert isinstance(tracker, TaskTracker)
    tracker.reset()  # nothing was tracked yet
    for _ in range(3):
        tracker.track(FRAME)
    tracker.reset()
    tracker.track(FRAME)
    assert log == ["opened", "0 ms", "33 ms", "67 ms", "closed", "opened", "0 ms"]


def test_the_face_has_468_points_and_missing_parts_are_zero(log):
    landmarks, detected = open_tracker(Path("holistic.task")).track(FRAME)
    assert detected.tolist() == [True, True, False, False]
    assert landmarks.shape == (543, 3) and landmarks.dtype == np.float32
    assert (landmarks[: PART_SLICES["left_hand"].start] == 2).all()
    assert (landmarks[PART_SLICES["left_hand"].start :] == 0).all()


def test_a_model_that_mediapipe_cannot_use_is_one_line(log):
    with pytest.raises(DataError, match=r"cannot track with --model bad\.task \(no such model\)"):
        open_tracker(Path("bad.task"))
    tracker = open_tracker(Path("holistic.task"))
    with pytest.raises(DataError, match=r"holistic\.task \(the model is not right\)$"):
        tracker.track(FRAME + 255)


# ---- the task, with MediaPipe 1.x and a real model file ----


def test_a_real_model_file_finds_the_nose_of_the_astronaut():
    """HOLISTIC_TASK in the environment names the file, such as one of
    benchmarks/landmarks/parity.py --pack."""
    file = os.environ.get("HOLISTIC_TASK")
    if file is None:
        pytest.skip("no model file of HolisticLandmarker: set HOLISTIC_TASK")
    tracker = open_tracker(Path(file))
    runs = []
    for _ in range(2):
        tracker.reset()
        runs.append([tracker.track(panned(number)) for number in range(3)])
    for number, (first, second) in enumerate(zip(*runs, strict=True)):
        np.testing.assert_array_equal(first[0], second[0])
        landmarks, detected = first
        assert detected.tolist() == [True, True, False, False]
        np.testing.assert_allclose(landmarks[33 + 1, 0] * 400, 222 - 5 * number, atol=4)
        np.testing.assert_allclose(landmarks[33 + 1, 1] * 512, 131, atol=4)


def test_workers_report_a_model_file_that_cannot_be_used(tmp_path, monkeypatch):
    """A real worker process: this model file is empty."""
    pytest.importorskip("mediapipe")
    from data.sources.extraction_folder import Job
    from data.sources.video_files import RecordingFile

    recording = RecordingFile(tmp_path / "a.mp4", ("a",))
    (tmp_path / "empty.task").write_bytes(b"")
    job = Job("train", "a", "anna", "SUN", "file")
    with pytest.raises(DataError, match=r"cannot track with --model|no attribute"):
        extract_recordings(
            tmp_path,
            {job: recording},
            {"extractor": {}, "fps": None, "max_frames": None},
            1,
            False,
            tmp_path / "empty.task",
        )
