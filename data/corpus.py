"""The corpus folder: landmarks and annotations on disk, streamed in by a writer and memory-mapped by a reader.

    corpus.json               format version, name, layout, fps, aspect ratio, how it was made, per split counts and SHA-256
    train.csv                 id|signer|frames|annotation, one sentence a row, rows in storage order (UTF-8)
    train.landmarks.npy       float16 (frames, 543, 3), all sentences one after the other
    train.detected.npy        bool (frames, 4): pose, face, left hand, right hand

x and y are fractions of the image as MediaPipe gives them, z in fractions of its width; a part that was not detected is
zeros in `landmarks` and False in `detected`. Anyone can open it with numpy and a text editor.
"""

import hashlib
import io
import json
import math
import os
import re
import shutil
import tokenize
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from data.landmarks import LAYOUT, NUM_LANDMARKS, PART_SLICES, PARTS
from errors import DataError, UsageError

FORMAT_VERSION = 1
CSV_HEADER = "id|signer|frames|annotation"
ARRAYS = {"landmarks": (np.dtype("<f2"), (NUM_LANDMARKS, 3)), "detected": (np.dtype("bool"), (len(PARTS),))}
_MAGIC_BYTES, _MAX_HEADER_BYTES = 8, 1 << 16
_HEADER_BYTES = 128  # numpy pads its header so that the number of rows can grow in place


@dataclass(frozen=True)
class Sentence:
    """One row of a split: `glosses` is the annotation cut at white space."""

    id: str
    signer: str
    frames: int
    glosses: tuple[str, ...]


def corpus_in_words(name: str, simulated: bool, composed: bool) -> str:
    """A corpus's name with what must always be said of it, e.g. 'demo (simulated signers)'."""
    notes = [note for note, holds in (("simulated signers", simulated), ("composed", composed)) if holds]
    return f"{name} ({', '.join(notes)})" if notes else name


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_field(field: str, value: str, where: str) -> None:
    """Refuse what could not be read back from a csv row: '|', line breaks and other unprintable characters (DataError)."""
    if not value or "|" in value or not value.isprintable():
        problem = "is empty" if not value else "has '|', a line break or an unprintable character in it; rename it"
        raise DataError(f"{where}: {field} {value!r} {problem}")


def check_output(path: Path) -> None:
    """Raise UsageError when a corpus cannot be made at `path` because something is there already."""
    try:
        taken = path.exists() and (not path.is_dir() or any(path.iterdir()))
    except OSError as error:
        raise DataError(f"cannot write the corpus to {path}: {error.strerror}") from error
    if taken or not path.name:
        raise UsageError(f"{path} already exists: choose another --output or remove it first")


class SplitWriter:
    """Streams the sentences of one split to disk; memory stays at one sentence. Made by `CorpusWriter.split`."""

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
        description = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (rows, *row)}
        np.lib.format.write_array_header_1_0(buffer, description)
        assert buffer.tell() == _HEADER_BYTES, buffer.tell()
        return buffer.getvalue()

    def add(
        self, id: str, signer: str, annotation: str | Iterable[str], landmarks: np.ndarray, detected: np.ndarray
    ) -> None:
        """Append one sentence.

        landmarks: float (T, 543, 3) with T >= 1, finite; rows of parts that were not detected are set to zero here.
        detected: bool (T, 4). annotation: glosses, as a string cut at white space or one by one.
        Raises DataError when a value is not finite, a shape is wrong, the id repeats or the annotation is empty.
        """
        where = f"{self.split_name} sentence {id!r}"
        glosses = annotation.split() if isinstance(annotation, str) else list(annotation)
        for field, value in (("id", id), ("signer", signer), ("annotation", " ".join(glosses))):
            check_field(field, value, where)
        for gloss in glosses:
            if gloss.split() != [gloss]:
                raise DataError(f"{where}: gloss {gloss!r} is empty or has white space in it; join its words with '-'")
        if id in self._ids:
            raise DataError(f"{where}: this id was already written to the split; ids must be unique")
        landmarks, detected = np.asarray(landmarks), np.asarray(detected)
        frames = len(landmarks)
        if frames == 0 or landmarks.shape != (frames, NUM_LANDMARKS, 3) or detected.shape != (frames, len(PARTS)):
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

    fps: frames a second. aspect_ratio: image width / height. made_by: plain values that say how it came to be.
    simulated / composed: shown in every output made from the corpus.
    Raises UsageError when the folder exists and is not empty, DataError when it cannot be written.
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
            raise DataError(f"cannot write the corpus to {self.path}: {failure.strerror}") from failure
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


def split_files(split: str) -> list[str]:
    """File names of a split."""
    return [f"{split}.csv", *(f"{split}.{name}.npy" for name in ARRAYS)]


