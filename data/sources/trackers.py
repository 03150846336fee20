"""The trackers, and which one is used: MediaPipe Holistic with its own models, or a model file.

MediaPipe 0.10 has the solution Holistic with models of its own (`holistic.py`). MediaPipe 1.x has
the task HolisticLandmarker, which needs a model file (`holistic_task.py`).
"""

import importlib.metadata
import importlib.util
import zipfile
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from data.checks.file_hash import sha256_of
from errors import DataError

# Files of the pose model, by model complexity
MODELS = ("pose_landmark_lite.tflite", "pose_landmark_full.tflite", "pose_landmark_heavy.tflite")
# Files in a model file of the task HolisticLandmarker
TASK_FILES = tuple(
    f"{name}.tflite"
    for name in (
        *("pose_detector", "pose_landmarks_detector", "hand_landmarks_detector"),
        *("hand_roi_refinement", "face_detector", "face_landmarks_detector"),
    )
)
LEGACY_NAME, TASK_NAME = "MediaPipe Holistic", "MediaPipe HolisticLandmarker"


class Tracker(Protocol):
    """Finds the landmarks in the frames of one video after the other."""

    def reset(self) -> None:
        """Forget the previous video, so that the results of the next one do not depend on it."""

    def track(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Landmarks float32 (543, 3) and detected bool (4,) of the next frame.

        frame: uint8 (H, W, 3), in the order blue, green, red. Left and right hand are the signer's,
        as in MediaPipe. The face has the first 468 points of the mesh.
        """


def open_tracker(model: Path | None = None, model_complexity: int = 1) -> Tracker:
    """A tracker.

    Args:
        model: a model file of HolisticLandmarker; None: MediaPipe Holistic with its own models.
        model_complexity: of the pose model of MediaPipe Holistic.

    Raises ImportError when a library is missing, DataError when MediaPipe and the model file do not
    fit each other.
    """
    if model is None:
        from data.sources.holistic import HolisticTracker

        return HolisticTracker(model_complexity)
    from data.sources.holistic_task import TaskTracker

    return TaskTracker(model)


def extractor_facts(model_complexity: int = 1, model: Path | None = None) -> dict[str, Any]:
    """Name, versions and models of the extractor, as corpus.json stores them.

    Raises DataError when MediaPipe, OpenCV or a model is missing, or does not fit.
    """
    try:
        versions = {
            name: importlib.metadata.version(name)
            for name in ("mediapipe", "opencv-contrib-python")
        }
    except importlib.metadata.PackageNotFoundError as error:
        raise DataError(
            f"the package {error.name} is not installed: pip install -r requirements.txt"
        ) from None
    if model is not None:
        _check_model_file(model, versions["mediapipe"])
        return {"name": TASK_NAME, "model_sha256": sha256_of(model), **versions}
    package = importlib.util.find_spec("mediapipe")
    if package is None or package.origin is None:
        raise DataError("the package mediapipe is damaged: pip install -r requirements.txt")
    folder = Path(package.origin).parent / "modules" / "pose_landmark"
    if not folder.is_dir():
        raise DataError(
            f"MediaPipe {versions['mediapipe']} has no models of its own: give a model file of "
            "HolisticLandmarker, such as holistic.task, with --model; or use Python 3.11 or 3.12, "
            "where requirements.txt installs MediaPipe 0.10.14"
        )
    if not (folder / MODELS[model_complexity]).is_file():
        raise DataError(
            f"--model_complexity {model_complexity} needs {folder / MODELS[model_complexity]}, "
            "which the mediapipe package does not contain: put the file there, or use "
            "--model_complexity 1"
        )
    return {"name": LEGACY_NAME, "model_complexity": model_complexity, **versions}


def _check_model_file(model: Path, version: str) -> None:
    """Raise DataError unless the file is a model file, and this MediaPipe can use it."""
    if not model.is_file():
        raise DataError(f"--model {model}: there is no such file")
    try:
        with zipfile.ZipFile(model) as archive:
            lacking = sorted(set(TASK_FILES) - set(archive.namelist()))
    except (zipfile.BadZipFile, OSError, ValueError):
        lacking = ["a zip archive"]
    if lacking:
        raise DataError(
            f"--model {model}: {', '.join(lacking)} not found; expected a model file of "
            f"MediaPipe's HolisticLandmarker, a zip archive with {', '.join(TASK_FILES)}"
        )
    if version.split(".")[0] == "0":
        # Its HolisticLandmarker ends the whole process at the first frame without a hand.
        raise DataError(
            f"--model {model} needs MediaPipe 1.x, and {version} is installed: "
            "pip install mediapipe==1.2.3, or leave --model out"
        )
