"""Recordings that people already have → a corpus folder.

mp_data   `<gloss>/<repetition>/<frame>.npy`, the folder layout of most MediaPipe tutorials: one vector a frame,
          pose 33 x (x, y, z, visibility), face 468 x 3, left hand 21 x 3, right hand 21 x 3 = 1662 values, or 258 without
          the face. Every recording becomes one sentence of one gloss in the split `train`.
npy       `<split>/<id>.npy` of (T, 1629) landmarks in the order of data/landmarks.py, or of (T, 6516) values that begin
          with them, and `<split>.corpus.csv` with the annotations.

In both, a part whose values are all exactly 0 in a frame was not detected there.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data.corpus import CorpusWriter, map_array
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
from data.transcripts import read_transcript
from errors import DataError

POSE_VALUES = 33 * 4  # x, y, z, visibility
MP_DATA_WIDTHS = {1662: ("face", "left_hand", "right_hand"), 258: ("left_hand", "right_hand")}  # what follows the pose
CSV_SUFFIX = ".corpus.csv"
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


def import_npy(
    source: Path,
    annotations: Path,
    output: Path,
    *,
    fps: float = 25.0,
    aspect_ratio: float = 210 / 260,
    progress: bool = False,
) -> None:
    """Write the corpus `output` from `<split>/<id>.npy` under `source` and `<split>.corpus.csv` in `annotations`.

    Each file is float16, 32 or 64 (T, 1629) or (T, 6516); of the latter the first 1,629 columns are taken, and refused
    when they are not image coordinates: features that were standardised or centred cannot be turned back.
    Raises DataError naming the file, or the sentences that lack their file or annotation; UsageError when `output` exists.
    """
    sentences = {split: read_transcript(annotations / (split + CSV_SUFFIX)) for split in _splits(source, annotations)}
    for split, rows in sentences.items():
        _match(split, {sentence.id for sentence in rows}, source / split, annotations / (split + CSV_SUFFIX))
        for sentence in rows:
            if not sentence.glosses:
                raise DataError(f"{annotations / (split + CSV_SUFFIX)}: the annotation of {sentence.id!r} is empty")
    _check_image_coordinates([source / split / f"{row.id}.npy" for split, rows in sentences.items() for row in rows])
    made_by = {"command": "import", "format": "npy", "input": source.resolve().name}
    with (
        CorpusWriter(output, name=output.name, fps=fps, aspect_ratio=aspect_ratio, made_by=made_by) as writer,
        tqdm(total=sum(map(len, sentences.values())), desc="import", disable=None if progress else True) as bar,
    ):
        for split, rows in sentences.items():
            for sentence in rows:
                landmarks = _read_landmarks(source / split / f"{sentence.id}.npy")
                writer.split(split).add(
                    sentence.id, sentence.signer, sentence.glosses, landmarks, detected_parts(landmarks)
                )
                bar.update()


def _splits(source: Path, annotations: Path) -> list[str]:
    """Names of the splits, train first; each needs a folder in `source` and a csv in `annotations`."""
    folders = {path.name for path in _folders(source, "one folder a split (<split>/<id>.npy)")}
    tables = {path.name.removesuffix(CSV_SUFFIX) for path in _entries(annotations) if path.name.endswith(CSV_SUFFIX)}
    for name in sorted(folders - tables):
        raise DataError(f"{source / name} has no annotations: {annotations / (name + CSV_SUFFIX)} is missing")
    for name in sorted(tables - folders):
        raise DataError(
            f"{annotations / (name + CSV_SUFFIX)} has no recordings: folder {source / name} is missing; "
            "add it, or leave the csv out of the annotations folder"
        )
    for name in folders:
        if not name.isidentifier():
            raise DataError(
                f"{source / name}: {name!r} cannot be the name of a split; rename it, for example to 'test'"
            )
    return sorted(folders, key=lambda name: (name != "train", name))


def _match(split: str, annotated: set[str], folder: Path, table: Path) -> None:
    """Every annotated sentence has its file and every file its annotation, or a DataError lists those that do not."""
    files = set()
    for path in _entries(folder):
        if path.suffix != ".npy":
            raise DataError(f"{path}: expected only <id>.npy files in a split's folder; move it elsewhere")
        files.add(path.stem)
    problems = []
    for what, missing in (
        (f"no file in {folder}", annotated - files),
        (f"no annotation in {table}", files - annotated),
    ):
        if missing:
            names = ", ".join(sorted(missing)[:10]) + (", ..." if len(missing) > 10 else "")
            problems.append(f"{len(missing)} of {len(annotated | files)} sentences have {what}: {names}")
    if problems:
        raise DataError(f"split '{split}': " + "; ".join(problems))


def _map_landmarks(path: Path) -> np.ndarray:
    """The landmark columns of a file, mapped: float (T, 1629)."""
    array = _map_floats(path)
    if array.ndim != 2 or array.shape[1] not in (BLOCK, NUM_FEATURES) or len(array) == 0:
        raise DataError(f"{path} holds an array of shape {array.shape}, expected (T, {BLOCK}) or (T, {NUM_FEATURES})")
    return array[:, :BLOCK]


def _read_landmarks(path: Path) -> np.ndarray:
    """Landmarks of one sentence: float (T, 543, 3)."""
    landmarks = np.array(_map_landmarks(path))
    frames, columns = np.nonzero(~np.isfinite(landmarks))
    if len(frames):
        raise DataError(
            f"{path} frame {frames[0]}, column {columns[0]}: NaN or infinite; extract or remove the sentence"
        )
    return landmarks.reshape(len(landmarks), NUM_LANDMARKS, NUM_COORDINATES)


def _check_image_coordinates(files: list[Path]) -> None:
    """Refuse recordings whose coordinates are not fractions of the image, judged by the pose in a sample of the files.

    In an image the nose is inside it, the shoulders are near it, apart from each other and below the nose. Coordinates
    centred on the shoulders or standardised miss at least one of these by far.
    """
    sample = files[:: max(1, len(files) // SAMPLED_FILES)][:SAMPLED_FILES]
    medians = []
    for path in sample:
        pose = _read_landmarks(path)[:, [NOSE, LEFT_SHOULDER, RIGHT_SHOULDER], :2].astype(np.float64)
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
            f"{sample[0].parent.parent} does not hold image coordinates: in {len(sample)} files the median nose is at "
            f"({nose[0]:.2f}, {nose[1]:.2f}), the shoulders at ({left[0]:.2f}, {left[1]:.2f}) and ({right[0]:.2f}, "
            f"{right[1]:.2f}), expected fractions of the image between 0 and 1; standardised or centred features cannot "
            "be turned back, give the landmarks as MediaPipe wrote them"
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
