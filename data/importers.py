"""Recordings that people already have → a corpus folder.

mp_data   `<gloss>/<repetition>/<frame>.npy`, the folder layout of most MediaPipe tutorials: one vector a frame,
          pose 33 x (x, y, z, visibility), face 468 x 3, left hand 21 x 3, right hand 21 x 3 = 1662 values, or 258 without
          the face. Every recording becomes one sentence of one gloss in the split `train`.
npy       one .npy or .npz a sentence: (T, 1629) or (T, 543, 3) landmarks in the order of data/landmarks.py, (T, 543, 4)
          with a visibility that is left out, (T, 6516) values that begin with landmarks, or (T, 1662) as in mp_data.
pose      one .pose file a sentence (https://github.com/sign-language-processing/pose) with all of Holistic: 543 points, or
          576 and 586 with world landmarks and irises, which are left out.
parquet   one file a sentence of rows frame, type, landmark_index, x, y, z, as in Google's Kaggle competitions.

In mp_data and npy a part whose values are all exactly 0 in a frame was not detected there; in .pose files a part without
confidence, in parquet files a part that is NaN. Annotations are those of data/transcripts.py; which recording is a
sentence's is found as with footage (data/footage.py), for example `<split>/<id>.npy`.
"""

import os
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data.corpus import CorpusWriter, check_output, map_array
from data.extraction import commonest, to_aspect_ratio
from data.footage import Footage, find_footage, match_footage
from data.landmarks import (
    BLOCK,
    LEFT_SHOULDER,
    NOSE,
    NUM_COORDINATES,
    NUM_FEATURES,
    NUM_LANDMARKS,
    PART_SLICES,
    PARTS,
    RIGHT_SHOULDER,
)
from data.transcripts import TranscribedSentence, clean_train, read_splits
from errors import DataError

POSE_VALUES = 33 * 4  # x, y, z, visibility
MP_DATA_WIDTHS = {1662: ("face", "left_hand", "right_hand"), 258: ("left_hand", "right_hand")}  # what follows the pose
MP_DATA_FULL = 1662
IRISES = 10  # points of a refined face that are left out
KAGGLE_COLUMNS = ("frame", "type", "landmark_index", "x", "y", "z")
PICKLES = (".pkl", ".pickle", ".joblib", ".pt", ".pth")
SAMPLED_FILES = 20  # how many files the image coordinate check reads before anything is imported


@dataclass(frozen=True)
class Recording:
    """One folder of frames of the mp_data layout."""

    gloss: str
    repetition: int
    folder: Path


def detected_parts(landmarks: np.ndarray) -> np.ndarray:
    """Which parts were detected: bool (T, 4), False where all values of a part are exactly 0. landmarks: (T, 543, 3)."""
    return np.stack([landmarks[:, PART_SLICES[part]].any(axis=(1, 2)) for part in PARTS], axis=1)


def import_mp_data(
    source: Path,
    output: Path,
    *,
    fps: float = 25.0,
    aspect_ratio: float = 4 / 3,
    repetitions_per_session: int = 30,
    recorders: int = 1,
    progress: bool = False,
) -> None:
    """Write the corpus of isolated signs `output` from an mp_data folder; ids are `<gloss>-<repetition>`.

    Recorders are taken to have taken turns in blocks of `repetitions_per_session`: repetition r was recorded by
    recorder (r // block) % recorders, in session r // block. Memory stays at one recording.
    Raises DataError naming the folder or file that is not as the layout says, UsageError when `output` exists.
    """
    recordings = find_recordings(source)
    made_by = {
        "command": "import",
        "format": "mp_data",
        "input": source.resolve().name,
        "repetitions_per_session": repetitions_per_session,
        "recorders": recorders,
    }
    width = None
    with CorpusWriter(output, name=output.name, fps=fps, aspect_ratio=aspect_ratio, made_by=made_by) as writer:
        split = writer.split("train")
        for recording in tqdm(recordings, desc="import", unit="recording", disable=None if progress else True):
            frames = _read_frames(recording, width)
            width = frames.shape[1]
            landmarks = mp_data_landmarks(frames)
            recorder = recording.repetition // repetitions_per_session % recorders
            split.add(
                id=f"{recording.gloss}-{recording.repetition}",
                signer=f"recorder{recorder + 1:02d}",
                annotation=[recording.gloss],
                landmarks=landmarks,
                detected=detected_parts(landmarks),
            )


