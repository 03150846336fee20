"""Isharah's pickled landmarks → a corpus folder.

A pickle of the MSLR 2025 and SignEval 2026 challenges is a dict from sentence ids, such as 00_0001,
to {"keypoints": array}. An array holds (T, 86, 2) values: x and y in pixels of the video, zeros
where a part was not detected. The 86 points are points of MediaPipe Holistic:

    0-20     right hand
    21-41    left hand
    42-60    lips: 19 points of the face mesh, in rising order of their numbers
    61-85    pose 0-24: head, shoulders, arms, hips

No file gives the size of the video, the frame rate, or z. This reader makes of them what the 543
landmarks need:

- x and y are divided by the side of a square that holds the signer. Features do not depend on its
  size, because they are measured in shoulder widths.
- z is 0.
- A point that the layout lacks lies at the nose: 449 points of the face, and the legs. There it
  moves as the nose does and tells the model nothing else.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data.corpus_writer import check_output
from data.landmarks import (
    LEFT_SHOULDER,
    LIPS_OUTER,
    NOSE,
    NUM_LANDMARKS,
    PART_SLICES,
    PARTS,
    RIGHT_SHOULDER,
)
from data.sources.annotations.transcripts import TranscribedSentence, read_splits
from data.sources.corpora.pickled_array import PickledArray
from data.sources.corpora.safe_pickle import read_pickle
from data.sources.import_defaults import PHONE_FPS
from data.sources.landmark_files import LandmarkRecording
from data.sources.landmark_import import write_corpus
from data.sources.unseen_parts import find_unseen_parts
from data.text_fields import nfc
from errors import DataError, shown_names

POINTS = 86
LIPS = tuple(sorted({*LIPS_OUTER} - {409}))  # all points of the outer lips but one
_FACE = PART_SLICES["face"].start
# Where each of the 86 points belongs among the 543
POINT_INDICES = np.array(
    [*range(522, 543), *range(501, 522), *(_FACE + point for point in LIPS), *range(25)]
)
_MISSING = np.setdiff1d(np.arange(NUM_LANDMARKS), POINT_INDICES)
_CORE = [NOSE, LEFT_SHOULDER, RIGHT_SHOULDER]
_SMALLEST_PICTURE = 10  # pixels; smaller coordinates are fractions of the image
# Upper and lower middle of the lips; corners on the signer's right and left
_UPPER, _LOWER, _RIGHT_CORNER, _LEFT_CORNER = (_FACE + point for point in (0, 17, 61, 291))


def import_isharah(
    source: Path,
    annotations: Path,
    output: Path,
    *,
    fps: float | None = None,
    resample_fps: float | None = None,
    skip_bad: bool = False,
    progress: bool = False,
) -> None:
    """Write the corpus `output` from pickled landmarks.

    Args:
        source: a pickle, or the folder of one or more pickles (.pkl, .pickle).
        annotations: the lists of a task (`id|gloss`): the train file or its folder. The test list
            of MSLR 2025 is called SI_test.txt or US_test.txt.
        output: the corpus folder to write.
        fps: frames per second of the recordings; None: 30.
        resample_fps, skip_bad, progress: as of `import_landmark_files`.

    Prints how many recordings of the pickles are in no list. Raises DataError for a pickle that
    holds anything else, and for sentences without usable landmarks; UsageError when `output` is not
    empty.
    """
    check_output(output, source, annotations)
    splits = read_splits(annotations)
    recordings = _open_pickles(source)
    used = {sentence.id for sentences in splits.values() for sentence in sentences}
    if unused := [id for id in recordings if id not in used]:
        print(
            f"left out, because no list of {annotations} has them: {len(unused):,} of "
            f"{len(recordings):,} recordings ({shown_names(unused)})"
        )
    _find_missing(splits, recordings.keys(), source, skip_bad)
    lips = _LipsOrder()

    def read(split: str, sentence: TranscribedSentence) -> LandmarkRecording:
        if sentence.id not in recordings:
            raise DataError(f"{source} has no recording of {sentence.id}")
        path, value = recordings[sentence.id]
        recording = read_points(value, f"{path}: {sentence.id}", fps or PHONE_FPS)
        lips.add(recording)
        return recording

    write_corpus(
        output,
        source,
        splits,
        read,
        fps=resample_fps or fps or PHONE_FPS,
        aspect_ratio=1.0,
        format="isharah",
        options={"resample_fps": resample_fps},
        skip_bad=skip_bad,
        progress=progress,
        finish=lambda: lips.check(source),
    )


def _find_missing(
    splits: dict[str, list[TranscribedSentence]], ids: Collection[str], source: Path, skip_bad: bool
) -> None:
    """Raise DataError for sentences without a recording, before hours of work. A test split without
    any recording is removed from `splits`; missing train sentences may stay if `skip_bad`."""
    for split, sentences in [*splits.items()]:
        missing = [sentence.id for sentence in sentences if sentence.id not in ids]
        if split == "test" and len(missing) == len(sentences):
            print(f"test is left out: {source} has none of its {len(missing):,} recordings")
            del splits[split]
        elif missing and not (skip_bad and split == "train"):
            advice = (
                "--skip_bad leaves such sentences out"
                if split == "train"
                else f"{split} must be complete: add the pickle that has them"
            )
            raise DataError(
                f"{source} has no recordings of {len(missing):,} of {len(sentences):,} {split} "
                f"sentences ({shown_names(missing)}); {advice}"
            )


def _open_pickles(source: Path) -> dict[str, tuple[Path, Any]]:
    """File and value of each id of the pickles."""
    if source.is_dir():
        files = sorted(
            path for path in source.iterdir() if path.suffix.lower() in (".pkl", ".pickle")
        )
        if not files:
            raise DataError(
                f"{source} has no .pkl file in it: expected the pickled landmarks of the challenge"
            )
    else:
        files = [source]
    recordings: dict[str, tuple[Path, Any]] = {}
    for path in files:
        content = read_pickle(path)
        if not isinstance(content, dict) or not content:
            raise DataError(
                f"{path} holds no recordings: expected a dict from sentence ids to landmarks"
            )
        for key, value in content.items():
            id = nfc(str(key))
            if id in recordings:
                raise DataError(
                    f"{id} is in {recordings[id][0]} and in {path}: give one of the two files"
                )
            recordings[id] = (path, value)
    return recordings


def read_points(value: Any, where: str, fps: float | None = None) -> LandmarkRecording:
    """The landmarks of one recording.

    Args:
        value: {"keypoints": PickledArray} or the PickledArray of shape (T, 86, 2 or 3), pixels. A
            third coordinate is ignored.
        where: file and id, for messages.

    Returns landmarks (T, 543, 3) as fractions of a square picture. Raises DataError for another
    content.
    """
    array = value.get("keypoints") if isinstance(value, Mapping) else value
    if not isinstance(array, PickledArray):
        raise DataError(f"{where} has no array 'keypoints', expected one of shape (T, {POINTS}, 2)")
    if len(array.shape) != 3 or array.shape[1] != POINTS or array.shape[2] not in (2, 3):
        raise DataError(
            f"{where} holds an array of shape {array.shape}, expected (T, {POINTS}, 2): x and y of "
            "right hand, left hand, lips and pose"
        )
    if array.shape[0] == 0:
        raise DataError(f"{where} has no frames: remove it from the list")
    points = array.read()[:, :, :2].astype(np.float32)
    landmarks = np.zeros((len(points), NUM_LANDMARKS, 3), np.float32)
    landmarks[:, POINT_INDICES, :2] = points
    known = np.nan_to_num(landmarks, posinf=1.0, neginf=1.0) != 0
    detected = np.stack(
        [known[:, PART_SLICES[part]].any(axis=(1, 2)) for part in PARTS],
        axis=1,
    )
    nose = np.where(detected[:, :1, None], landmarks[:, NOSE : NOSE + 1, :2], 0)
    landmarks[:, _MISSING, :2] = nose
    landmarks[..., :2] /= _side(landmarks, detected, where)
    found = find_unseen_parts(landmarks, lambda frame: f"{where} frame {frame}", detected)
    return LandmarkRecording(*found, fps, 1.0)


def _side(landmarks: np.ndarray, detected: np.ndarray, where: str) -> float:
    """The side of a square that holds head, shoulders and hands, in pixels. 1 if nothing was
    detected."""
    seen = [landmarks[detected[:, 0]][:, _CORE]]
    for column, part in enumerate(PARTS[1:], start=1):
        seen.append(landmarks[detected[:, column], PART_SLICES[part]])
    largest = max((float(np.nanmax(points[..., :2])) for points in seen if points.size), default=0)
    if not largest > 0 or not np.isfinite(largest):
        return 1.0  # nothing detected, or damage that is named later
    if largest < _SMALLEST_PICTURE:
        raise DataError(
            f"{where} has x and y up to {largest:.3g}, expected pixels: multiply fractions of the "
            "image by its width and height"
        )
    return largest


class _LipsOrder:
    """Checks on all recordings that the lips are in the expected order."""

    def __init__(self) -> None:
        self._recordings = self._wrong = 0

    def add(self, recording: LandmarkRecording) -> None:
        face = recording.landmarks[recording.detected[:, :2].all(axis=1)]
        if len(face) == 0:
            return
        height = np.median(face[:, _LOWER, 1] - face[:, _UPPER, 1])
        width = np.median(face[:, _LEFT_CORNER, 0] - face[:, _RIGHT_CORNER, 0])
        shoulders = np.median(face[:, LEFT_SHOULDER, 0] - face[:, RIGHT_SHOULDER, 0])
        offsets = face[:, POINT_INDICES[42:61], :2].mean(axis=1) - face[:, NOSE, :2]
        distance = np.median(np.hypot(*offsets.T))
        self._recordings += 1
        self._wrong += bool(height <= 0 or width * shoulders <= 0 or distance > abs(shoulders))

    def check(self, source: Path) -> None:
        """Raises DataError if the lips of most recordings are in another order."""
        if self._wrong * 2 > self._recordings:
            raise DataError(
                f"{source}: in {self._wrong} of {self._recordings} recordings the points 42 to 60 "
                "are not lips in the order of the challenge (near the nose, upper above lower, "
                "corners beside each other): the layout is another one"
            )
