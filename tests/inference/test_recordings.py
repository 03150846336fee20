"""Recordings of every kind as landmarks. Tracking itself is tested with
data/sources/extraction.py."""

import errno
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from data.keyed_random import generator
from data.sources.holistic import missing_library, quiet_libraries
from data.sources.landmark_files import LandmarkRecording
from data.sources.video_files import RecordingFile
from errors import DataError, UsageError
from inference import recordings
from inference.recordings import (
    LANDMARK_READERS,
    Frame,
    find_recordings,
    in_aspect_ratio,
    names_several,
    open_camera,
    open_recording,
    refuse_useless_options,
)

ROOT = Path(recordings.__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def cv2():
    try:
        import cv2
    except ImportError as error:
        pytest.skip(missing_library(error))
    return cv2


class Brightness:
    """In place of MediaPipe: all landmarks have the picture's brightness; no face is detected."""

    def __init__(self):
        self.resets = 0

    def reset(self):
        self.resets += 1

    def track(self, picture):
        return np.full((543, 3), picture.mean() / 255, np.float32), np.array(
            [True, False, True, True]
        )


def nobody():
    raise AssertionError("no tracker is needed")


def touch(root: Path, *files: str) -> None:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(b"x")


def test_files_folders_and_patterns(tmp_path):
    touch(
        tmp_path,
        "a.mp4",
        "b c.MKV",
        "x/d.pose",
        "x/sub/e.npy",
        "x/poster.jpg",
        "frames/1.png",
        "frames/2.png",
        "f.txt",
    )
    words = [
        tmp_path / "a.mp4",
        tmp_path / "x",
        tmp_path / "frames",
        f"{tmp_path}/*.M*",
        f"{tmp_path}/a.*",
    ]
    found, failed = find_recordings([str(word) for word in words])
    assert [(one.path.name, "/".join(one.parts)) for one in found] == [
        ("a.mp4", "a"),
        ("d.pose", "d"),
        ("e.npy", "sub/e"),
        ("frames", "frames"),
        ("b c.MKV", "b c"),
    ]
    assert not failed


@pytest.mark.parametrize(
    ("given", "several"),
    [("x", True), ("x/*.npy", True), ("x/e.npy", False), ("frames/", False), ("c[1].mp4", False)],
)
def test_a_folder_or_a_pattern_may_name_several_recordings(tmp_path, given, several):
    touch(tmp_path, "x/e.npy", "frames/1.png", "c[1].mp4")
    found, _ = find_recordings([f"{tmp_path}/{given}"])
    assert len(found) == 1
    assert names_several([f"{tmp_path}/{given}"], found) is several


@pytest.mark.parametrize("given", ["split", "split/id-7", "split/id-7/1"])
def test_a_sentence_of_phoenix_is_named_by_its_id(tmp_path, given):
    touch(tmp_path, "split/id-7/1/x_fn000001-0.png")
    (found,), _ = find_recordings([str(tmp_path / given)])
    assert found.parts == ("id-7",) and found.path == tmp_path / "split/id-7/1"


def test_numbered_recordings_keep_their_names(tmp_path):
    touch(tmp_path, "a/1/x1.png", "a/2/x1.png", "b/1.mp4", "b/2.mp4")
    found, _ = find_recordings([str(tmp_path)])
    assert ["/".join(one.parts) for one in found] == ["a/1", "a/2", "b/1", "b/2"]
    found, _ = find_recordings([str(tmp_path / "a"), str(tmp_path / "b" / "1.mp4")])
    assert ["/".join(one.parts) for one in found] == ["1", "2", "1"]


def test_words_that_name_no_recording_are_listed_with_the_reason(tmp_path):
    touch(tmp_path, "f.txt", "model.pkl", "empty/readme.md")
    words = [f"{tmp_path}/{name}" for name in ("f.txt", "model.pkl", "gone.mp4", "*.avi", "empty")]
    found, failed = find_recordings(words)
    assert not found and list(failed) == words
    reasons = list(failed.values())
    for number, reason in enumerate(
        [
            "is not a recording",
            "is not a recording",
            "does not exist: expected .mp4, ",
            "no file has a name like this: expected .mp4, ",
        ]
    ):
        assert reason in reasons[number]
    assert reasons[4].startswith("has no recordings in it: expected files .mp4")


def test_a_corpus_folder_is_named_with_what_evaluates_it(tiny_corpus, tmp_path):
    advice = f"evaluate the model on it with evaluate.py --data_dir {tiny_corpus}"
    found, failed = find_recordings([str(tiny_corpus)])
    assert not found and advice in failed[str(tiny_corpus)]
    found, failed = find_recordings([str(tiny_corpus.parent)])  # the corpus is somewhere below it
    arrays = [one for one in found if one.path.parent == tiny_corpus]
    assert len(arrays) == 4 and not failed
    for one in arrays:
        with pytest.raises(DataError, match="is a corpus folder, not a folder of recordings"):
            open_recording(one, lambda: None, None, 25, 1)


def test_an_option_that_one_of_several_recordings_uses_is_accepted():
    video, array, pose = (
        RecordingFile(Path(f"a{end}"), ("a",)) for end in (".mp4", ".npy", ".pose")
    )
    model = Path("x.task")
    refuse_useless_options([video, array], model, 1.5)
    refuse_useless_options([array, pose], None, 1.5)
    with pytest.raises(UsageError, match=r"--model x\.task has no effect on landmark files"):
        refuse_useless_options([array, pose], model, None)
    with pytest.raises(
        UsageError, match=r"1\.5 has no effect .*: it is for \.npy, \.npz, \.parquet"
    ):
        refuse_useless_options([video, pose], None, 1.5)


def test_a_name_with_brackets_is_a_file_before_it_is_a_pattern(tmp_path):
    touch(tmp_path, "clip[1].mp4")
    found, failed = find_recordings([f"{tmp_path}/clip[1].mp4"])
    assert [one.path.name for one in found] == ["clip[1].mp4"] and not failed


def test_a_landmark_file_needs_no_tracker(tmp_path, make_sentence):
    landmarks, detected = make_sentence(["SUN", "RAIN"], generator("stream"))
    landmarks[~detected[:, 3], 522:] = 0
    landmarks[~detected[:, 2], 501:522] = 0
    np.save(tmp_path / "a.npy", landmarks)
    recording = open_recording(RecordingFile(tmp_path / "a.npy", ("a",)), nobody, None, 20.0, 0.8)
    assert (recording.fps, recording.fps_is_known, recording.expected, recording.aspect_ratio) == (
        20.0,
        False,
        len(landmarks),
        0.8,
    )
    frames = list(recording.frames)
    np.testing.assert_array_equal(
        [frame.landmarks for frame in frames], landmarks.astype(np.float32)
    )
    np.testing.assert_array_equal([frame.detected for frame in frames], detected)
    assert [frame.time for frame in frames] == [number / 20 for number in range(len(landmarks))]


def test_landmarks_that_are_no_image_coordinates_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", generator("z").normal(size=(20, 543, 3)))
    with pytest.raises(
        DataError, match=r"a\.npy does not hold image coordinates in MediaPipe's order: in 1 of 1"
    ):
        open_recording(RecordingFile(tmp_path / "a.npy", ("a",)), nobody, None, 25.0, 0.8)


def video(cv2, path: Path, count: int, fps: float = 30) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), fps, (64, 48))
    for number in range(count):
        writer.write(np.full((48, 64, 3), number % 250, np.uint8))
    writer.release()
    return path