def find_recordings(source: Path) -> list[Recording]:
    """All recordings of an mp_data folder, glosses in sorted and repetitions in numeric order.

    White space in a gloss's folder name becomes '-'. Names that begin with '.' are passed over.
    Raises DataError for anything else that the layout does not have.
    """
    recordings, folder_of = [], {}
    for gloss_folder in _folders(source, "one folder a gloss (<gloss>/<repetition>/<frame>.npy)"):
        gloss = "-".join(gloss_folder.name.split())
        if gloss in folder_of:
            raise DataError(f"{gloss_folder} and {folder_of[gloss]} would both be the gloss '{gloss}'; rename one")
        folder_of[gloss] = gloss_folder
        numbered = {}
        for folder in _folders(gloss_folder, "one folder a repetition (<gloss>/<repetition>/<frame>.npy)"):
            repetition = _number(folder.name)
            if repetition is None:
                raise DataError(f"{folder}: expected a repetition number as the folder's name, found {folder.name!r}")
            if repetition in numbered:
                raise DataError(f"{folder} and {numbered[repetition]} are the same repetition {repetition}; rename one")
            numbered[repetition] = folder
        recordings += [Recording(gloss, repetition, numbered[repetition]) for repetition in sorted(numbered)]
    return recordings


def mp_data_landmarks(frames: np.ndarray) -> np.ndarray:
    """mp_data vectors (T, 1662) or (T, 258) → landmarks (T, 543, 3); visibility is left out, a missing face is zeros."""
    count, width = frames.shape
    landmarks = np.zeros((count, NUM_LANDMARKS, NUM_COORDINATES), frames.dtype)
    landmarks[:, PART_SLICES["pose"]] = frames[:, :POSE_VALUES].reshape(count, -1, 4)[:, :, :NUM_COORDINATES]
    start = POSE_VALUES
    for part in MP_DATA_WIDTHS[width]:
        points = PART_SLICES[part].stop - PART_SLICES[part].start
        stop = start + points * NUM_COORDINATES
        landmarks[:, PART_SLICES[part]] = frames[:, start:stop].reshape(count, points, NUM_COORDINATES)
        start = stop
    return landmarks


def _read_frames(recording: Recording, expected_width: int | None) -> np.ndarray:
    """Vectors of one recording in numeric frame order: float (T, width)."""
    numbered = {}
    for path in _entries(recording.folder):
        frame = _number(path.stem)
        if path.suffix != ".npy" or frame is None:
            raise DataError(f"{path}: expected only <frame number>.npy files in a recording; move it elsewhere")
        if frame in numbered:
            raise DataError(f"{path} and {numbered[frame]} are the same frame {frame}; delete one")
        numbered[frame] = path
    if not numbered:
        raise DataError(f"{recording.folder} is empty: expected the recording's frames, 0.npy, 1.npy ...; remove it")
    first = min(min(numbered), 1)  # some start counting at 1
    for frame in range(first, first + len(numbered)):
        if frame not in numbered:
            raise DataError(
                f"{recording.folder}: frame {frame} is missing ({len(numbered)} files, the last is {max(numbered)}.npy); "
                "a recording with a hole in it cannot be imported"
            )
    vectors = []
    for frame in range(first, first + len(numbered)):
        path = numbered[frame]
        vector = _map_floats(path)
        if vector.ndim != 1 or len(vector) not in MP_DATA_WIDTHS:
            raise DataError(
                f"{path} holds an array of shape {vector.shape}, expected one frame of (1662,) or (258,) values"
            )
        if expected_width not in (None, len(vector)):
            raise DataError(
                f"{path} has {len(vector)} values where the files before it have {expected_width}; "
                "import recordings with and without a face separately"
            )
        if not np.isfinite(vector).all():
            raise DataError(f"{path} has NaN or infinite values; record it again or remove the recording")
        expected_width = len(vector)
        vectors.append(vector)
    return np.stack(vectors)


@dataclass(frozen=True)
class Sequence:
    """One recording as read: landmarks (T, 543, 3), detected (T, 4), and what its file says of the video."""

    landmarks: np.ndarray
    detected: np.ndarray
    fps: float | None = None
    aspect_ratio: float | None = None


def import_sequences(
    source: Path,
    annotations: Path,
    output: Path,
    *,
    format: str,
    fps: float = 25.0,
    aspect_ratio: float = 210 / 260,
    normalize: str | None = None,
    progress: bool = False,
) -> None:
    """Write the corpus `output` from one file a sentence below `source` and `annotations` of any known format.

    format: 'npy', 'pose' or 'parquet', as told above. fps and aspect_ratio: of the recordings, where the files do not say
    (.pose files do; of several the corpus says the commonest, as with data/extraction.py). normalize: 'phoenix2014' cleans
    the train annotations. Refused are coordinates that are no fractions of the image: features that were standardised or
    centred cannot be turned back.
    Raises DataError naming the file, or the sentences that lack their file or annotation; UsageError when `output` exists.
    """
    check_output(output)
    suffixes, read = READERS[format]
    splits = read_splits(annotations)
    if normalize == "phoenix2014":
        clean_train(splits, annotations)
    _refuse_pickles(source)
    files = _match(splits, find_footage(source, suffixes, ()), source, annotations)
    check_image_coordinates(list(files.values()), read)
    if format == "pose":
        said = [(one.fps, one.aspect_ratio) for one in map(read, files.values())]
        fps, aspect_ratio = (commonest(Counter(values)) for values in zip(*said, strict=True))
    made_by = {"command": "import", "format": format, "input": source.resolve().name, "normalize": normalize}
    with (
        CorpusWriter(output, name=output.name, fps=fps, aspect_ratio=aspect_ratio, made_by=made_by) as writer,
        tqdm(total=len(files), desc="import", disable=None if progress else True) as bar,
    ):
        for split, sentences in splits.items():
            for sentence in sentences:
                sequence = read(files[split, sentence.id])
                landmarks = to_aspect_ratio(sequence.landmarks, sequence.aspect_ratio or aspect_ratio, aspect_ratio)
                writer.split(split).add(sentence.id, sentence.signer, sentence.glosses, landmarks, sequence.detected)
                bar.update()


