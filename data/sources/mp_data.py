"""Isolated signs in the MP_Data layout → a corpus folder.

`<gloss>/<repetition>/<frame>.npy` is the folder layout of most MediaPipe tutorials. Each file is
one frame: a vector of 1662 values (pose 33 x (x, y, z, visibility), face 468 x 3, left hand 21 x 3,
right hand 21 x 3), or of 258 values without the face. Each recording becomes one sentence of one
gloss in the split `train`. A part is not detected in a frame where all its values are 0 or NaN.
"""

import contextlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.checks.plausibility import Plausibility
from data.corpus_writer import CorpusWriter, check_output
from data.sources.annotations.gloss_warnings import gloss_warnings
from data.sources.import_checks import (
    ImportChecks,
    print_warnings,
    refuse_error,
    warn_of_unseen_sentences,
)
from data.sources.import_defaults import FPS, IMAGES, RECORDERS, REPETITIONS_PER_SESSION
from data.sources.import_failures import ImportFailures
from data.sources.landmark_files import (
    MP_DATA_WIDTHS,
    SAMPLED_FILES,
    map_floats,
    mp_data_landmarks,
)
from data.sources.recording_facts import at_rate, frame_times
from data.sources.unseen_parts import find_unseen_parts
from data.sources.vector_widths import explain_width
from data.text_fields import nfc
from errors import DataError, printable
from progress_bar import ProgressBar


@dataclass(frozen=True)
class MpDataRecording:
    """One recording: a folder of .npy files, one per frame."""

    gloss: str
    repetition: int
    folder: Path


def import_mp_data(
    source: Path,
    output: Path,
    *,
    fps: float = FPS,
    resample_fps: float | None = None,
    aspect_ratio: float = IMAGES["mp_data"].aspect_ratio,
    repetitions_per_session: int = REPETITIONS_PER_SESSION,
    recorders: int = RECORDERS,
    skip_bad: bool = False,
    progress: bool = False,
) -> None:
    """Write the corpus of isolated signs `output` from an mp_data folder.

    The ids are `<gloss>-<repetition>`. Memory holds one recording at a time.

    Args:
        source: the mp_data folder.
        output: the corpus folder to write.
        fps, aspect_ratio: frames per second and width / height of the recordings.
        resample_fps: frames per second of the corpus; None: as the recordings.
        repetitions_per_session: repetitions of a gloss in one recording session. Repetition r
            belongs to session r // repetitions_per_session.
        recorders: number of people who took turns, one session each. Session s belongs to recorder
            s % recorders.
        skip_bad: leave unreadable recordings out, instead of refusing the import. The failures are
            printed in both cases.
        progress: show a progress bar.

    Raises DataError with the name of a folder or file that does not fit the layout, and for
    landmarks that are not those of a signer in an image (data/checks/plausibility.py). Raises
    UsageError when `output` is not empty.
    """
    check_output(output, source)
    recordings = find_mp_data_recordings(source)
    print_warnings(gloss_warnings((str(one.folder.parent), [one.gloss]) for one in recordings))
    _check_sample(source, recordings)
    made_by = {
        "command": "import",
        "format": "mp_data",
        "input": source.resolve().name,
        "repetitions_per_session": repetitions_per_session,
        "recorders": recorders,
        "resample_fps": resample_fps,
    }
    corpus_fps = resample_fps or fps
    width = _commonest_width(recordings)
    failures, checks = ImportFailures(), ImportChecks(source)
    with CorpusWriter(
        output, name=output.name, fps=corpus_fps, aspect_ratio=aspect_ratio, made_by=made_by
    ) as writer:
        split = writer.split("train")
        bar = ProgressBar("import", len(recordings), "recording", progress)
        for recording in bar.over(recordings):
            id = f"{recording.gloss}-{recording.repetition}"
            with failures.collect("train", id):
                landmarks, detected = _read_recording(recording, width)
                checks.add("train", id, landmarks, detected)
                times = frame_times(len(landmarks), fps)
                landmarks, detected = at_rate(times, landmarks, detected, corpus_fps)
                recorder = recording.repetition // repetitions_per_session % recorders
                split.add(
                    id=id,
                    signer=f"recorder{recorder + 1:02d}",
                    annotation=[recording.gloss],
                    landmarks=landmarks,
                    detected=detected,
                )
        failures.report(skip_bad)
        checks.finish()
    warn_of_unseen_sentences(output)


