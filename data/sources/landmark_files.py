"""Readers of landmark files with one recording per file: .npy, .npz, .pose and .parquet.

npy       .npy, or .npz with one array, of float16, float32 or float64:
          (T, 1629) or (T, 543, 3): landmarks in the order of data/landmarks.py;
          (T, 543, 4): the same with a visibility, which is ignored;
          (T, 6516): features whose first 1629 values are the landmarks;
          (T, 1662) or (T, 258): vectors of the mp_data layout (data/sources/mp_data.py).
pose      .pose (https://github.com/sign-language-processing/pose) with all points of Holistic: 543,
          or 576 or 586 with world landmarks and irises, which are ignored.
          A part is not detected in a frame where no point has a confidence above 0.
parquet   rows of frame, type, landmark_index, x, y, z, as in Google's Kaggle competitions.
          A part is not detected in a frame where it has no rows.

In every format, a part is not detected in a frame where all its values are 0 or NaN.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.checks.plausibility import Plausibility
from data.landmarks import (
    BLOCK_SIZE,
    NUM_COORDINATES,
    NUM_FEATURES,
    NUM_LANDMARKS,
    PART_SLICES,
    PARTS,
)
from data.safe_npy import map_array
from data.sources.import_checks import refuse_error
from data.sources.safe_npz import FREE_BYTES, MAX_EXPANSION, read_npz
from data.sources.unseen_parts import find_unseen_parts
from data.sources.vector_widths import IRISES, explain_shape
from errors import DataError

POSE_VALUES = 33 * 4  # x, y, z, visibility
# Width of an mp_data vector: the parts after the pose
MP_DATA_WIDTHS = {1662: ("face", "left_hand", "right_hand"), 258: ("left_hand", "right_hand")}
KAGGLE_COLUMNS = ("frame", "type", "landmark_index", "x", "y", "z")
ROW_BYTES = 40  # memory of one parquet row: two numbers, three coordinates, a type
SAMPLED_FILES = 20  # files that check_image_coordinates reads


@dataclass(frozen=True)
class LandmarkRecording:
    """The content of a landmark file.

    landmarks: float (T, 543, 3). detected: bool (T, 4). fps, aspect_ratio: of the video, None where
    the file does not give them. first_frame: number of the first frame in the video. gloss_times:
    int (glosses, 2) of the sentence (data/gloss_times.py), None where they are not known.
    """

    landmarks: np.ndarray
    detected: np.ndarray
    fps: float | None = None
    aspect_ratio: float | None = None
    first_frame: int = 0
    gloss_times: np.ndarray | None = None


# ---- npy ----


def read_npy(path: Path) -> LandmarkRecording:
    """Read an .npy file, or an .npz file of one array, of any shape of the format npy.

    Raises DataError with the file's name.
    """
    array = _only_array(path) if path.suffix.lower() == ".npz" else map_floats(path)
    shape = array.shape
    if len(array.shape) == 3 and shape[1:] in ((NUM_LANDMARKS, 3), (NUM_LANDMARKS, 4)):
        array = array[:, :, :NUM_COORDINATES].reshape(len(array), BLOCK_SIZE)
    widths = (BLOCK_SIZE, NUM_FEATURES, *MP_DATA_WIDTHS)
    if array.ndim != 2 or array.shape[1] not in widths or len(array) == 0:
        explanation = explain_shape(shape)
        raise DataError(
            f"{path} holds an array of shape {shape}, expected (T, {BLOCK_SIZE}), (T, 1662), "
            f"(T, 258), (T, {NUM_FEATURES}) or (T, {NUM_LANDMARKS}, 3 or 4) with at least one "
            f"frame{'; ' if explanation else ''}{explanation}"
        )
    if array.shape[1] in MP_DATA_WIDTHS:
        landmarks = mp_data_landmarks(np.array(array))
    else:
        landmarks = array[:, :BLOCK_SIZE].reshape(len(array), NUM_LANDMARKS, NUM_COORDINATES)
    return LandmarkRecording(*find_unseen_parts(landmarks, lambda frame: f"{path} frame {frame}"))


def _only_array(path: Path) -> np.ndarray:
    """The array of an .npz file that holds no other."""
    arrays = read_npz(path)
    if len(arrays) != 1:
        raise DataError(
            f"{path} holds {len(arrays)} arrays ({', '.join(arrays)}), "
            "expected one array with the landmarks"
        )
    (array,) = arrays.values()
    return _check_floats(path, array)


def map_floats(path: Path) -> np.ndarray:
    """Memory-map an .npy file of floats. Raises DataError with the file's name."""
    return _check_floats(path, map_array(path))