def _refuse_pickles(source: Path) -> None:
    for folder, _, files in os.walk(source):
        for file in sorted(files):
            if Path(file).suffix.lower() in PICKLES:
                raise DataError(
                    f"{Path(folder, file)} is a pickle, which can run any program when it is opened, so it is not; open it "
                    "where you trust it, save each sentence's landmarks with numpy.save, and move it out of the input"
                )


def _match(
    splits: dict[str, list[TranscribedSentence]], recordings: list[Footage], source: Path, annotations: Path
) -> dict[tuple[str, str], Path]:
    """The file of each (split, id); a DataError lists the sentences without one and the files without an annotation."""
    matched, unused = match_footage(splits, recordings)
    missing = [f"{split} {one.id}" for split, rows in splits.items() for one in rows if (split, one.id) not in matched]
    count, problems = sum(map(len, splits.values())), []
    for what, names in (
        (f"of {count} sentences have no file in {source}", missing),
        (f"files have no annotation in {annotations}", [str(one.path.relative_to(source)) for one in unused]),
    ):
        if names:
            problems.append(f"{len(names)} {what}: {', '.join(names[:10])}{', ...' if len(names) > 10 else ''}")
    if problems:
        raise DataError("; ".join(problems))
    return {key: recording.path for key, recording in matched.items()}


def read_npy(path: Path) -> Sequence:
    """An .npy, or an .npz of one array, in any of the shapes of npy. Raises DataError naming the file."""
    array = _only_array(path) if path.suffix.lower() == ".npz" else _map_floats(path)
    shape = array.shape
    if len(array.shape) == 3 and shape[1:] in ((NUM_LANDMARKS, 3), (NUM_LANDMARKS, 4)):
        array = array[:, :, :NUM_COORDINATES].reshape(len(array), BLOCK)
    if array.ndim != 2 or array.shape[1] not in (BLOCK, NUM_FEATURES, MP_DATA_FULL) or len(array) == 0:
        raise DataError(
            f"{path} holds an array of shape {shape}, expected (T, {BLOCK}), (T, {MP_DATA_FULL}), (T, {NUM_FEATURES}) or "
            f"(T, {NUM_LANDMARKS}, 3 or 4)"
        )
    values = np.array(array if array.shape[1] == MP_DATA_FULL else array[:, :BLOCK])
    frames, columns = np.nonzero(~np.isfinite(values))
    if len(frames):
        raise DataError(
            f"{path} frame {frames[0]}, column {columns[0]}: NaN or infinite; extract or remove the sentence"
        )
    if values.shape[1] == MP_DATA_FULL:
        landmarks = mp_data_landmarks(values)
    else:
        landmarks = values.reshape(len(values), NUM_LANDMARKS, NUM_COORDINATES)
    return Sequence(landmarks, detected_parts(landmarks))


