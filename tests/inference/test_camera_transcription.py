"""Transcription of a camera: its end, its transcript and its overlay."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from errors import DataError
from inference.recognizer import open_recognizer
from inference.recordings import Frame, Recording


def camera(sentences: Path) -> Recording:
    """A camera that shows all sentences, one after the other, until Ctrl-C."""
    landmarks = np.concatenate([np.load(path) for path in sorted(sentences.glob("*.npy"))])

    def frames():
        for number, points in enumerate(landmarks):
            yield Frame(number / 25, points, np.ones(4, bool), np.zeros((120, 96, 3), np.uint8))
        raise KeyboardInterrupt

    return Recording(frames(), None, True, 0, 0.8)


def until_ctrl_c(recording: Recording) -> list[Frame]:
    frames = []
    try:
        for frame in recording.frames:
            frames.append(frame)
    except KeyboardInterrupt:
        return frames
    raise AssertionError("the camera ended by itself")


@pytest.fixture
def camera_until(sentences, monkeypatch):
    """camera_until(end): the camera shows all sentences, then `end` is called."""

    def install(end):
        recording = camera(sentences)
        inner = until_ctrl_c(recording)

        def frames():
            yield from inner
            end()
            yield from inner[:1]  # a signal comes before the next frame

        recording.frames = frames()
        monkeypatch.setattr("inference.transcription.open_camera", lambda *_: recording)
        return len(inner)

    return install


def test_a_camera_until_ctrl_c(
    run_transcribe, checkpoint, sentences, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(
        "inference.transcription.open_camera", lambda number, tracker: camera(sentences)
    )
    frames = sum(len(np.load(path)) for path in sentences.glob("*.npy"))
    overlay = ["--overlay", tmp_path / "seen.mp4"]
    try:
        import cv2  # noqa: F401
    except ImportError:  # the transcript does not need it
        overlay = []
    assert (
        run_transcribe(
            checkpoint,
            "--camera",
            2,
            "--output",
            tmp_path / "seen.json",
            "--format",
            "json",
            *overlay,
        )
        == 0
    )
    row = json.loads((tmp_path / "seen.json").read_text())
    assert (row["name"], row["file"], row["fps"], row["frames"]) == (
        "camera 2",
        None,
        None,
        frames,
    )
    assert row["glosses"] and row["read"] == "in windows"
    assert "camera 2: stop with Ctrl-C" in capsys.readouterr().err
    assert not overlay or (tmp_path / "seen.mp4").stat().st_size > 0


def test_a_causal_student_transcribes_a_camera_frame_by_frame(
    run_transcribe, student_checkpoints, sentences, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(
        "inference.transcription.open_camera", lambda number, tracker: camera(sentences)
    )
    assert run_transcribe(student_checkpoints["causal"], "--camera", 0, "--format", "json") == 0
    captured = capsys.readouterr()
    row = json.loads(captured.out)
    assert row["read"] == "frame by frame" and row["glosses"]
    assert "streaming: a gloss is final 12 frames (0.48 s) after it is signed\n" in captured.err
    assert "transcribed frame by frame" in captured.err
    recognizer = open_recognizer(student_checkpoints["causal"], None, "cpu")
    landmarks = np.concatenate([frame.landmarks[None] for frame in until_ctrl_c(camera(sentences))])
    expected = recognizer.transcribe(landmarks, np.ones((len(landmarks), 4), bool), 25)
    assert [(gloss["gloss"], gloss["start"]) for gloss in row["glosses"]] == [
        (gloss.gloss, pytest.approx(gloss.start, abs=1e-4)) for gloss in expected
    ]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_camera_that_is_asked_to_end_keeps_its_transcript(
    name, run_transcribe, checkpoint, camera_until, tmp_path
):
    number = getattr(signal, name)
    shown = camera_until(lambda: signal.raise_signal(number))
    before = signal.signal(number, signal.SIG_DFL)  # the tests may run under nohup
    try:
        words = ["--camera", 0, "--format", "json", "--output", tmp_path / "seen.json"]
        assert run_transcribe(checkpoint, *words) == 0
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, before)
    written = json.loads((tmp_path / "seen.json").read_text())
    assert written["glosses"] and written["frames"] == shown


def test_a_signal_that_is_ignored_stays_ignored(run_transcribe, checkpoint, camera_until, tmp_path):
    """As SIGHUP is under nohup: the camera goes on when the terminal is closed."""
    shown = camera_until(lambda: os.kill(os.getpid(), signal.SIGHUP))
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        words = ["--camera", 0, "--format", "json", "--output", tmp_path / "seen.json"]
        assert run_transcribe(checkpoint, *words) == 0
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert json.loads((tmp_path / "seen.json").read_text())["frames"] == shown + 1


def test_a_camera_that_fails_leaves_the_glosses_until_then(
    run_transcribe, checkpoint, camera_until, tmp_path, capsys
):
    def fail():
        raise DataError("MediaPipe cannot track")

    camera_until(fail)
    words = ["--camera", 0, "--output", tmp_path / "seen.txt"]
    with pytest.raises(DataError, match="cannot track"):
        run_transcribe(checkpoint, *words)
    assert (tmp_path / "seen.txt").read_text().strip()
    assert f"the glosses until then: {tmp_path / 'seen.txt'}" in capsys.readouterr().err


def test_a_cameras_transcript_is_kept_where_the_overlay_fails(
    run_transcribe, checkpoint, camera_until, tmp_path, monkeypatch
):
    class Overlay:
        def __init__(self, *_):
            pass

        def __enter__(self):
            return self

        def draw(self, *_):
            pass

        def __exit__(self, *_):
            raise DataError("cannot write seen.mp4")

    monkeypatch.setattr("inference.transcription.CameraOverlay", Overlay)
    camera_until(lambda: None)
    words = ["--camera", 0, "--output", tmp_path / "seen.txt", "--overlay", tmp_path / "seen.mp4"]
    with pytest.raises(DataError, match=r"cannot write seen\.mp4"):
        run_transcribe(checkpoint, *words)
    assert (tmp_path / "seen.txt").read_text().strip()
