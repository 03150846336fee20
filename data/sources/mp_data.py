"""Import of isolated signs in the MP_Data layout: `<gloss>/<repetition>/<frame>.npy`."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data.corpus_writer import CorpusWriter
from data.sources.importing import ImportFailures
from data.sources.landmark_files import (
    MP_DATA_WIDTHS,
    _map_floats,
    detected_parts,
    mp_data_landmarks,
)
from errors import DataError


@dataclass(frozen=True)
class MpDataRecording:
    """One folder of frames of the mp_data layout."""

    gloss: str
    repetition: int
    folder: Path


def import_mp_data(
    source: Path,
    output: Path,
    *,
    fps: float = 25.0,
    aspect_ratio: float = 4 / 3,
    repetitions_per_session: int = 30,
    recorders: int = 1,
    skip_bad: bool = False,
    progress: bool = False,
) -> None:
    """Write the corpus of isolated signs `output` from an mp_data folder; ids are
    `<gloss>-<repetition>`.

    Recorders are taken to have taken turns in blocks of `repetitions_per_session`: repetition r was
    recorded by recorder (r // block) % recorders, in session r // block. Memory stays at one
    recording. skip_bad: leave recordings out that cannot be read, which are listed, instead of
    refusing all. Raises DataError naming the folder or file that is not as the layout says,
    UsageError when `output` exists.
    """
    recordings = find_mp_data_recordings(source)
    made_by = {
        "command": "import",
        "format": "mp_data",
        "input": source.resolve().name,
        "repetitions_per_session": repetitions_per_session,
        "recorders": recorders,
    }
    width, faults = None, ImportFailures()
    with CorpusWriter(
        output, name=output.name, fps=fps, aspect_ratio=aspect_ratio, made_by=made_by
    ) as writer:
        split = writer.split("train")
        for recording in tqdm(
            recordings, desc="import", unit="recording", disable=None if progress else True
        ):
            id = f"{recording.gloss}-{recording.repetition}"
            with faults.of("train", id):
                frames = _read_frames(recording, width)
                width = frames.shape[1]
                landmarks = mp_data_landmarks(frames)
                recorder = recording.repetition // repetitions_per_session % recorders
                split.add(
                    id=id,
                    signer=f"recorder{recorder + 1:02d}",
                    annotation=[recording.gloss],
                    landmarks=landmarks,
                    detected=detected_parts(landmarks),
                )
        faults.judge(skip_bad)


def find_mp_data_recordings(source: Path) -> list[MpDataRecording]:
    """All recordings of an mp_data folder, glosses in sorted and repetitions in numeric order.

    White space in a gloss's folder name becomes '-'. Names that begin with '.' are passed over.
    Raises DataError for anything else that the layout does not have.
    """
    recordings, folder_of = [], {}
    for gloss_folder in _folders(source, "one folder a gloss (<gloss>/<repetition>/<frame>.npy)"):
        gloss = "-".join(gloss_folder.name.split())
        if gloss in folder_of:
            raise DataError(
                f"{gloss_folder} and {folder_of[gloss]} would both be the gloss '{gloss}'; rename one"
            )
        folder_of[gloss] = gloss_folder
        numbered = {}
        for folder in _folders(
            gloss_folder, "one folder a repetition (<gloss>/<repetition>/<frame>.npy)"
        ):
            repetition = _number(folder.name)
            if repetition is None:
                raise DataError(
                    f"{folder}: expected a repetition number as the folder's name, found {folder.name!r}"
                )
            if repetition in numbered:
                raise DataError(
                    f"{folder} and {numbered[repetition]} are the same repetition {repetition}; rename one"
                )
            numbered[repetition] = folder
        recordings += [
            MpDataRecording(gloss, repetition, numbered[repetition])
            for repetition in sorted(numbered)
        ]
    return recordings


def _read_frames(recording: MpDataRecording, expected_width: int | None) -> np.ndarray:
    """Vectors of one recording in numeric frame order: float (T, width)."""
    numbered = {}
    for path in _entries(recording.folder):
        frame = _number(path.stem)
        if path.suffix != ".npy" or frame is None:
            raise DataError(
                f"{path}: expected only <frame number>.npy files in a recording; move it elsewhere"
            )
        if frame in numbered:
            raise DataError(f"{path} and {numbered[frame]} are the same frame {frame}; delete one")
        numbered[frame] = path
    if not numbered:
        raise DataError(
            f"{recording.folder} is empty: expected the recording's frames, 0.npy, 1.npy ...; remove it"
        )
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
            raise DataError(
                f"{path} has NaN or infinite values; record it again or remove the recording"
            )
        expected_width = len(vector)
        vectors.append(vector)
    return np.stack(vectors)


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
            raise DataError(
                f"{entry} is a file: {folder} should hold {expected}; move it elsewhere, or check --input"
            )
    if not entries:
        raise DataError(f"{folder} is empty: it should hold {expected}")
    return entries


def _number(name: str) -> int | None:
    return int(name) if name.isascii() and name.isdecimal() and len(name) < 10 else None
