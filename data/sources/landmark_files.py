"""Readers of landmark files: .npy, .npz, .pose and .parquet, one recording a file."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.landmarks import (
    BLOCK_SIZE,
    LEFT_SHOULDER,
    NOSE,
    NUM_COORDINATES,
    NUM_FEATURES,
    NUM_LANDMARKS,
    PART_SLICES,
    PARTS,
    RIGHT_SHOULDER,
)
from data.safe_npy import map_array
from data.sources.safe_npz import FREE_BYTES, MAX_EXPANSION, read_npz
from errors import DataError

POSE_VALUES = 33 * 4  # x, y, z, visibility
# What follows the pose
MP_DATA_WIDTHS = {1662: ("face", "left_hand", "right_hand"), 258: ("left_hand", "right_hand")}
MP_DATA_FULL = 1662
ROW_BYTES = 40  # of parquet in memory: two numbers, three coordinates, a type
IRISES = 10  # points of a refined face that are left out
KAGGLE_COLUMNS = ("frame", "type", "landmark_index", "x", "y", "z")
SAMPLED_FILES = 20  # how many files the image coordinate check reads before anything is imported


def detected_parts(landmarks: np.ndarray) -> np.ndarray:
    """Which parts were detected: bool (T, 4), False where all values of a part are exactly 0.
    landmarks: (T, 543, 3)."""
    return np.stack([landmarks[:, PART_SLICES[part]].any(axis=(1, 2)) for part in PARTS], axis=1)


@dataclass(frozen=True)
class LandmarkRecording:
    """One recording as read: landmarks (T, 543, 3), detected (T, 4), and what its file says of the
    video."""

    landmarks: np.ndarray
    detected: np.ndarray
    fps: float | None = None
    aspect_ratio: float | None = None


def _readable(
    files: Iterable[Path], read: Callable[[Path], LandmarkRecording]
) -> Iterator[LandmarkRecording]:
    """The recordings that can be read; the others are told of when they are imported. Raises
    DataError when none can."""
    failures, count = [], 0
    for path in files:
        try:
            yield read(path)
            count += 1
        except DataError as error:
            failures.append(error)
    if failures and not count:
        raise failures[0]


def read_npy(path: Path) -> LandmarkRecording:
    """An .npy, or an .npz of one array, in any of the shapes of npy. Raises DataError naming the
    file."""
    array = _only_array(path) if path.suffix.lower() == ".npz" else _map_floats(path)
    shape = array.shape
    if len(array.shape) == 3 and shape[1:] in ((NUM_LANDMARKS, 3), (NUM_LANDMARKS, 4)):
        array = array[:, :, :NUM_COORDINATES].reshape(len(array), BLOCK_SIZE)
    if (
        array.ndim != 2
        or array.shape[1] not in (BLOCK_SIZE, NUM_FEATURES, MP_DATA_FULL)
        or len(array) == 0
    ):
        raise DataError(
            f"{path} holds an array of shape {shape}, expected (T, {BLOCK_SIZE}), (T, {MP_DATA_FULL}), (T, {NUM_FEATURES}) or "
            f"(T, {NUM_LANDMARKS}, 3 or 4)"
        )
    values = np.array(array if array.shape[1] == MP_DATA_FULL else array[:, :BLOCK_SIZE])
    frames, columns = np.nonzero(~np.isfinite(values))
    if len(frames):
        raise DataError(
            f"{path} frame {frames[0]}, column {columns[0]}: NaN or infinite; extract or remove the sentence"
        )
    if values.shape[1] == MP_DATA_FULL:
        landmarks = mp_data_landmarks(values)
    else:
        landmarks = values.reshape(len(values), NUM_LANDMARKS, NUM_COORDINATES)
    return LandmarkRecording(landmarks, detected_parts(landmarks))


def _only_array(path: Path) -> np.ndarray:
    """The array of an .npz file that holds no other."""
    arrays = read_npz(path)
    if len(arrays) != 1:
        raise DataError(
            f"{path} holds {len(arrays)} arrays ({', '.join(arrays)}), expected one: the landmarks"
        )
    (array,) = arrays.values()
    if array.dtype.kind != "f":
        raise DataError(f"{path} holds {array.dtype} values, expected float16, float32 or float64")
    return array


def read_pose(path: Path) -> LandmarkRecording:
    """A .pose file with all points of Holistic. Raises DataError naming the file, also when it has
    fewer points."""
    from pose_format import Pose

    try:
        pose = Pose.read(path.read_bytes())
    # The library raises struct.error, TypeError, UnicodeDecodeError and more
    except Exception as error:
        raise DataError(
            f"{path} is not a readable .pose file: {' '.join(str(error).split())}"
        ) from None
    found = {
        component.name: (start, component)
        for start, component in _with_starts(pose.header.components)
    }
    values, confidence = np.ma.getdata(pose.body.data), np.ma.getdata(pose.body.confidence)
    if values.shape[1] != 1 or len(values) == 0 or values.shape[3] != NUM_COORDINATES:
        raise DataError(
            f"{path} has {len(values)} frames of {values.shape[1]} people in {values.shape[3]} dimensions, "
            "expected at least 1 frame of 1 person in 3"
        )
    width, height = pose.header.dimensions.width, pose.header.dimensions.height
    fps = float(pose.body.fps)
    if not (width > 0 and height > 0 and 1 <= fps <= 1000):
        raise DataError(
            f"{path} says {width}x{height} pixels and {fps:g} frames/s: these cannot be right"
        )
    landmarks = np.zeros((len(values), NUM_LANDMARKS, NUM_COORDINATES), np.float32)
    detected = np.zeros((len(values), len(PARTS)), bool)
    for column, part in enumerate(PARTS):
        name, place = f"{part.upper()}_LANDMARKS", PART_SLICES[part]
        wanted = place.stop - place.start
        start, component = found.get(name, (0, None))
        count = len(component.points) if component else 0
        if count != wanted and not (part == "face" and count == wanted + IRISES):
            raise DataError(
                f"{path} is reduced: {name} has {count} of {wanted} points ({values.shape[2]} in all); the full Holistic of "
                "543, 576 or 586 points is needed: estimate the poses again without reducing them, or use extract"
            )
        landmarks[:, place] = values[:, 0, start : start + wanted]
        detected[:, column] = (confidence[:, 0, start : start + wanted] > 0).any(axis=1)
    landmarks[..., 0] /= width  # x and y are pixels in the file, z is as MediaPipe gave it
    landmarks[..., 1] /= height
    _refuse_gaps(path, landmarks, detected)
    return LandmarkRecording(landmarks, detected, round(fps, 3), width / height)


def _with_starts(components) -> Iterator[tuple[int, object]]:
    start = 0
    for component in components:
        yield start, component
        start += len(component.points)


def read_parquet(path: Path) -> LandmarkRecording:
    """Rows frame, type, landmark_index, x, y, z of one recording; frames that have no rows are
    frames without a signer.

    Raises DataError naming the file.
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
            f"{path} is not parquet with the columns {', '.join(KAGGLE_COLUMNS)}: {' '.join(str(error).split())}"
        ) from None
    if len(frames) == 0:
        raise DataError(f"{path} has no rows")
    count = int(frames.max()) - int(frames.min()) + 1  # as Python counts, without an end
    if count > 10 * len(np.unique(frames)):
        raise DataError(
            f"{path} has {len(np.unique(frames))} frames numbered {frames.min()} to {frames.max()}: not one video"
        )
    landmarks = np.full((count, NUM_LANDMARKS, NUM_COORDINATES), np.nan, np.float32)
    written = np.zeros((count, NUM_LANDMARKS), bool)
    for part in PARTS:
        rows, place = columns["type"] == part, PART_SLICES[part]
        if rows.any() and not (
            0 <= indices[rows].min() <= indices[rows].max() < place.stop - place.start
        ):
            raise DataError(
                f"{path}: {part} has landmark_index {indices[rows].max()}, expected 0 to {place.stop - place.start - 1}"
            )
        where = frames[rows] - frames.min(), place.start + indices[rows]
        landmarks[where] = points[rows]
        written[where] = True
    if written.sum() != len(frames):
        odd = sorted({str(kind) for kind in columns["type"]} - set(PARTS))
        raise DataError(
            f"{path} has rows of the type {odd[0]!r}, expected {', '.join(PARTS)}"
            if odd
            else f"{path} has the same landmark of a frame in two rows"
        )
    detected = np.stack(
        [np.isfinite(landmarks[:, PART_SLICES[part]]).any(axis=(1, 2)) for part in PARTS], axis=1
    )
    _refuse_gaps(path, landmarks, detected)
    return LandmarkRecording(np.nan_to_num(landmarks, copy=False), detected)


