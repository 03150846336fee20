"""Write a corpus folder. `data/corpus.py` describes its files and opens it.

Sentences are written to disk one by one, so memory holds only one sentence. The folder gets its
name when it is complete: an interrupted run leaves no half corpus behind.
"""

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from data.checks.file_hash import sha256_of
from data.corpus import ARRAYS, Corpus, split_files
from data.gloss_times import DTYPE as TIMES_DTYPE
from data.gloss_times import UNKNOWN, times_file, wrong_times
from data.landmarks import LAYOUT, NUM_LANDMARKS, PARTS
from data.output_place import WritingLock, check_new_folder
from data.safe_npy import npy_header
from data.sentences import CSV_HEADER, check_sentence
from data.stored_landmarks import FORMAT_VERSION, STORED_DTYPES, encode
from data.text_fields import nfc
from errors import DataError


def check_output(path: Path, *inputs: Path) -> None:
    """Raise UsageError or DataError unless a corpus folder can be made at `path`, apart from the
    inputs of the command."""
    leftover = bool(path.name) and _is_leftover(path.with_name(path.name + ".partial"))
    check_new_folder(path, "--output", leftover, inputs)


def _is_leftover(folder: Path) -> bool:
    """Whether a folder is what an interrupted `CorpusWriter` left behind: it has no other files."""
    if os.path.islink(folder) or not os.path.isdir(folder):
        return False
    try:
        names = set(os.listdir(folder)) - {WritingLock.name}
        tables = [name for name in names if name.endswith(".csv")]
        known = {"corpus.json", *(f for name in tables for f in split_files(name[:-4], True))}
        return names <= known and all(_is_table(folder / name) for name in tables)
    except OSError:  # it cannot be read, so it is not known to be ours
        return False


def _is_table(path: Path) -> bool:
    """Whether a csv is of a corpus; it is empty if the writer was interrupted early."""
    with open(path, "rb") as file:
        return CSV_HEADER.encode().startswith(file.read(len(CSV_HEADER)))


class SplitWriter:
    """Writes one split, sentence by sentence. `CorpusWriter.split` makes it.

    sentences, frames: how many are written so far.
    """

    def __init__(self, folder: Path, split: str, format_version: int):
        self.folder, self.split_name = folder, split
        self._dtype = STORED_DTYPES[format_version]
        self.sentences = self.frames = 0
        self._ids: set[str] = set()
        self._times: list[np.ndarray] = []  # of the glosses of each sentence
        self.has_times = False  # whether some are known
        self._csv = open(folder / f"{split}.csv", "w", encoding="utf-8", newline="\n")
        self._csv.write(CSV_HEADER + "\n")
        self._arrays = {name: open(folder / f"{split}.{name}.npy", "wb") for name in ARRAYS}
        for name in ARRAYS:
            self._arrays[name].write(self._header(name, 0))

    def _header(self, name: str, rows: int) -> bytes:
        dtype, row = ARRAYS[name]
        if name == "landmarks":
            dtype = self._dtype
        return npy_header(dtype, rows, row)

    def add(
        self,
        id: str,
        signer: str,
        annotation: str | Iterable[str],
        landmarks: np.ndarray,
        detected: np.ndarray,
        times: np.ndarray | None = None,
    ) -> None:
        """Append one sentence.

        Args:
            id: unique in the split. This and the other texts are stored in the Unicode form NFC.
            signer: name of the signer.
            annotation: the glosses, one by one, or as one string that is split at white space. Only
                the test split may have sentences without glosses.
            landmarks: float (T, 543, 3), fractions of the image, finite, T >= 1. The landmarks of
                a part are stored as zeros where it was not detected. `data.stored_landmarks` says
                how exactly they are stored.
            detected: bool (T, 4).
            times: int (glosses, 2), when each gloss begins and ends, as data/gloss_times.py
                describes it; None if that is not known.

        Raises DataError when a shape is wrong, a value is not finite or above 100, the id is
        already in use, the annotation is empty, or a text cannot be written into a csv row.
        """
        id, signer = nfc(id), nfc(signer)
        where = f"{self.split_name} sentence {id!r}"
        glosses = annotation.split() if isinstance(annotation, str) else list(annotation)
        glosses = [nfc(gloss) for gloss in glosses]
        check_sentence(self.split_name, id, signer, " ".join(glosses), where)
        for gloss in glosses:
            if gloss.split() != [gloss]:
                raise DataError(
                    f"{where}: gloss {gloss!r} is empty or has white space in it; "
                    "join its words with '-'"
                )
        if id in self._ids:
            raise DataError(f"{where}: this id is already in the split; ids must be unique")
        landmarks, detected = np.asarray(landmarks), np.asarray(detected)
        frames = len(landmarks)
        if (
            frames == 0
            or landmarks.shape != (frames, NUM_LANDMARKS, 3)
            or detected.shape != (frames, len(PARTS))
        ):
            raise DataError(
                f"{where}: landmarks {landmarks.shape} and detected {detected.shape}, "
                f"expected (T, {NUM_LANDMARKS}, 3) and (T, {len(PARTS)}) with T >= 1"
            )
        if times is None:
            times = np.full((len(glosses), 2), UNKNOWN)
        times = np.asarray(times).astype(TIMES_DTYPE)
        if times.shape != (len(glosses), 2) or wrong_times(times, frames).any():
            raise DataError(
                f"{where}: gloss times {times.tolist()}, expected two frames for each of "
                f"{len(glosses)} glosses, first < end, 0 to {frames}"
            )
        try:
            stored = encode(landmarks, detected, self._dtype)
        except ValueError as error:
            raise DataError(f"{where}: {error}") from None
        self._ids.add(id)
        self._csv.write(f"{id}|{signer}|{frames}|{' '.join(glosses)}\n")
        self._arrays["landmarks"].write(stored.tobytes())
        self._arrays["detected"].write(np.ascontiguousarray(detected, dtype=bool).tobytes())
        self._times.append(times)
        self.has_times |= bool((times != UNKNOWN).any())
        self.sentences += 1
        self.frames += frames

    def close(self) -> None:
        """Write the final headers and close the files."""
        self._csv.close()
        for name, file in self._arrays.items():
            file.seek(0)
            file.write(self._header(name, self.frames))
            file.close()
        if self.has_times:
            np.save(self.folder / times_file(self.split_name), np.concatenate(self._times))