def open_array(path: Path, dtype: np.dtype, row_shape: tuple[int, ...]) -> np.ndarray:
    """Memory-map an .npy file whose rows must be `dtype` (rows, *row_shape), without trusting its header.

    Raises DataError when it is missing, not an .npy file, of another dtype or shape, or its size does not fit its header.
    """
    array = map_array(path)
    if array.dtype != dtype or array.ndim == 0 or array.shape[1:] != row_shape or np.isfortran(array):
        shape = ", ".join(["rows", *map(str, row_shape)])
        raise DataError(f"{path} holds {array.dtype} {array.shape}, expected {dtype} ({shape})")
    return array


def map_array(path: Path) -> np.ndarray:
    """Memory-map an .npy file of plain values of any dtype and shape, without trusting its header.

    Raises DataError when it is missing, not an .npy file, holds Python objects, or its size does not fit its header.
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            shape, fortran, dtype, start = read_array_header(file, path, size)
    except FileNotFoundError:
        raise DataError(f"{path} is missing") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    try:
        if size == start:
            return np.empty(shape, dtype)  # nothing to map
        return np.memmap(path, dtype=dtype, mode="r", offset=start, shape=shape, order="F" if fortran else "C")
    except (OSError, ValueError, OverflowError, MemoryError) as error:
        raise DataError(f"{path} of shape {shape} cannot be mapped: {error}") from None


def read_array_header(file: BinaryIO, path: Path, size: int) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Shape, whether in Fortran's order, dtype and length of the header of an .npy `file` of `size` bytes, which is read up
    to its values. path: for messages.

    Raises DataError when it is no .npy file, holds Python objects, or its size does not fit its header: nothing is
    allocated for values that are not there.
    """
    try:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"unsupported .npy version {version}")
        width = 2 * version[0]
        length = file.read(width)
        start = _MAGIC_BYTES + width + int.from_bytes(length, "little")
        if start > min(size, _MAX_HEADER_BYTES):
            raise ValueError(f"its header claims {start} of {size} bytes")
        header = io.BytesIO(length + file.read(start - _MAGIC_BYTES - width))
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read_header(header)
    except (ValueError, TypeError, SyntaxError, tokenize.TokenError, RecursionError, MemoryError) as error:
        raise DataError(f"{path} is not a readable .npy file: {' '.join(str(error).split())}") from None
    if dtype.hasobject:
        raise DataError(f"{path} holds Python objects, which are never loaded; save plain numbers instead")
    if min(shape, default=0) < 0:
        raise DataError(f"{path} is not a readable .npy file: its header has the shape {shape}")
    expected = start + math.prod(shape) * dtype.itemsize
    if size != expected:
        raise DataError(f"{path} has {size} bytes where its header says {expected}: it is truncated or was changed")
    return shape, fortran, dtype, start


class Split:
    """One split: `sentences`, `landmarks` (frames, 543, 3) float16 and `detected` (frames, 4) bool, memory-mapped;
    `lengths` (sentences,) int64 are frames of each sentence, `offsets` where each begins."""

    def __init__(self, name: str, sentences: Sequence[Sentence], landmarks: np.ndarray, detected: np.ndarray):
        self.name, self.sentences = name, list(sentences)
        self.landmarks, self.detected = landmarks, detected
        self.lengths = np.array([sentence.frames for sentence in self.sentences], dtype=np.int64)
        self.offsets = np.concatenate([[0], np.cumsum(self.lengths)])

    @classmethod
    def open(cls, folder: Path, name: str, facts: dict) -> "Split":
        """Map a split's files and check that their counts are those of corpus.json. Raises DataError."""
        arrays = {array: open_array(folder / f"{name}.{array}.npy", *ARRAYS[array]) for array in ARRAYS}
        split = cls(name, read_sentences(folder / f"{name}.csv"), arrays["landmarks"], arrays["detected"])
        counts = {
            "sentences": (len(split), facts.get("sentences")),
            "frames": (int(split.offsets[-1]), facts.get("frames")),
            "rows of landmarks": (len(split.landmarks), facts.get("frames")),
            "rows of detected": (len(split.detected), facts.get("frames")),
        }
        for what, (found, expected) in counts.items():
            if found != expected:
                raise DataError(f"{folder}: split '{name}' has {found} {what}, corpus.json says {expected}")
        return split

    def __len__(self) -> int:
        return len(self.sentences)

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Landmarks float16 (T, 543, 3) and detected bool (T, 4) of one sentence: views of the mapped files."""
        rows = slice(self.offsets[index], self.offsets[index + 1])
        return self.landmarks[rows], self.detected[rows]

    def pieces(self, index: int) -> list[slice | tuple[np.ndarray, np.ndarray]]:
        """What a sentence is made of, in order: rows of the files, or landmarks and detected that stand nowhere in them."""
        return [slice(int(self.offsets[index]), int(self.offsets[index + 1]))]

    def subset(self, indices: Sequence[int]) -> "Split":
        """A split of the given sentences, copied into memory."""
        parts = [self.read(index) for index in indices]
        return Split(
            self.name,
            [self.sentences[index] for index in indices],
            np.concatenate([landmarks for landmarks, _ in parts]),
            np.concatenate([detected for _, detected in parts]),
        )


def read_sentences(path: Path) -> list[Sentence]:
    """Rows of a split's csv. Raises DataError naming file and line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise DataError(f"{path} is missing") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as UTF-8 text: {error}") from None
    if not lines or lines[0] != CSV_HEADER:
        raise DataError(
            f"{path} line 1: expected the header '{CSV_HEADER}', found {lines[0] if lines else 'nothing'!r}"
        )
    sentences, seen = [], set()
    for number, line in enumerate(lines[1:], start=2):
        fields = line.split("|")
        if len(fields) != 4 or not re.fullmatch("0|[1-9][0-9]{0,8}", fields[2]):
            raise DataError(f"{path} line {number}: expected {CSV_HEADER} found {line!r}")
        if not line.isprintable():  # it would also reach terminals
            raise DataError(f"{path} line {number}: a tab or another unprintable character in {line!r}; remove it")
        if fields[0] in seen:
            raise DataError(f"{path} line {number}: id {fields[0]!r} stands there twice")
        seen.add(fields[0])
        sentences.append(Sentence(fields[0], fields[1], int(fields[2]), tuple(fields[3].split())))
    return sentences


