"""MediaPipe Holistic: independent videos, and messages for missing libraries."""

import numpy as np

from data.sources import holistic
from tests.data.sources.conftest import panned


def test_tracking_does_not_depend_on_the_video_before(cv2):
    tracker = holistic.HolisticTracker()
    runs = []
    for _ in range(2):
        tracker.reset()
        runs.append([tracker.track(panned(number, 60)) for number in range(3)])
    for first, second in zip(*runs, strict=True):
        np.testing.assert_array_equal(first[0], second[0])
        np.testing.assert_array_equal(first[1], second[1])


def test_a_missing_library_is_one_clear_line():
    error = ImportError("libGL.so.1: cannot open shared object file: No such file or directory")
    assert holistic.missing_library(error) == (
        "OpenCV or MediaPipe needs the system library libGL.so.1: install it, "
        "on Debian and Ubuntu with apt-get install libgl1 libglib2.0-0"
    )
    assert "No module named 'cv2'" in holistic.missing_library(ImportError("No module named 'cv2'"))
