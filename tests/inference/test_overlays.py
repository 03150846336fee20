"""Overlays: the pictures are decoded again after the transcription."""

import errno
import os
import tempfile

import numpy as np
import pytest

from data.sources.video_files import RecordingFile
from data.sources.video_frames import open_video_frames
from errors import DataError
from inference.overlays import VideoOverlay
from inference.recordings import Frame

pytest.importorskip("av")
cv2 = pytest.importorskip("cv2")


def test_a_video_whose_frame_rate_only_the_user_knows(tmp_path):
    """It states 1000 frames/s, which is refused without --fps."""
    from tests.data.sources.test_video_frames import encode

    video = RecordingFile(tmp_path / "a.mkv", ("a",))
    video.path.write_bytes(encode(np.arange(6), "matroska"))
    with VideoOverlay(tmp_path / "drawn.mp4", video, 30.0, "") as overlay:
        for time, picture in open_video_frames(video, 30.0).frames:
            landmarks = np.zeros((543, 3), np.float32)
            overlay.keep(Frame(time, landmarks, np.zeros(4, bool), picture))
        overlay.draw([])
    capture = cv2.VideoCapture(str(tmp_path / "drawn.mp4"))
    assert (capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)) == (30, 6)


class FullDisk:
    """A temporary file on a disk that is full."""

    def write(self, _: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.write(b"")


def test_a_full_temporary_folder_is_told_after_the_transcription(tmp_path):
    video = RecordingFile(tmp_path / "a.mp4", ("a",))
    picture, landmarks = np.zeros((48, 64, 3), np.uint8), np.zeros((543, 3), np.float32)
    message = f"cannot write .*drawn.mp4: .*{tempfile.gettempdir()}: No space left.*TMPDIR"
    output = tmp_path / "out" / "drawn.mp4"
    with pytest.raises(DataError, match=message), VideoOverlay(output, video, 25.0, "") as overlay:
        overlay._kept = FullDisk()
        for number in range(3):  # the transcription goes on
            overlay.keep(Frame(number / 25, landmarks, np.zeros(4, bool), picture))
        overlay.draw([])
    assert list(output.parent.iterdir()) == []
