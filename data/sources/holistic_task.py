"""MediaPipe's task HolisticLandmarker: the landmarks of a frame, by the models in a file."""

import atexit
import os
from pathlib import Path
from typing import Any

import numpy as np

from data.landmarks import NUM_COORDINATES, NUM_LANDMARKS, PART_SLICES, PARTS
from errors import DataError

# Between two frames, whatever the frame rate: MediaPipe Holistic smooths in the same way
_MILLISECONDS = 100 / 3


class TaskTracker:
    """HolisticLandmarker of MediaPipe 1.x for the frames of one video after the other; a `Tracker`.

    Raises ImportError when a library is missing, DataError when MediaPipe cannot use the file.
    """

    def __init__(self, model: Path):
        os.environ.setdefault("GLOG_minloglevel", "2")
        import cv2
        import mediapipe

        cv2.setNumThreads(1)  # the worker processes share the CPU cores
        self._cv2, self._mediapipe, self._model = cv2, mediapipe, model
        self._landmarker: Any = None
        self._frames = 0
        self.reset()
        # At the end of Python, MediaPipe can no longer close it without a traceback
        atexit.register(self._close)

    def reset(self) -> None:
        if self._landmarker is not None and not self._frames:
            return
        self._close()
        tasks = self._mediapipe.tasks
        options = tasks.vision.HolisticLandmarkerOptions(
            base_options=tasks.BaseOptions(model_asset_path=str(self._model)),
            running_mode=tasks.vision.RunningMode.VIDEO,
        )
        try:
            self._landmarker = tasks.vision.HolisticLandmarker.create_from_options(options)
        except Exception as error:  # MediaPipe's errors have no narrower common base
            raise DataError(self._unusable(error)) from None
        self._frames = 0

    def track(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        picture = self._mediapipe.Image(
            image_format=self._mediapipe.ImageFormat.SRGB,
            data=self._cv2.cvtColor(frame, self._cv2.COLOR_BGR2RGB),
        )
        try:
            found = self._landmarker.detect_for_video(picture, round(self._frames * _MILLISECONDS))
        except Exception as error:  # MediaPipe's errors have no narrower common base
            raise DataError(self._unusable(error)) from None
        self._frames += 1
        landmarks = np.zeros((NUM_LANDMARKS, NUM_COORDINATES), np.float32)
        detected = np.zeros(len(PARTS), bool)
        for column, part in enumerate(PARTS):
            points = getattr(found, f"{part}_landmarks")
            if points:
                place = PART_SLICES[part]
                points = points[: place.stop - place.start]
                landmarks[place] = [(point.x, point.y, point.z) for point in points]
                detected[column] = True
        return landmarks, detected

    def _unusable(self, error: Exception) -> str:
        reason = (str(error) or type(error).__name__).splitlines()[-1]
        return f"MediaPipe cannot track with --model {self._model} ({reason.strip()})"

    def _close(self) -> None:
        if self._landmarker is not None:
            self._landmarker.close()
            self._landmarker = None