def test_a_video_gives_its_frame_rate_and_shape(cv2, tmp_path):
    path, tracker = video(cv2, tmp_path / "a.avi", 6), Brightness()
    recording = open_recording(RecordingFile(path, ("a",)), lambda: tracker, None, 25.0, 0.8)
    frames = list(recording.frames)
    assert (recording.fps, recording.fps_is_known, recording.expected, recording.aspect_ratio) == (
        30.0,
        True,
        6,
        64 / 48,
    )
    assert tracker.resets == 1
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(6) / 30)
    np.testing.assert_allclose(
        [frame.landmarks[0, 0] for frame in frames], np.arange(6) / 255, atol=2 / 255
    )
    assert frames[0].picture.shape == (48, 64, 3) and frames[0].landmarks.dtype == np.float32


def test_a_long_video_needs_no_more_memory_than_a_short_one(cv2, tmp_path):
    def peak(count: int) -> int:
        path = video(cv2, tmp_path / f"{count}.avi", count)
        recording = open_recording(RecordingFile(path, ("a",)), Brightness, None, 25.0, 0.8)
        tracemalloc.start()
        seen = sum(1 for _ in recording.frames)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert seen == count
        return used

    peak(20)
    assert peak(200) < 1.1 * peak(20)


def test_a_camera_is_timed_by_the_clock(cv2, monkeypatch):
    pictures = [np.full((48, 64, 3), level, np.uint8) for level in (10, 20, 30)]
    released, clock = [], iter([7.0, 7.1, 7.5])
    camera = SimpleNamespace(
        isOpened=lambda: True,
        read=lambda: (True, pictures.pop(0)) if pictures else (False, None),
        release=lambda: released.append(True),
    )
    monkeypatch.setattr(cv2, "VideoCapture", lambda number: camera)
    monkeypatch.setattr(recordings.time, "monotonic", lambda: next(clock))
    recording = open_camera(0, Brightness)
    assert recording.fps is None
    np.testing.assert_allclose([frame.time for frame in recording.frames], [0.0, 0.1, 0.5])
    assert released and recording.aspect_ratio == 64 / 48