class CorpusWriter:
    """Writes a corpus folder.

    with CorpusWriter(path, name="mine", fps=25, aspect_ratio=4 / 3, made_by={...}) as writer:
        train = writer.split("train")
        train.add("s1", "signer01", "HELLO WORLD", landmarks, detected)

    The files are written into `<path>.partial`, which is renamed to `path` at the end of the `with`
    block. An error in the block removes the partial folder.

    Args:
        path: the folder to make.
        name: name of the corpus.
        fps: frames per second.
        aspect_ratio: image width / height.
        made_by: how the corpus was made, in plain values; stored in corpus.json.
        simulated: the signers are simulated; every output made from the corpus states it.
        composed: sentences are joined from isolated signs; every output states it.
        format_version: of the landmarks, see data/stored_landmarks.py.

    Raises UsageError when the folder exists and is not empty, when `<path>.partial` is not one of
    an interrupted run, or when another process is writing it; DataError when it cannot be written.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        name: str,
        fps: float,
        aspect_ratio: float,
        made_by: dict[str, Any],
        simulated: bool = False,
        composed: bool = False,
        format_version: int = FORMAT_VERSION,
    ):
        self.path = Path(path)
        check_output(self.path)
        self._partial = self.path.with_name(self.path.name + ".partial")
        self._splits: dict[str, SplitWriter] = {}
        self._format_version = format_version
        self._json = {
            "format_version": format_version,
            "name": name,
            "layout": LAYOUT,
            "fps": float(fps),
            "aspect_ratio": float(aspect_ratio),
            "simulated": simulated,
            "composed": composed,
            "made_by": made_by,
        }

    @classmethod
    def like(
        cls, corpus: Corpus, path: Path, made_by: dict[str, Any], fps: float | None = None
    ) -> "CorpusWriter":
        """A writer of a corpus with the image shape and the origin of another one, and with its
        frame rate unless `fps` is given."""
        return cls(
            path,
            name=path.name,
            fps=fps or corpus.fps,
            aspect_ratio=corpus.aspect_ratio,
            made_by=made_by,
            simulated=corpus.simulated,
            composed=corpus.composed,
        )

    def __enter__(self) -> "CorpusWriter":
        try:
            if self._partial.is_dir():
                WritingLock(self._partial, self.path).release()  # it is of no process that works
            shutil.rmtree(self._partial, ignore_errors=True)  # what an interrupted run left behind
            self._partial.mkdir(parents=True)
            self._lock = WritingLock(self._partial, self.path)
        except OSError as error:
            raise DataError(f"cannot write the corpus to {self.path}: {error.strerror}") from error
        return self

    def split(self, name: str) -> SplitWriter:
        """The writer of a split; the first call makes it. Raises DataError for an unusable name."""
        if not name.isidentifier():  # the name becomes part of file names
            raise DataError(f"{name!r} cannot be the name of a split: expected train, dev or test")
        if name not in self._splits:
            self._splits[name] = SplitWriter(self._partial, name, self._format_version)
        return self._splits[name]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            try:
                for split in self._splits.values():
                    split.close()
            finally:
                self._lock.release()
            if kind is None:
                self._finish()
        except OSError as failure:
            raise DataError(
                f"cannot write the corpus to {self.path}: {failure.strerror}"
            ) from failure
        finally:
            shutil.rmtree(self._partial, ignore_errors=True)
        if isinstance(error, OSError):
            raise DataError(f"cannot write the corpus to {self.path}: {error.strerror}") from error

    def _finish(self) -> None:
        self._json["splits"] = {
            name: {
                "sentences": split.sentences,
                "frames": split.frames,
                "sha256": {
                    file: sha256_of(self._partial / file)
                    for file in split_files(name, split.has_times)
                },
            }
            for name, split in self._splits.items()
        }
        text = json.dumps(self._json, indent=2, ensure_ascii=False) + "\n"
        (self._partial / "corpus.json").write_text(text, encoding="utf-8")
        if self.path.exists():
            self.path.rmdir()  # empty, as checked at the start
        self._partial.rename(self.path)
