"""The worker processes of an extraction: which recordings they extract, and what happens when one
dies."""

import os
import re
import shutil
import signal
from multiprocessing import Pipe
from types import SimpleNamespace

import pytest

import progress_bar
from data.corpus import Corpus
from data.sources import extraction_workers
from data.sources.extraction import extract
from data.sources.extraction_folder import Job
from data.sources.video_files import RecordingFile
from tests.data.sources.conftest import annotate, three_videos


def test_only_a_replaced_recording_is_extracted_again(tmp_path, fake_workers):
    places = three_videos(tmp_path)
    extract(*places, tmp_path / "out", workers=1)
    assert fake_workers.extracted == ["a", "b"]
    # First a new length, then only a new modification time
    for number, content in enumerate((b"123", b"456")):
        path = tmp_path / "input/b.mp4"
        path.write_bytes(content)
        os.utime(path, ns=(number, number))
        shutil.rmtree(tmp_path / "out")
        extract(*places, tmp_path / "out", workers=1)
        assert fake_workers.extracted == ["a", "b"] + ["b"] * (number + 1)
        assert [s.frames for s in Corpus(tmp_path / "out").split("train").sentences] == [2, 3]


def test_where_there_is_no_terminal_lines_count_the_recordings(
    tmp_path, fake_workers, monkeypatch, capsys
):
    monkeypatch.setattr(progress_bar, "SECONDS_BETWEEN_LINES", 0.0)
    extract(*three_videos(tmp_path), tmp_path / "out", workers=1, progress=True)
    err = capsys.readouterr().err
    left = re.sub(r"\d+ (s|min) left", "N s left", err)
    assert left == "extract: 1 of 2 recordings, N s left\nextract: 2 of 2 recordings\n"


@pytest.mark.parametrize(("deadly", "started"), [("a", 2), ("b", 1)])
def test_a_worker_is_replaced_only_while_videos_wait(tmp_path, fake_workers, deadly, started):
    places = three_videos(tmp_path)
    (places[0] / f"{deadly}.mp4").write_bytes(b"kill")
    report = extract(*places, tmp_path / "out", workers=1)
    assert fake_workers.started == started
    assert list(report.failed) == [f"train '{deadly}'", "train 'c'"]
    assert report.sentences == 1


def test_a_worker_that_dies_fails_one_recording_and_the_others_continue(
    cv2, recordings, tmp_path, monkeypatch
):
    """The worker of the first job is killed as soon as it has the job."""
    annotations = annotate(
        tmp_path / "annotations",
        {"train": ["first|first.mp4|anna|SUN", "second|frames/second/1/*.png|ben|RAIN"]},
    )
    killed = []

    class Killing(extraction_workers.Worker):
        """A worker that is killed at its first job."""

        def __setattr__(self, name, value):
            super().__setattr__(name, value)
            if name == "job" and value is not None and value.id == "first":
                os.kill(self.process.pid, signal.SIGKILL)
                killed.append(self)

    monkeypatch.setattr(extraction_workers, "Worker", Killing)
    report = extract(recordings / "input", annotations, tmp_path / "out", workers=1)
    assert len(killed) == 1
    assert report.failed == {
        "train 'first'": "its worker process ended with signal SIGKILL; "
        "out of memory? Try fewer --workers"
    }
    assert [sentence.id for sentence in Corpus(tmp_path / "out").split("train").sentences] == [
        "second"
    ]
    monkeypatch.undo()
    shutil.rmtree(tmp_path / "out")  # as the report advises, to try only this one again
    assert extract(recordings / "input", annotations, tmp_path / "out", workers=1).sentences == 2


@pytest.mark.parametrize(
    ("damage", "failures"), [(None, []), ("Input/output error", ["job.failed"])]
)
def test_a_worker_whose_main_process_died_records_no_failure(
    tmp_path, monkeypatch, damage, failures
):
    """The main process ends while the worker opens a good video. An error of the video itself is
    recorded all the same."""
    video = RecordingFile(tmp_path / "a.mp4", ("a",))
    video.path.write_bytes(b"a video")
    ours, theirs = Pipe()

    def open_video(recording, segment):
        assert ours.recv() == ("ready", None)
        ours.close()
        if damage is not None:
            raise OSError(5, damage)
        return SimpleNamespace(expected=4, frames=[])

    monkeypatch.setattr(extraction_workers, "open_tracker", lambda *_: SimpleNamespace())
    monkeypatch.setattr(
        extraction_workers, "SegmentReader", lambda fps: SimpleNamespace(open=open_video)
    )
    # This process keeps its signals and its output
    monkeypatch.setattr(extraction_workers.signal, "signal", lambda *_: None)
    monkeypatch.setattr(extraction_workers.os, "dup2", lambda *_: None)
    ours.send((Job("train", "a", "anna", "SUN", "job"), video))
    extraction_workers._run_worker(
        theirs, tmp_path, {"extractor": {}, "fps": None, "max_frames": None}, None
    )
    assert [path.name for path in tmp_path.glob("*.failed")] == failures