def _only_array(path: Path) -> np.ndarray:
    """The array of an .npz file that holds no other."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            if len(archive.files) != 1:
                raise DataError(
                    f"{path} holds {len(archive.files)} arrays ({', '.join(archive.files)}), expected one: the landmarks"
                )
            array = archive[archive.files[0]]
    except (OSError, ValueError, EOFError, KeyError, NotImplementedError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is not a readable .npz file of plain numbers: {error}") from None
    if array.dtype.kind != "f":
        raise DataError(f"{path} holds {array.dtype} values, expected float16, float32 or float64")
    return array


def read_pose(path: Path) -> Sequence:
    """A .pose file with all points of Holistic. Raises DataError naming the file, also when it has fewer points."""
    from pose_format import Pose

    try:
        pose = Pose.read(path.read_bytes())
    except Exception as error:  # the library raises struct.error, TypeError, UnicodeDecodeError and more
        raise DataError(f"{path} is not a readable .pose file: {' '.join(str(error).split())}") from None
    found = {component.name: (start, component) for start, component in _with_starts(pose.header.components)}
    values, confidence = np.ma.getdata(pose.body.data), np.ma.getdata(pose.body.confidence)
    if values.shape[1] != 1 or len(values) == 0 or values.shape[3] != NUM_COORDINATES:
        raise DataError(
            f"{path} has {len(values)} frames of {values.shape[1]} people in {values.shape[3]} dimensions, "
            "expected at least 1 frame of 1 person in 3"
        )
    width, height = pose.header.dimensions.width, pose.header.dimensions.height
    fps = float(pose.body.fps)
    if not (width > 0 and height > 0 and 1 <= fps <= 1000):
        raise DataError(f"{path} says {width}x{height} pixels and {fps:g} frames/s: these cannot be right")
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
    return Sequence(landmarks, detected, round(fps, 3), width / height)


def _with_starts(components) -> Iterator[tuple[int, object]]:
    start = 0
    for component in components:
        yield start, component
        start += len(component.points)


def read_parquet(path: Path) -> Sequence:
    """Rows frame, type, landmark_index, x, y, z of one recording; frames that have no rows are frames without a signer.

    Raises DataError naming the file.
    """
    import pyarrow
    from pyarrow import parquet

    try:
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
    count = int(frames.max() - frames.min()) + 1
    if count > 10 * len(np.unique(frames)):
        raise DataError(
            f"{path} has {len(np.unique(frames))} frames numbered {frames.min()} to {frames.max()}: not one video"
        )
    landmarks = np.full((count, NUM_LANDMARKS, NUM_COORDINATES), np.nan, np.float32)
    written = np.zeros((count, NUM_LANDMARKS), bool)
    for part in PARTS:
        rows, place = columns["type"] == part, PART_SLICES[part]
        if rows.any() and not (0 <= indices[rows].min() <= indices[rows].max() < place.stop - place.start):
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
    detected = np.stack([np.isfinite(landmarks[:, PART_SLICES[part]]).any(axis=(1, 2)) for part in PARTS], axis=1)
    _refuse_gaps(path, landmarks, detected)
    return Sequence(np.nan_to_num(landmarks, copy=False), detected)


def _refuse_gaps(path: Path, landmarks: np.ndarray, detected: np.ndarray) -> None:
    for column, part in enumerate(PARTS):
        broken = detected[:, column] & ~np.isfinite(landmarks[:, PART_SLICES[part]]).all(axis=(1, 2))
        if broken.any():
            raise DataError(
                f"{path} frame {np.flatnonzero(broken)[0]}: {part} is NaN or infinite in a part of its points"
            )


READERS: dict[str, tuple[tuple[str, ...], Callable[[Path], Sequence]]] = {
    "npy": ((".npy", ".npz"), read_npy),
    "pose": ((".pose",), read_pose),
    "parquet": ((".parquet",), read_parquet),
}


def check_image_coordinates(files: list[Path], read: Callable[[Path], Sequence]) -> None:
    """Refuse recordings whose coordinates are not fractions of the image, judged by the pose in a sample of the files.

    In an image the nose is inside it, the shoulders are near it, apart from each other and below the nose. Coordinates
    centred on the shoulders or standardised miss at least one of these by far.
    """
    sample = files[:: max(1, len(files) // SAMPLED_FILES)][:SAMPLED_FILES]
    medians = []
    for path in sample:
        pose = read(path).landmarks[:, [NOSE, LEFT_SHOULDER, RIGHT_SHOULDER], :2].astype(np.float64)
        pose = pose[pose.any(axis=(1, 2))]
        if len(pose):
            medians.append(np.median(pose, axis=0))
    if not medians:
        raise DataError(f"no pose was detected in any of {len(sample)} files, first {sample[0]}: nothing to learn from")
    nose, left, right = np.median(medians, axis=0)
    middle = (left + right) / 2
    in_image = (nose > 0).all() and (nose < 1).all() and -0.25 < middle[0] < 1.25 and 0 < middle[1] < 1.5
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


def _entries(folder: Path) -> Iterator[Path]:
    """What is in a folder, sorted by name; hidden files (.DS_Store and the like) are passed over."""
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        raise DataError(f"{folder} does not exist: expected a folder") from None
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror}") from None
    return (folder / name for name in names if not name.startswith("."))


def _folders(folder: Path, expected: str) -> Iterable[Path]:
    """The folders in a folder that must hold at least one and nothing else."""
    entries = list(_entries(folder))
    for entry in entries:
        if not entry.is_dir():
            raise DataError(f"{entry} is a file: {folder} should hold {expected}; move it elsewhere, or check --input")
    if not entries:
        raise DataError(f"{folder} is empty: it should hold {expected}")
    return entries


def _number(name: str) -> int | None:
    return int(name) if name.isascii() and name.isdecimal() and len(name) < 10 else None