class Corpus:
    """An opened corpus folder: `facts` is corpus.json, `splits` maps names to `Split`."""

    def __init__(self, path: Path | str):
        """Open and check shapes, types and counts (not the hashes: `prepare_data.py check` does). Raises DataError."""
        self.path = Path(path)
        facts_path = self.path / "corpus.json"
        if not facts_path.is_file():
            what = "does not exist" if not self.path.exists() else "has no corpus.json"
            raise DataError(f"{self.path} {what}: expected a corpus folder made by prepare_data.py")
        try:
            text = facts_path.read_bytes()
            facts = json.loads(text)
            version, layout = facts["format_version"], facts["layout"]
            self.name, self.fps = str(facts["name"]), float(facts["fps"])
            self.aspect_ratio = float(facts["aspect_ratio"])
            split_facts = dict(facts["splits"])
        except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise DataError(f"{facts_path} is not a readable corpus description: {error!r}") from None
        if version != FORMAT_VERSION or layout != LAYOUT:
            raise DataError(
                f"{facts_path}: format {version}, layout {layout}; this program reads {FORMAT_VERSION}, {LAYOUT}"
            )
        if not (0.1 < self.aspect_ratio < 10 and 1 <= self.fps <= 1000):
            raise DataError(f"{facts_path}: aspect_ratio {self.aspect_ratio} or fps {self.fps} is not plausible")
        self.facts = facts
        self.simulated = bool(facts.get("simulated"))
        self.composed = bool(facts.get("composed"))
        self.fingerprint = hashlib.sha256(text).hexdigest()  # covers the hash of every file
        for name in split_facts:
            if not name.isidentifier() or not isinstance(split_facts[name], dict):
                raise DataError(f"{facts_path}: {name!r} is not a split")
        self.splits = {name: Split.open(self.path, name, split_facts[name]) for name in split_facts}

    def split(self, name: str) -> Split:
        """A split that must be there and hold sentences. Raises DataError."""
        if name not in self.splits:
            raise DataError(f"{self.path} has no split '{name}' (it has: {', '.join(self.splits) or 'none'})")
        if len(self.splits[name]) == 0:
            raise DataError(f"{self.path}: split '{name}' is empty")
        return self.splits[name]

    def verify(self, names: Iterable[str]) -> list[str]:
        """Files of the given splits whose SHA-256 is not that of corpus.json. The `fingerprint` becomes that of what is there.

        Reads the files whole (about 1 GB/s). Raises DataError when one cannot be read.
        """
        changed = {}
        for name in (name for name in names if name in self.splits):
            said = self.facts["splits"][name].get("sha256")
            for file in split_files(name):
                try:
                    found = sha256_of(self.path / file)
                except OSError as error:
                    raise DataError(f"{self.path / file} cannot be read: {error.strerror}") from None
                if not isinstance(said, dict) or said.get(file) != found:
                    changed[file] = found
        if changed:
            text = "".join(f"{file} {digest}\n" for file, digest in changed.items())
            self.fingerprint = hashlib.sha256((self.fingerprint + text).encode()).hexdigest()
        return list(changed)

    def describe(self) -> str:
        """Name with what must always be said of it, e.g. 'demo (simulated signers)'."""
        return corpus_in_words(self.name, self.simulated, self.composed)