def _check_floats(path: Path, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind != "f":
        raise DataError(f"{path} holds {array.dtype} values, expected float16, float32 or float64")
    return array


def mp_data_landmarks(frames: np.ndarray) -> np.ndarray:
    """Vectors of the mp_data layout (T, 1662) or (T, 258) → landmarks (T, 543, 3).

    The visibility is ignored. A face that the vectors do not have is zeros.
    """
    count, width = frames.shape
    landmarks = np.zeros((count, NUM_LANDMARKS, NUM_COORDINATES), frames.dtype)
    landmarks[:, PART_SLICES["pose"]] = frames[:, :POSE_VALUES].reshape(count, -1, 4)[
        :, :, :NUM_COORDINATES
    ]
    start = POSE_VALUES
    for part in MP_DATA_WIDTHS[width]:
        points = PART_SLICES[part].stop - PART_SLICES[part].start
        stop = start + points * NUM_COORDINATES
        landmarks[:, PART_SLICES[part]] = frames[:, start:stop].reshape(
            count, points, NUM_COORDINATES
        )
        start = stop
    return landmarks


# ---- pose ----


def read_pose(path: Path) -> LandmarkRecording:
    """Read a .pose file with all points of Holistic.

    Raises DataError with the file's name, also when the file has fewer points.
    """
    from pose_format import Pose

    try:
        pose = Pose.read(path.read_bytes())
    # The library raises struct.error, TypeError, UnicodeDecodeError and more
    except Exception as error:
        raise DataError(
            f"{path} is not a readable .pose file: {' '.join(str(error).split())}"
        ) from None
    values, confidence = np.ma.getdata(pose.body.data), np.ma.getdata(pose.body.confidence)
    if values.shape[1] != 1 or len(values) == 0 or values.shape[3] != NUM_COORDINATES:
        raise DataError(
            f"{path} has {len(values)} frames of {values.shape[1]} people in {values.shape[3]} "
            "dimensions, expected at least 1 frame of 1 person in 3 dimensions"
        )
    width, height = pose.header.dimensions.width, pose.header.dimensions.height
    fps = float(pose.body.fps)
    if not (width > 0 and height > 0 and 1 <= fps <= 1000):
        raise DataError(
            f"{path} has a size of {width}x{height} pixels and {fps:g} frames/s in its header, "
            "expected a size above 0 and 1 to 1000 frames/s: estimate the poses again"
        )
    components = _components(pose.header.components)
    landmarks = np.zeros((len(values), NUM_LANDMARKS, NUM_COORDINATES), np.float32)
    detected = np.zeros((len(values), len(PARTS)), bool)
    for column, part in enumerate(PARTS):
        name, place = f"{part.upper()}_LANDMARKS", PART_SLICES[part]
        expected = place.stop - place.start
        start, count = components.get(name, (0, 0))
        if count != expected and not (part == "face" and count == expected + IRISES):
            raise DataError(
                f"{path} is reduced: {name} has {count} of {expected} points "
                f"({values.shape[2]} in all), expected the full Holistic of 543, 576 or 586 "
                "points: estimate the poses again without reducing them, or extract the videos"
            )
        landmarks[:, place] = values[:, 0, start : start + expected]
        detected[:, column] = (confidence[:, 0, start : start + expected] > 0).any(axis=1)
    landmarks[..., 0] /= width  # x and y are in pixels, z is as MediaPipe gives it
    landmarks[..., 1] /= height
    found = find_unseen_parts(landmarks, lambda frame: f"{path} frame {frame}", detected)
    return LandmarkRecording(*found, round(fps, 3), width / height)


def _components(components: Iterable[Any]) -> dict[str, tuple[int, int]]:
    """(first point, number of points) of each component of a .pose file, by name."""
    places, start = {}, 0
    for component in components:
        places[component.name] = (start, len(component.points))
        start += len(component.points)
    return places


# ---- parquet ----


def read_parquet(path: Path) -> LandmarkRecording:
    """Read a parquet file of rows frame, type, landmark_index, x, y, z.

    A frame without rows is a frame without a signer. Raises DataError with the file's name.
    """
    import pyarrow
    from pyarrow import parquet

    try:
        _check_expansion(path, parquet.ParquetFile(path, memory_map=True).metadata)
        table = parquet.read_table(path, columns=list(KAGGLE_COLUMNS), partitioning=None)
        columns = {name: table.column(name).to_numpy() for name in KAGGLE_COLUMNS}
        frames, indices = (columns[name].astype(np.int64) for name in ("frame", "landmark_index"))
        points = np.stack([columns[name].astype(np.float32) for name in "xyz"], axis=1)
    except (OSError, KeyError, ValueError, TypeError, pyarrow.ArrowException) as error:
        raise DataError(
            f"{path} is not parquet with the columns {', '.join(KAGGLE_COLUMNS)}: "
            f"{' '.join(str(error).split())}"
        ) from None
    if len(frames) == 0:
        raise DataError(f"{path} has no rows: expected one per landmark and frame")
    count = int(frames.max()) - int(frames.min()) + 1  # Python's int does not overflow
    if count > 10 * len(np.unique(frames)):
        raise DataError(
            f"{path} has {len(np.unique(frames))} frames numbered {frames.min()} to "
            f"{frames.max()}, expected the numbers of one video without large gaps"
        )
    landmarks = np.full((count, NUM_LANDMARKS, NUM_COORDINATES), np.nan, np.float32)
    written = np.zeros((count, NUM_LANDMARKS), bool)
    for part in PARTS:
        rows, place = columns["type"] == part, PART_SLICES[part]
        if rows.any() and not (
            0 <= indices[rows].min() <= indices[rows].max() < place.stop - place.start
        ):
            raise DataError(
                f"{path}: {part} has landmark_index {indices[rows].max()}, "
                f"expected 0 to {place.stop - place.start - 1}"
            )
        where = frames[rows] - frames.min(), place.start + indices[rows]
        landmarks[where] = points[rows]
        written[where] = True
    if written.sum() != len(frames):
        unknown = sorted({str(kind) for kind in columns["type"]} - set(PARTS))
        raise DataError(
            f"{path} has rows of the type {unknown[0]!r}, expected {', '.join(PARTS)}"
            if unknown
            else f"{path} has two rows of the same landmark in one frame, expected one"
        )
    found = find_unseen_parts(landmarks, lambda frame: f"{path} frame {frame}")
    return LandmarkRecording(*found, first_frame=int(frames.min()))


def _check_expansion(path: Path, metadata: Any) -> None:
    """Raise DataError for a parquet file that would need far more memory than a recording of its
    size. metadata: pyarrow's."""
    size = path.stat().st_size
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    expanded = sum(
        group.column(index).total_uncompressed_size
        for group in groups
        for index in range(group.num_columns)
    )
    rows = max(metadata.num_rows, sum(group.num_rows for group in groups))
    if (
        max(expanded, rows * ROW_BYTES) > max(FREE_BYTES, MAX_EXPANSION * size)
        or min(expanded, rows) < 0
    ):
        raise DataError(
            f"{path} has {size} bytes and would expand to {max(expanded, rows * ROW_BYTES)} "
            f"({rows} rows): no recording compresses like that, so it is not opened"
        )


# ---- all formats ----

# By the name of the format: suffixes of its files and their reader
READERS: dict[str, tuple[tuple[str, ...], Callable[[Path], LandmarkRecording]]] = {
    "npy": ((".npy", ".npz"), read_npy),
    "pose": ((".pose",), read_pose),
    "parquet": ((".parquet",), read_parquet),
}


def readable_recordings(
    files: Iterable[Path], read: Callable[[Path], LandmarkRecording]
) -> Iterator[tuple[Path, LandmarkRecording]]:
    """The files that can be read, with their recordings; unreadable files are skipped.

    Raises the first DataError when no file can be read.
    """
    failures, count = [], 0
    for path in files:
        try:
            yield path, read(path)
            count += 1
        except DataError as error:
            failures.append(error)
    if failures and not count:
        raise failures[0]


def check_image_coordinates(files: list[Path], read: Callable[[Path], LandmarkRecording]) -> None:
    """Raise DataError when a sample of the files is not of a signer in an image.

    data/checks/plausibility.py has the conditions, such as fractions of the image.
    """
    sample = files[:: max(1, len(files) // SAMPLED_FILES)][:SAMPLED_FILES]
    plausibility = Plausibility()
    for path, recording in readable_recordings(sample, read):
        plausibility.add(path.name, recording.landmarks, recording.detected)
    name = files[0] if len(files) == 1 else files[0].parent
    for finding in plausibility.findings():
        refuse_error(str(name), finding)