def test_a_missing_camera(cv2):
    with pytest.raises(DataError, match="camera 99 cannot be opened"), quiet_libraries():
        open_camera(99, nobody)


def test_landmarks_are_converted_to_another_aspect_ratio():
    frame = Frame(0.0, np.full((543, 3), 0.75, np.float16), np.array([True, True, False, True]))
    # A picture of 3:4 in the middle of one of 3:2, of equal height
    converted = in_aspect_ratio(frame, 0.75, 1.5)
    np.testing.assert_allclose(converted[0], [0.625, 0.75, 0.375])
    assert (converted[501:522] == 0).all() and (converted[522:] == converted[0]).all()
    np.testing.assert_array_equal(in_aspect_ratio(frame, 1.5, 1.5)[0], frame.landmarks[0])


def test_libraries_are_quiet_and_python_still_prints():
    program = (
        "import os, sys, warnings\n"
        "from data.sources.holistic import quiet_libraries\n"
        "with quiet_libraries():\n"
        "    os.write(2, b'noise\\n')\n"
        "    print('message', file=sys.stderr)\n"
        "os.write(2, b'after\\n')\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.stderr.split() == ["message", "after"]


def test_what_cannot_be_read_is_listed_and_the_rest_is_found(tmp_path, monkeypatch):
    touch(tmp_path, "1.npy", "locked/2.npy", "other/3.npy")
    scan = os.scandir

    def scandir(path):
        if Path(path).name == "locked":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found, failed = find_recordings([str(tmp_path), str(tmp_path / "other")])
    assert [each.path.name for each in found] == ["3.npy"]
    assert failed == {str(tmp_path): f"{tmp_path / 'locked'} cannot be read: Permission denied"}

    exists = Path.exists

    def refuse(path, **_):
        if path.name == "1.npy":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return exists(path)

    monkeypatch.setattr(Path, "exists", refuse)
    found, failed = find_recordings([str(tmp_path / "1.npy"), str(tmp_path / "other")])
    assert [each.path.name for each in found] == ["3.npy"]
    assert failed == {str(tmp_path / "1.npy"): "Permission denied"}


def test_messages_name_no_option_that_transcribe_lacks(tmp_path):
    (tmp_path / "empty").mkdir()
    _, failed = find_recordings([str(tmp_path / "empty")])
    (reason,) = failed.values()
    assert reason.endswith("check the path") and "--input" not in reason


def test_a_landmark_file_may_begin_later_in_its_video(monkeypatch, tmp_path):
    sequence = LandmarkRecording(np.full((3, 543, 3), 0.5), np.ones((3, 4), bool), 25.0, 0.8, 250)
    monkeypatch.setitem(LANDMARK_READERS, ".parquet", lambda path: sequence)
    monkeypatch.setattr("inference.recordings.check_image_coordinates", lambda *_: None)
    file = RecordingFile(tmp_path / "x.parquet", ("x",))
    recording = open_recording(file, nobody, None, 25.0, 0.8)
    assert [frame.time for frame in recording.frames] == [10.0, 10.04, 10.08]
