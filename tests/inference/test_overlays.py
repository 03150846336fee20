"""Overlays: the pictures are decoded again after the transcription."""

import numpy as np
import pytest

from data.sources.video_files import RecordingFile
from data.sources.video_frames import open_video_frames
from inference.overlays import VideoOverlay
from inference.recordings import Frame

pytest.importorskip("av")
cv2 = pytest.importorskip("cv2")


def test_a_video_whose_frame_rate_only_the_user_knows(tmp_path):
    """By its own account it has 1000 frames/s, which is refused without --fps."""
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
