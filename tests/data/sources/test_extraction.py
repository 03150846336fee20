"""Extraction: real footage through MediaPipe, and what becomes of results, failures and shards
without it."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from multiprocessing import Pipe
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from data.corpus import Corpus
from data.sources import extraction, extraction_folder, extraction_workers, holistic
from data.sources.extraction import extract, merge_shards, shard_of
from data.sources.recording_facts import commonest, to_aspect_ratio
from data.sources.video_files import RecordingFile, open_video_frames, signature
from errors import DataError, UsageError

ROOT = Path(extraction.__file__).parents[2]
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
FRAMES = {"first": 7, "second": 4, "third": 5}


@pytest.fixture(scope="session")
def cv2():
    """OpenCV, where its system libraries are."""
    try:
        import cv2
        import mediapipe  # noqa: F401
    except ImportError as error:
        pytest.skip(holistic.missing_library(error))
    return cv2


def panned(number: int, start: int = 0) -> np.ndarray:
    """A frame of scikit-image's astronaut, 400x512, seen from 5 pixels further right each time;
    blue, green, red."""
    from skimage.data import astronaut

    left = start + 5 * number
    return np.ascontiguousarray(astronaut()[:, left : left + 400, ::-1])


def annotate(folder: Path, tables: dict[str, list[str]]) -> Path:
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
def footage(cv2, tmp_path_factory) -> Path:
    """A folder with input/ (two videos, a folder of frames, three that are broken, one nobody
    annotated) and annotations/."""
    root = tmp_path_factory.mktemp("footage")
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
def extracted(footage):
    """(the corpus of the footage by one worker, its report)."""
    report = extract(
        footage / "input",
        footage / "annotations",
        footage / "one",
        workers=1,
        normalize="phoenix2014",
    )
    return footage / "one", report


def content(corpus: Path) -> dict[str, bytes]:
    """The files of a corpus; of corpus.json all but the name."""
    files = {path.name: path.read_bytes() for path in corpus.iterdir()}
    return {**files, "corpus.json": json.dumps({**json.loads(files["corpus.json"]), "name": ""})}


# --------------------------------------------------------------------------------------------------- with MediaPipe


def test_what_is_seen_is_where_it_is_in_the_picture(extracted):
    corpus = Corpus(extracted[0])
    sentences = {
        s.id: (name, i, s)
        for name, split in corpus.splits.items()
        for i, s in enumerate(split.sentences)
    }
    assert {id: sentence.frames for id, (_, _, sentence) in sentences.items()} == FRAMES
    for id, start in (("first", 0), ("second", 20)):
        name, index, _ = sentences[id]
        landmarks, detected = corpus.split(name).read(index)
        # Body and face; no hand is in the picture
        assert detected[:, :2].all() and not detected[:, 2:].any()
        # The tip of the nose, at (222, 131) of the whole picture
        tip = landmarks[:, 33 + 1].astype(float)
        expected = 222 - start - 5 * np.arange(FRAMES[id])
        np.testing.assert_allclose(tip[:, 0] * 400, expected, atol=4)
        np.testing.assert_allclose(tip[:, 1] * 512, 131, atol=4)
        # She faces us: her left shoulder is on the right
        assert (landmarks[:, 11, 0] > landmarks[:, 12, 0]).all()
        assert (landmarks[:, 501:] == 0).all()


def test_the_corpus_says_how_it_was_made(extracted):
    corpus = Corpus(extracted[0])
    assert corpus.fps == 30  # of two videos; folders of frames are taken to be 25
    assert corpus.aspect_ratio == 400 / 512
    made_by = corpus.facts["made_by"]
    assert made_by["extractor"]["name"] == "MediaPipe Holistic"
    assert made_by["extractor"]["mediapipe"] == "0.10.14"
    assert made_by["extractor"]["model_complexity"] == 1
    assert corpus.split("train").sentences[0].glosses == ("SUN",)  # cleaned
    assert corpus.split("dev").sentences[0].glosses == ("loc-SUN",)  # dev is left alone


def test_a_video_of_another_shape_keeps_its_geometry(extracted):
    corpus = Corpus(extracted[0])
    landmarks = corpus.split("dev").read(0)[0].astype(float)  # 400x400
    tip = landmarks[:, 33 + 1]
    # Once the aspect is corrected, in the height's pixels
    x = (tip[:, 0] - 0.5) * corpus.aspect_ratio * 400 + 200
    np.testing.assert_allclose(x, 182 - 5 * np.arange(5), atol=4)


def test_failures_and_what_is_left_over_are_told(extracted, footage):
    report = extracted[1]
    assert (report.sentences, report.frames, report.complete) == (3, 16, True)
    assert list(report.failed) == ["train 'gone'", "dev 'broken'", "dev 'empty'"]
    assert (
        f"no video or folder of that name in {footage / 'input'}" in report.failed["train 'gone'"]
    )
    assert "broken.mp4: cannot be opened: not a video, damaged" in report.failed["dev 'broken'"]
    assert "empty.mp4: the file is empty (0 bytes)" in report.failed["dev 'empty'"]
    warned = "\n".join(report.warnings)
    for warning in (
        "train 'first': hands are found in only 0 % of its frames",
        "1 recordings have no annotation and were left out: stray.mp4",
        "frame rates differ (25 in 1, 30 in 2): the corpus says 30",
        "image shapes differ (width/height 0.7812 in 2, 1 in 1): the corpus says 0.7812",
    ):
        assert warning in warned
    assert (footage / "one.extracting").is_dir()  # finished videos are kept for another try


def test_a_killed_run_goes_on_and_shards_merge_to_the_same_bytes(extracted, footage, tmp_path):
    command = [
        sys.executable,
        ROOT / "prepare_data.py",
        "extract",
        "--normalize",
        "phoenix2014",
        "--workers",
        "2",
    ]
    command += [
        "--input",
        footage / "input",
        "--annotations",
        footage / "annotations",
        "--output",
        tmp_path / "two",
    ]
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.DEVNULL)
    folder, deadline = tmp_path / "two.extracting", time.monotonic() + 100
    while not list(folder.glob("*.npz")) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "two").exists()
    # Two shards go on in the same folder, and each takes its own sentences only.
    finished = {path: path.stat().st_mtime_ns for path in folder.glob("*.npz")}
    assert finished
    options = {"normalize": "phoenix2014", "workers": 1, "world_size": 2}
    reports = [
        extract(footage / "input", footage / "annotations", tmp_path / "two", rank=rank, **options)
        for rank in range(2)
    ]
    assert [report.complete for report in reports] == [False, False]
    assert sum(report.sentences for report in reports) == 3
    assert sum(len(report.failed) for report in reports) == 3
    assert {path: path.stat().st_mtime_ns for path in finished} == finished  # not done again
    report = merge_shards([folder], tmp_path / "two")
    assert (report.sentences, len(report.failed)) == (3, 3)
    assert content(tmp_path / "two") == content(extracted[0])


def test_tracking_does_not_depend_on_the_video_before(cv2):
    tracker = holistic.Tracker()
    runs = []
    for _ in range(2):
        tracker.reset()
        runs.append([tracker.track(panned(number, 60)) for number in range(3)])
    for first, second in zip(*runs, strict=True):
        np.testing.assert_array_equal(first[0], second[0])
        np.testing.assert_array_equal(first[1], second[1])


def test_frames_that_change_or_end_early(cv2, tmp_path):
    for number, shape in enumerate([(8, 6), (8, 6), (6, 8)]):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.zeros((*shape, 3), np.uint8))
    with pytest.raises(DataError, match="frame 2 is 8x6 where those before it are 6x8"):
        list(open_video_frames(RecordingFile(tmp_path, ("x",))).frames)
    (tmp_path / "2.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"2\.png is not a picture that can be read"):
        list(open_video_frames(RecordingFile(tmp_path, ("x",))).frames)
    video = tmp_path / "x.avi"
    write_video(cv2, video, [panned(number) for number in range(20)], "MJPG")
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    with pytest.raises(
        DataError, match=r"ends after \d+ of 20 frames: it is damaged or was cut off"
    ):
        list(open_video_frames(RecordingFile(video, ("x",))).frames)


# ------------------------------------------------------------------------------------------------ without MediaPipe


def plan(folder: Path, sentences: dict[str, dict | str | None], **settings) -> Path:
    """A working folder as a run leaves it: of each id the facts of its result, the reason it
    failed, or nothing."""
    folder.mkdir()
    jobs = [
        extraction_folder.Job(
            "train", id, "anna", "SUN RAIN", extraction_folder._file_of("train", id)
        )
        for id in sentences
    ]
    settings = {"extractor": {"mediapipe": "0.10.14"}, **settings}
    extraction_folder._begin(folder, folder, settings, jobs)
    for job in jobs:
        outcome = sentences[job.id]
        if isinstance(outcome, str):
            extraction_folder._give_up(folder, job, outcome)
        elif outcome is not None:
            facts = {
                "frames": 2,
                "width": 300,
                "height": 400,
                "fps": 25.0,
                "hands": 2,
                "is_video": True,
            }
            facts |= {"fps_is_known": True, **outcome}
            landmarks = np.full((facts["frames"], 543, 3), 0.25, "<f2")
            detected = np.ones((facts["frames"], 4), bool)
            extraction_folder._write_result(folder / f"{job.file}.npz", landmarks, detected, facts)
    return folder


@pytest.fixture
def crew(monkeypatch):
    """Threads instead of worker processes: a video's frames are its bytes. `hired` are they,
    `served` the videos they did.

    A video that begins with "kill" is the end of its worker.
    """
    crew = SimpleNamespace(hired=0, served=[])

    def serve(pipe, folder):
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
            crew.served.append(job.id)
            facts = {
                "frames": len(content),
                "width": 3,
                "height": 4,
                "fps": 25.0,
                "fps_is_known": True,
                "hands": 9,
            }
            facts |= {"is_video": True, "signature": signature(recording)}
            landmarks, detected = (
                np.zeros((len(content), 543, 3), "<f2"),
                np.ones((len(content), 4), bool),
            )
            extraction_folder._write_result(folder / f"{job.file}.npz", landmarks, detected, facts)
            pipe.send(("ready", None))

    def hire(folder, settings):
        crew.hired += 1
        ours, theirs = Pipe()
        thread = threading.Thread(target=serve, args=(theirs, folder), daemon=True)
        thread.start()
        process = SimpleNamespace(
            join=thread.join, terminate=lambda: None, exitcode=-signal.SIGKILL
        )
        return extraction_workers.Worker(process, ours)

    monkeypatch.setattr(extraction_workers, "_hire", hire)
    return crew


def three_videos(folder: Path) -> tuple[Path, Path]:
    """Folders of the videos and annotations of a, b and c; c has no video."""
    (folder / "input").mkdir()
    for id in "ab":
        (folder / f"input/{id}.mp4").write_bytes(b"12")
    return folder / "input", annotate(
        folder / "annotations", {"train": [f"{id}|{id}.mp4|anna|SUN" for id in "abc"]}
    )


def test_only_footage_that_was_replaced_is_extracted_again(tmp_path, crew):
    places = three_videos(tmp_path)
    extract(*places, tmp_path / "out", workers=1)
    assert crew.served == ["a", "b"]
    # Another length, then another time of change alone
    for number, content in enumerate((b"123", b"456")):
        path = tmp_path / "input/b.mp4"
        path.write_bytes(content)
        os.utime(path, ns=(number, number))
        shutil.rmtree(tmp_path / "out")
        extract(*places, tmp_path / "out", workers=1)
        assert crew.served == ["a", "b"] + ["b"] * (number + 1)
        assert [s.frames for s in Corpus(tmp_path / "out").split("train").sentences] == [2, 3]


@pytest.mark.parametrize(("deadly", "hired"), [("a", 2), ("b", 1)])
def test_a_worker_is_replaced_only_while_videos_wait(tmp_path, crew, deadly, hired):
    places = three_videos(tmp_path)
    (places[0] / f"{deadly}.mp4").write_bytes(b"kill")
    report = extract(*places, tmp_path / "out", workers=1)
    assert crew.hired == hired
    assert list(report.failed) == [f"train '{deadly}'", "train 'c'"]
    assert report.sentences == 1


def test_a_full_disk_is_one_line(tmp_path, crew, monkeypatch):
    def full(path, content):
        if path.suffix == ".failed":
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, content)

    write = extraction_folder._write_whole
    monkeypatch.setattr(extraction_folder, "_write_whole", full)
    with pytest.raises(
        DataError,
        match=r"cannot write to .*out\.extracting: No space left on device; finished videos",
    ):
        extract(*three_videos(tmp_path), tmp_path / "out", workers=1)


def test_machines_that_share_a_folder_write_files_of_different_names(tmp_path, monkeypatch):
    names = set()
    for machine in ("one", "two"):
        monkeypatch.setattr(extraction_folder.platform, "node", lambda machine=machine: machine)
        names.add(extraction_folder._partial(tmp_path / "x.npz").name)
    assert names == {f"x.npz.{machine}.{os.getpid()}.partial" for machine in ("one", "two")}


def test_shards_are_put_together_in_the_order_of_the_annotations(tmp_path):
    first = plan(tmp_path / "0", {"b": None, "a": {"frames": 3}, "c": None})
    second = plan(tmp_path / "1", {"b": {}, "a": None, "c": "the reason"})
    # The plan names its input folder, which is the same for the shards of one run
    for shard in (first, second):
        text = (shard / "plan.json").read_text().replace('"input": "1"', '"input": "0"')
        (shard / "plan.json").write_text(text)
    report = merge_shards([first, second], tmp_path / "out")
    assert [(s.id, s.frames) for s in Corpus(tmp_path / "out").split("train").sentences] == [
        ("b", 2),
        ("a", 3),
    ]
    assert report.failed == {"train 'c'": "the reason"}


def test_a_shard_that_is_not_finished_is_named(tmp_path):
    shard = plan(tmp_path / "0", {"a": {}, "b": None, "c": None})
    with pytest.raises(
        DataError, match="2 of 3 sentences have not been extracted yet, first train 'b'"
    ):
        merge_shards([shard], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_versions_are_not_mixed(tmp_path):
    first = plan(tmp_path / "0", {"a": {}})
    second = plan(tmp_path / "1", {"a": {}}, extractor={"mediapipe": "0.10.9"})
    with pytest.raises(
        DataError,
        match=r"different settings or extractor: .*0\.10\.14.*0\.10\.9.* cannot be one corpus",
    ):
        merge_shards([first, second], tmp_path / "out")
    with pytest.raises(
        UsageError, match=r"was begun with extractor .*0\.10\.14.*, now .*0\.10\.9.*cannot mix them"
    ):
        extraction_folder._begin(first, first, {"extractor": {"mediapipe": "0.10.9"}}, [])


def test_merging_what_is_no_working_folder(tmp_path):
    with pytest.raises(
        DataError, match=r"has no plan\.json: expected a folder <output>\.extracting"
    ):
        merge_shards([tmp_path], tmp_path / "out")
    (tmp_path / "plan.json").write_text("{")
    with pytest.raises(DataError, match=r"plan\.json cannot be read"):
        merge_shards([tmp_path], tmp_path / "out")


def test_a_damaged_result_counts_as_not_done(tmp_path):
    shard = plan(tmp_path / "0", {"a": {}})
    result = next(shard.glob("*.npz"))
    result.write_bytes(result.read_bytes()[:-100])
    with pytest.raises(DataError, match="1 of 1 sentences have not been extracted yet"):
        merge_shards([shard], tmp_path / "out")


def test_when_all_failed_there_is_no_corpus(tmp_path):
    with pytest.raises(
        DataError, match="none of 1 sentences could be extracted, first train 'a': the reason"
    ):
        merge_shards([plan(tmp_path / "0", {"a": "the reason"})], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_commonest_shape_and_rate_are_the_corpus_s(tmp_path):
    shard = plan(tmp_path / "0", {"a": {"width": 800, "fps": 30.0}, "b": {}, "c": {}})
    report = merge_shards([shard], tmp_path / "out")
    corpus = Corpus(tmp_path / "out")
    assert (corpus.aspect_ratio, corpus.fps) == (0.75, 25)
    x = [corpus.split("train").read(index)[0][0, 0, 0] for index in range(3)]
    assert x[1] == x[2] == 0.25
    # A quarter of the wide image left of its middle
    assert x[0] == np.float16(0.5 - 0.25 * 2 / 0.75)
    assert len(report.warnings) == 2
    assert commonest({0.5: 2, 0.25: 2, 1.0: 1}) == 0.25


def test_geometry_is_the_same_in_another_aspect_ratio():
    landmarks = np.random.default_rng(0).uniform(0, 1, (2, 543, 3)).astype(np.float32)
    turned = to_aspect_ratio(landmarks, 16 / 9, 3 / 4)
    before, after = landmarks * [16 / 9, 1, 16 / 9], turned * [3 / 4, 1, 3 / 4]
    np.testing.assert_allclose(np.diff(after, axis=1), np.diff(before, axis=1), atol=1e-5)
    np.testing.assert_array_equal(turned[..., 1], landmarks[..., 1])
    assert to_aspect_ratio(landmarks, 0.75, 0.75) is landmarks


def test_shards_of_the_environment():
    assert shard_of({}) == (0, 1)
    assert shard_of({"RANK": "2", "WORLD_SIZE": "3"}) == (2, 3)
    for environment in (
        {"RANK": "3", "WORLD_SIZE": "3"},
        {"RANK": "0"},
        {"WORLD_SIZE": "2"},
        {"RANK": "-1", "WORLD_SIZE": "2"},
    ):
        with pytest.raises(
            UsageError, match=r"expected whole numbers, RANK from 0 to WORLD_SIZE - 1"
        ):
            shard_of(environment)


def test_a_missing_library_is_one_clear_line():
    error = ImportError("libGL.so.1: cannot open shared object file: No such file or directory")
    assert holistic.missing_library(error) == (
        "OpenCV or MediaPipe needs the system library libGL.so.1: install it, on Debian and Ubuntu with "
        "apt-get install libgl1 libglib2.0-0"
    )
    assert "No module named 'cv2'" in holistic.missing_library(ImportError("No module named 'cv2'"))


def test_faults_before_the_work_begins(tmp_path):
    (tmp_path / "input").mkdir()
    (tmp_path / "input/other.mp4").write_bytes(b"x")
    annotations = annotate(tmp_path / "annotations", {"train": ["a|a.mp4|anna|SUN"]})
    with pytest.raises(
        DataError, match=r"none of 1 recordings .* found other\.mp4, expected for example a\.mp4"
    ):
        extract(tmp_path / "input", annotations, tmp_path / "out")
    (tmp_path / "input/a.mp4").write_bytes(b"x")
    with pytest.raises(DataError, match=re.escape("--model_complexity 2 needs ")):
        extract(tmp_path / "input", annotations, tmp_path / "out", model_complexity=2)
    os.rename(tmp_path / "input", tmp_path / "out")
    with pytest.raises(UsageError, match="already exists"):
        extract(tmp_path / "input", annotations, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["annotations", "out"]


def test_a_video_over_the_limit_is_left_out_by_name(cv2, footage, tmp_path):
    annotations = annotate(tmp_path / "annotations", {"train": ["first|first.mp4|anna|SUN"]})
    with pytest.raises(
        DataError, match=r"first train 'first' is left out: longer than --max_frames 6"
    ):
        extract(footage / "input", annotations, tmp_path / "out", max_frames=6, workers=1)


def test_without_its_system_libraries_opencv_is_named(tmp_path):
    (tmp_path / "cv2.py").write_text(
        "raise ImportError('libGL.so.1: cannot open shared object file: No such file')\n"
    )
    (tmp_path / "input").mkdir()
    (tmp_path / "input/a.mp4").write_bytes(b"x")
    annotations = annotate(tmp_path / "annotations", {"train": ["a|a.mp4|anna|SUN"]})
    command = [
        sys.executable,
        ROOT / "prepare_data.py",
        "extract",
        "--input",
        tmp_path / "input",
        "--workers",
        1,
    ]
    command += ["--annotations", annotations, "--output", tmp_path / "out"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    ended = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, env=environment, timeout=120
    )
    assert ended.returncode == 3
    assert ended.stderr == f"error: {holistic.missing_library(ImportError('libGL.so.1: x'))}\n"


def test_a_worker_that_dies_is_told_and_the_rest_goes_on(cv2, footage, tmp_path, monkeypatch):
    """The worker of the first job is killed as soon as it has the video open."""
    annotations = annotate(
        tmp_path / "annotations",
        {"train": ["first|first.mp4|anna|SUN", "second|frames/second/1/*.png|ben|RAIN"]},
    )
    hired = []

    class Killing(extraction_workers.Worker):
        """A worker that does not survive its first job."""

        def __setattr__(self, name, value):
            super().__setattr__(name, value)
            if name == "job" and value is not None and value.id == "first":
                os.kill(self.process.pid, signal.SIGKILL)
                hired.append(self)

    monkeypatch.setattr(extraction_workers, "Worker", Killing)
    report = extract(footage / "input", annotations, tmp_path / "out", workers=1)
    assert len(hired) == 1
    assert report.failed == {
        "train 'first'": "the process that read it ended with signal SIGKILL; out of memory? Try fewer --workers"
    }
    assert [sentence.id for sentence in Corpus(tmp_path / "out").split("train").sentences] == [
        "second"
    ]
    monkeypatch.undo()
    shutil.rmtree(tmp_path / "out")  # as the report says, to try only that one again
    assert extract(footage / "input", annotations, tmp_path / "out", workers=1).sentences == 2