def _check_expansion(path: Path, metadata) -> None:
    """Refuse a parquet file that would take far more memory than a recording of its size has.
    metadata: pyarrow's."""
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
            f"{path} has {size} bytes and would expand to {max(expanded, rows * ROW_BYTES)} ({rows} rows): no recording "
            "compresses like that, so it is not opened"
        )


def _refuse_gaps(path: Path, landmarks: np.ndarray, detected: np.ndarray) -> None:
    for column, part in enumerate(PARTS):
        broken = detected[:, column] & ~np.isfinite(landmarks[:, PART_SLICES[part]]).all(
            axis=(1, 2)
        )
        if broken.any():
            raise DataError(
                f"{path} frame {np.flatnonzero(broken)[0]}: {part} is NaN or infinite in a part of its points"
            )


READERS: dict[str, tuple[tuple[str, ...], Callable[[Path], LandmarkRecording]]] = {
    "npy": ((".npy", ".npz"), read_npy),
    "pose": ((".pose",), read_pose),
    "parquet": ((".parquet",), read_parquet),
}


def check_image_coordinates(files: list[Path], read: Callable[[Path], LandmarkRecording]) -> None:
    """Refuse recordings whose coordinates are not fractions of the image, judged by the pose in a
    sample of the files.

    In an image the nose is inside it, the shoulders are near it, apart from each other and below
    the nose. Coordinates centred on the shoulders or standardised miss at least one of these by
    far.
    """
    sample = files[:: max(1, len(files) // SAMPLED_FILES)][:SAMPLED_FILES]
    medians = []
    for sequence in _readable(sample, read):
        pose = sequence.landmarks[:, [NOSE, LEFT_SHOULDER, RIGHT_SHOULDER], :2].astype(np.float64)
        pose = pose[pose.any(axis=(1, 2))]
        if len(pose):
            medians.append(np.median(pose, axis=0))
    if not medians:
        raise DataError(
            f"no pose was detected in any of {len(sample)} files, first {sample[0]}: nothing to learn from"
        )
    nose, left, right = np.median(medians, axis=0)
    middle = (left + right) / 2
    in_image = (
        (nose > 0).all() and (nose < 1).all() and -0.25 < middle[0] < 1.25 and 0 < middle[1] < 1.5
    )
    if not (in_image and np.hypot(*(left - right)) > 0.02 and middle[1] - nose[1] > 0.02):
        raise DataError(
            f"{files[0] if len(files) == 1 else files[0].parent} does not hold image coordinates: in {len(sample)} "
            f"file{'s' if len(sample) > 1 else ''} the median nose is at ({nose[0]:.2f}, {nose[1]:.2f}), "
            f"the shoulders at ({left[0]:.2f}, {left[1]:.2f}) and ({right[0]:.2f}, "
            f"{right[1]:.2f}), expected fractions of the image between 0 and 1; standardised or centred features cannot "
            "be turned back, give the landmarks as MediaPipe wrote them, in the order pose, face, left hand, right hand"
        )


def _map_floats(path: Path) -> np.ndarray:
    array = map_array(path)
    if array.dtype.kind != "f":
        raise DataError(f"{path} holds {array.dtype} values, expected float16, float32 or float64")
    return array


def mp_data_landmarks(frames: np.ndarray) -> np.ndarray:
    """mp_data vectors (T, 1662) or (T, 258) → landmarks (T, 543, 3); visibility is left out, a
    missing face is zeros."""
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
