"""MediaPipe Holistic: 543 landmarks of one video frame after the other."""

import contextlib
import importlib.metadata
import importlib.util
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data.landmarks import NUM_COORDINATES, NUM_LANDMARKS, PART_SLICES, PARTS
from errors import DataError

# By complexity
MODELS = ("pose_landmark_lite.tflite", "pose_landmark_full.tflite", "pose_landmark_heavy.tflite")
FEW_HANDS = 0.5  # a video with hands in fewer of its frames is worth a look


def extractor_facts(model_complexity: int) -> dict:
    """Name, version and setting of the extractor, as corpus.json has it. Raises DataError where it
    cannot be used."""
    try:
        versions = {
            name: importlib.metadata.version(name)
            for name in ("mediapipe", "opencv-contrib-python")
        }
    except importlib.metadata.PackageNotFoundError as error:
        raise DataError(
            f"the package {error.name} is not installed: pip install -r requirements.txt"
        ) from None
    package = Path(importlib.util.find_spec("mediapipe").origin).parent
    model = package / "modules" / "pose_landmark" / MODELS[model_complexity]
    if not model.is_file():
        raise DataError(
            f"--model_complexity {model_complexity} needs {model}, which the mediapipe package does not bring and which is "
            "not downloaded here: put it there, or use --model_complexity 1"
        )
    return {"name": "MediaPipe Holistic", "model_complexity": model_complexity, **versions}


def missing_library(error: ImportError) -> str:
    """One line about a package that cannot be imported."""
    library = str(error).split(":")[0]
    if ".so" in library:
        return (
            f"OpenCV or MediaPipe needs the system library {library}: install it, on Debian and Ubuntu with "
            "apt-get install libgl1 libglib2.0-0"
        )
    return f"OpenCV or MediaPipe cannot be imported ({error}): pip install -r requirements.txt"


class Tracker:
    """MediaPipe Holistic for one video after the other. Raises ImportError where a library is
    missing."""

    def __init__(self, model_complexity: int = 1):
        os.environ.setdefault("GLOG_minloglevel", "2")
        import cv2
        import mediapipe

        cv2.setNumThreads(1)  # the processes share the cores among them
        self._to_rgb = lambda frame: cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        self._holistic = mediapipe.solutions.holistic.Holistic(
            static_image_mode=False, model_complexity=model_complexity, refine_face_landmarks=False
        )

    def reset(self) -> None:
        """Forget the video before: what is tracked must not depend on it."""
        self._holistic.reset()

    def track(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Landmarks float32 (543, 3) and detected bool (4,) of the next frame, uint8 (H, W, 3)
        blue, green, red.

        Left and right hand are the signer's, as MediaPipe names them; the face is the mesh's first
        468 points.
        """
        found = self._holistic.process(self._to_rgb(frame))
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
    """Keep what MediaPipe and FFmpeg themselves write to stderr off the screen; Python's own
    messages still come."""
    ours = os.dup(2)
    silent = os.open(os.devnull, os.O_WRONLY)
    # MediaPipe brings it; it tells where a home is read-only
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    before = sys.stderr
    if _writes_to_2(before):
        sys.stderr = os.fdopen(
            ours,
            "w",
            encoding=before.encoding,
            errors="backslashreplace",
            buffering=1,
            closefd=False,
        )
    os.dup2(silent, 2)
    os.close(silent)
    try:
        with warnings.catch_warnings():
            # MediaPipe's old way of asking for a message
            warnings.filterwarnings("ignore", module="google.protobuf")
            yield
    finally:
        sys.stderr.flush()
        sys.stderr = before
        os.dup2(ours, 2)
        os.close(ours)


def _writes_to_2(stream) -> bool:
    try:
        return stream.fileno() == 2
    except (OSError, ValueError, AttributeError):
        return False
