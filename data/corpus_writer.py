"""Writing a corpus folder: sentences are streamed to disk, and the folder appears once it is
complete."""

import io
import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from data.corpus import ARRAYS, CSV_HEADER, FORMAT_VERSION, check_field, sha256_of, split_files
from data.landmarks import LAYOUT, NUM_LANDMARKS, PART_SLICES, PARTS
from errors import DataError, UsageError

_HEADER_BYTES = 128  # numpy pads its header so that the number of rows can grow in place


def check_output(path: Path) -> None:
    """Raise UsageError when a corpus cannot be made at `path` because something is there already."""
    try:
        taken = path.exists() and (not path.is_dir() or any(path.iterdir()))
    except OSError as error:
        raise DataError(f"cannot write the corpus to {path}: {error.strerror}") from error
    if taken or not path.name:
        raise UsageError(f"{path} already exists: choose another --output or remove it first")


class SplitWriter:
    """Streams the sentences of one split to disk; memory stays at one sentence. Made by
    `CorpusWriter.split`."""

    def __init__(self, folder: Path, split: str):
        self.folder, self.split_name = folder, split
        self.sentences = self.frames = 0
        self._ids: set[str] = set()
        self._csv = open(folder / f"{split}.csv", "w", encoding="utf-8", newline="\n")
        self._csv.write(CSV_HEADER + "\n")
        self._arrays = {name: open(folder / f"{split}.{name}.npy", "wb") for name in ARRAYS}
        for name in ARRAYS:
            self._arrays[name].write(self._header(name, 0))

    @staticmethod
    def _header(name: str, rows: int) -> bytes:
        dtype, row = ARRAYS[name]
        buffer = io.BytesIO()
        description = {
            "descr": np.lib.format.dtype_to_descr(dtype),
            "fortran_order": False,
            "shape": (rows, *row),
        }
        np.lib.format.write_array_header_1_0(buffer, description)
        assert buffer.tell() == _HEADER_BYTES, buffer.tell()
        return buffer.getvalue()

    def add(
        self,
        id: str,
        signer: str,
        annotation: str | Iterable[str],
        landmarks: np.ndarray,
        detected: np.ndarray,
    ) -> None:
        """Append one sentence.

        landmarks: float (T, 543, 3) with T >= 1, finite; rows of parts that were not detected are
        set to zero here. detected: bool (T, 4). annotation: glosses, as a string cut at white space
        or one by one. Raises DataError when a value is not finite, a shape is wrong, the id repeats
        or the annotation is empty.
        """
        where = f"{self.split_name} sentence {id!r}"
        glosses = annotation.split() if isinstance(annotation, str) else list(annotation)
        for field, value in (("id", id), ("signer", signer), ("annotation", " ".join(glosses))):
            check_field(field, value, where)
        for gloss in glosses:
            if gloss.split() != [gloss]:
                raise DataError(
                    f"{where}: gloss {gloss!r} is empty or has white space in it; join its words with '-'"
                )
        if id in self._ids:
            raise DataError(
                f"{where}: this id was already written to the split; ids must be unique"
            )
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
        with np.errstate(over="ignore"):
            stored = landmarks.astype("<f2")  # a copy, also when it is float16 already
        for column, part in enumerate(PARTS):
            stored[~detected[:, column].astype(bool), PART_SLICES[part]] = 0
        if not np.isfinite(stored).all():
            raise DataError(f"{where}: landmarks have NaN, infinite or larger than float16 values")
        self._ids.add(id)
        self._csv.write(f"{id}|{signer}|{frames}|{' '.join(glosses)}\n")
        self._arrays["landmarks"].write(stored.tobytes())
        self._arrays["detected"].write(np.ascontiguousarray(detected, dtype=bool).tobytes())
        self.sentences += 1
        self.frames += frames

    def close(self) -> None:
        self._csv.close()
        for name, file in self._arrays.items():
            file.seek(0)
            file.write(self._header(name, self.frames))
            file.close()


class CorpusWriter:
    """Writes a corpus folder; it appears under its name only once it is complete.

    with CorpusWriter(Path("data/corpora/mine"), name="mine", fps=25, aspect_ratio=4 / 3, made_by={...}) as writer:
        train = writer.split("train")
        train.add("s1", "signer01", "HELLO WORLD", landmarks, detected)

    fps: frames a second. aspect_ratio: image width / height. made_by: plain values that say how it
    came to be. simulated / composed: shown in every output made from the corpus. Raises UsageError
    when the folder exists and is not empty, DataError when it cannot be written.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        name: str,
        fps: float,
        aspect_ratio: float,
        made_by: dict,
        simulated: bool = False,
        composed: bool = False,
    ):
        self.path = Path(path)
        check_output(self.path)
        self._partial = self.path.with_name(self.path.name + ".partial")
        self._splits: dict[str, SplitWriter] = {}
        self._json = {
            "format_version": FORMAT_VERSION,
            "name": name,
            "layout": LAYOUT,
            "fps": float(fps),
            "aspect_ratio": float(aspect_ratio),
            "simulated": simulated,
            "composed": composed,
            "made_by": made_by,
        }

    def __enter__(self) -> "CorpusWriter":
        try:
            shutil.rmtree(self._partial, ignore_errors=True)  # what an interrupted run left behind
            self._partial.mkdir(parents=True)
        except OSError as error:
            raise DataError(f"cannot write the corpus to {self.path}: {error.strerror}") from error
        return self

    def split(self, name: str) -> SplitWriter:
        """The writer of one split, made on first use."""
        if not name.isidentifier():  # it becomes the name of files
            raise DataError(f"{name!r} cannot be the name of a split: expected train, dev or test")
        if name not in self._splits:
            self._splits[name] = SplitWriter(self._partial, name)
        return self._splits[name]

    def __exit__(self, kind, error, traceback) -> None:
        try:
            for split in self._splits.values():
                split.close()
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
                "sha256": {file: sha256_of(self._partial / file) for file in split_files(name)},
            }
            for name, split in self._splits.items()
        }
        text = json.dumps(self._json, indent=2, ensure_ascii=False) + "\n"
        (self._partial / "corpus.json").write_text(text, encoding="utf-8")
        if self.path.exists():
            self.path.rmdir()  # empty, as checked at the start
        self._partial.rename(self.path)