def _check_sample(source: Path, recordings: list[MpDataRecording]) -> None:
    """Raise DataError when a sample of the recordings is not of a signer in an image.

    Recordings that cannot be read are left to the import.
    """
    plausibility = Plausibility()
    for recording in recordings[:: max(1, len(recordings) // SAMPLED_FILES)][:SAMPLED_FILES]:
        with contextlib.suppress(DataError):
            landmarks, detected = _read_recording(recording, None)
            plausibility.add(f"{recording.gloss}/{recording.repetition}", landmarks, detected)
    for finding in plausibility.findings():
        refuse_error(str(source), finding)


def find_mp_data_recordings(source: Path) -> list[MpDataRecording]:
    """Find all recordings of an mp_data folder, sorted by gloss and by repetition number.

    White space in the name of a gloss folder becomes '-', which is printed once. Names that begin
    with '.' are ignored. Raises DataError for anything else that the layout does not have.
    """
    recordings: list[MpDataRecording] = []
    folder_of: dict[str, Path] = {}
    joined: list[str] = []
    for gloss_folder in _folders(source, "one folder per gloss (<gloss>/<repetition>/<frame>.npy)"):
        gloss = nfc("-".join(gloss_folder.name.split()))
        if gloss in folder_of:
            raise DataError(
                f"{gloss_folder} and {folder_of[gloss]} would both be the gloss '{gloss}'; "
                "rename one"
            )
        folder_of[gloss] = gloss_folder
        if gloss != nfc(gloss_folder.name):
            joined.append(f"{gloss_folder.name!r} is the gloss {gloss!r}")
        numbered: dict[int, Path] = {}
        for folder in _folders(
            gloss_folder, "one folder per repetition (<gloss>/<repetition>/<frame>.npy)"
        ):
            repetition = _number(folder.name)
            if repetition is None:
                raise DataError(
                    f"{folder}: expected a repetition number as the folder's name, "
                    f"found {folder.name!r}; rename or move it"
                )
            if repetition in numbered:
                raise DataError(
                    f"{folder} and {numbered[repetition]} are the same repetition {repetition}; "
                    "rename one"
                )
            numbered[repetition] = folder
        recordings += [
            MpDataRecording(gloss, repetition, numbered[repetition])
            for repetition in sorted(numbered)
        ]
    if joined:
        more = f" ({len(joined)} folders in all)" if len(joined) > 1 else ""
        text = f"white space in the names of gloss folders becomes '-': {joined[0]}{more}"
        print(printable(text))
    return recordings


def _commonest_width(recordings: list[MpDataRecording]) -> int | None:
    """The width of the vectors of most recordings, by a frame of each; None if none can be read."""
    widths: Counter[int] = Counter()
    for recording in recordings:
        with contextlib.suppress(DataError, StopIteration):
            widths[map_floats(next(_entries(recording.folder))).size] += 1
    known = [(count, width) for width, count in widths.items() if width in MP_DATA_WIDTHS]
    return max(known)[1] if known else None


def _read_recording(
    recording: MpDataRecording, expected_width: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Landmarks float (T, 543, 3) and detected bool (T, 4) of one recording, in the order of the
    frame numbers."""
    numbered: dict[int, Path] = {}
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
            f"{recording.folder} is empty: expected the recording's frames 0.npy, 1.npy ...; "
            "remove it"
        )
    first = min(min(numbered), 1)  # some recordings count from 1
    for frame in range(first, first + len(numbered)):
        if frame not in numbered:
            raise DataError(
                f"{recording.folder}: frame {frame} is missing ({len(numbered)} files, "
                f"the last is {max(numbered)}.npy); restore the missing frames or remove the "
                "recording"
            )
    paths = [numbered[frame] for frame in range(first, first + len(numbered))]
    vectors = []
    for path in paths:
        vector = map_floats(path)
        if vector.ndim != 1 or len(vector) not in MP_DATA_WIDTHS:
            explanation = explain_width(vector.size, with_visibility=True)
            raise DataError(
                f"{path} holds an array of shape {vector.shape}, expected one frame of (1662,) or "
                f"(258,) values{'; ' if explanation else ''}{explanation}"
            )
        if expected_width not in (None, len(vector)):
            raise DataError(
                f"{path} has {len(vector)} values, most files have {expected_width}; "
                "import recordings with and without a face separately"
            )
        expected_width = len(vector)
        vectors.append(vector)
    landmarks = mp_data_landmarks(np.stack(vectors))
    return find_unseen_parts(landmarks, lambda frame: str(paths[frame]))


def _entries(folder: Path) -> Iterator[Path]:
    """The content of a folder, sorted by name, without hidden files such as .DS_Store."""
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        raise DataError(f"{folder} does not exist: expected a folder; check --input") from None
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror}; check --input") from None
    return (folder / name for name in names if not name.startswith("."))


def _folders(folder: Path, expected: str) -> list[Path]:
    """The folders in a folder. Raises DataError when it is empty or has other entries."""
    entries = list(_entries(folder))
    for entry in entries:
        if not entry.is_dir():
            raise DataError(
                f"{entry} is a file: {folder} should hold {expected}; "
                "move it elsewhere, or check --input"
            )
    if not entries:
        raise DataError(f"{folder} is empty: it should hold {expected}")
    return entries


def _number(name: str) -> int | None:
    return int(name) if name.isascii() and name.isdecimal() and len(name) < 10 else None
