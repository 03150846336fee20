"""MediaPipe Holistic: 543 landmarks for each video frame."""

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator

import numpy as np

from data.landmarks import NUM_COORDINATES, NUM_LANDMARKS, PART_SLICES, PARTS

FEW_HANDS = 0.5  # a recording with hands in a smaller share of its frames gets a warning


def missing_library(error: ImportError) -> str:
    """A one-line message for an ImportError of PyAV, OpenCV or MediaPipe."""
    library = str(error).split(":")[0]
    if ".so" in library:
        return (
            f"OpenCV or MediaPipe needs the system library {library}: install it, "
            "on Debian and Ubuntu with apt-get install libgl1 libglib2.0-0"
        )
    return f"a library for videos cannot be imported ({error}): pip install -r requirements.txt"


class HolisticTracker:
    """MediaPipe Holistic for the frames of one video after the other; a `Tracker`.

    Raises ImportError when a library is missing.
    """

    def __init__(self, model_complexity: int = 1):
        os.environ.setdefault("GLOG_minloglevel", "2")
        import cv2
        import mediapipe

        cv2.setNumThreads(1)  # the worker processes share the CPU cores
        self._cv2 = cv2
        self._holistic = mediapipe.solutions.holistic.Holistic(
            static_image_mode=False, model_complexity=model_complexity, refine_face_landmarks=False
        )

    def reset(self) -> None:
        self._holistic.reset()

    def track(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = self._holistic.process(self._cv2.cvtColor(frame, self._cv2.COLOR_BGR2RGB))
        landmarks = np.zeros((NUM_LANDMARKS, NUM_COORDINATES), np.float32)
        detected = np.zeros(len(PARTS), bool)
        for column, part in enumerate(PARTS):
            points = getattr(found, f"{part}_landmarks")
            if points is not None:
                place = PART_SLICES[part]
                values = [
                    (point.x, point.y, point.z)
                    for point in points.landmark[: place.stop - place.start]
                ]
                landmarks[place], detected[column] = values, True
        return landmarks, detected


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Hide the messages that MediaPipe and FFmpeg write to stderr; show Python's own messages."""
    stderr = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    # MediaPipe imports matplotlib, which warns when the home directory is read-only
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    before = sys.stderr
    if _writes_to_stderr(before):
        sys.stderr = os.fdopen(
            stderr,
            "w",
            encoding=before.encoding,
            errors="backslashreplace",
            buffering=1,
            closefd=False,
        )
    os.dup2(null, 2)
    os.close(null)
    try:
        with warnings.catch_warnings():
            # MediaPipe uses a deprecated function of protobuf
            warnings.filterwarnings("ignore", module="google.protobuf")
            yield
    finally:
        sys.stderr.flush()
        sys.stderr = before
        os.dup2(stderr, 2)
        os.close(stderr)


def _writes_to_stderr(stream: object) -> bool:
    """Whether a stream writes to file descriptor 2. Streams of tests and notebooks do not."""
    try:
        return bool(stream.fileno() == 2)  # type: ignore[attr-defined]
    except (OSError, ValueError, AttributeError):
        return False
