"""The corpus folder: landmarks and annotations on disk, streamed in by a writer and memory-mapped
by a reader.

    corpus.json               format version, name, layout, fps, aspect ratio, how it was made, per split counts and SHA-256
    train.csv                 id|signer|frames|annotation, one sentence a row, rows in storage order (UTF-8)
    train.landmarks.npy       float16 (frames, 543, 3), all sentences one after the other
    train.detected.npy        bool (frames, 4): pose, face, left hand, right hand

x and y are fractions of the image as MediaPipe gives them, z in fractions of its width; a part that
was not detected is zeros in `landmarks` and False in `detected`. Anyone can open it with numpy and
a text editor.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.landmarks import LAYOUT, NUM_LANDMARKS, PARTS
from data.npy_files import open_array
from errors import DataError

FORMAT_VERSION = 1
CSV_HEADER = "id|signer|frames|annotation"
ARRAYS = {
    "landmarks": (np.dtype("<f2"), (NUM_LANDMARKS, 3)),
    "detected": (np.dtype("bool"), (len(PARTS),)),
}


@dataclass(frozen=True)
class Sentence:
    """One row of a split: `glosses` is the annotation cut at white space."""

    id: str
    signer: str
    frames: int
    glosses: tuple[str, ...]


def describe_corpus(name: str, simulated: bool, composed: bool) -> str:
    """A corpus's name with what must always be said of it, e.g. 'demo (simulated signers)'."""
    notes = [
        note for note, holds in (("simulated signers", simulated), ("composed", composed)) if holds
    ]
    return f"{name} ({', '.join(notes)})" if notes else name


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_field(field: str, value: str, where: str) -> None:
    """Refuse what could not be read back from a csv row: '|', line breaks and other unprintable
    characters (DataError)."""
    if not value or "|" in value or not value.isprintable():
        problem = (
            "is empty"
            if not value
            else "has '|', a line break or an unprintable character in it; rename it"
        )
        raise DataError(f"{where}: {field} {value!r} {problem}")


def split_files(split: str) -> list[str]:
    """File names of a split."""
    return [f"{split}.csv", *(f"{split}.{name}.npy" for name in ARRAYS)]


class Split:
    """One split: `sentences`, `landmarks` (frames, 543, 3) float16 and `detected` (frames, 4) bool,
    memory-mapped; `lengths` (sentences,) int64 are frames of each sentence, `offsets` where each
    begins."""

    def __init__(
        self, name: str, sentences: Sequence[Sentence], landmarks: np.ndarray, detected: np.ndarray
    ):
        self.name, self.sentences = name, list(sentences)
        self.landmarks, self.detected = landmarks, detected
        self.lengths = np.array([sentence.frames for sentence in self.sentences], dtype=np.int64)
        self.offsets = np.concatenate([[0], np.cumsum(self.lengths)])

    @classmethod
    def open(cls, folder: Path, name: str, facts: dict) -> "Split":
        """Map a split's files and check that their counts are those of corpus.json. Raises
        DataError."""
        arrays = {
            array: open_array(folder / f"{name}.{array}.npy", *ARRAYS[array]) for array in ARRAYS
        }
        split = cls(
            name, read_sentences(folder / f"{name}.csv"), arrays["landmarks"], arrays["detected"]
        )
        counts = {
            "sentences": (len(split), facts.get("sentences")),
            "frames": (int(split.offsets[-1]), facts.get("frames")),
            "rows of landmarks": (len(split.landmarks), facts.get("frames")),
            "rows of detected": (len(split.detected), facts.get("frames")),
        }
        for what, (found, expected) in counts.items():
            if found != expected:
                raise DataError(
                    f"{folder}: split '{name}' has {found} {what}, corpus.json says {expected}"
                )
        return split

    def __len__(self) -> int:
        return len(self.sentences)

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Landmarks float16 (T, 543, 3) and detected bool (T, 4) of one sentence: views of the
        mapped files."""
        rows = slice(self.offsets[index], self.offsets[index + 1])
        return self.landmarks[rows], self.detected[rows]

    def pieces(self, index: int) -> list[slice | tuple[np.ndarray, np.ndarray]]:
        """What a sentence is made of, in order: rows of the files, or landmarks and detected that
        stand nowhere in them."""
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
            raise DataError(
                f"{path} line {number}: a tab or another unprintable character in {line!r}; remove it"
            )
        if fields[0] in seen:
            raise DataError(f"{path} line {number}: id {fields[0]!r} stands there twice")
        seen.add(fields[0])
        sentences.append(Sentence(fields[0], fields[1], int(fields[2]), tuple(fields[3].split())))
    return sentences


class Corpus:
    """An opened corpus folder: `facts` is corpus.json, `splits` maps names to `Split`."""

    def __init__(self, path: Path | str):
        """Open and check shapes, types and counts (not the hashes: `prepare_data.py check` does).
        Raises DataError."""
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
            raise DataError(
                f"{facts_path} is not a readable corpus description: {error!r}"
            ) from None
        if version != FORMAT_VERSION or layout != LAYOUT:
            raise DataError(
                f"{facts_path}: format {version}, layout {layout}; this program reads {FORMAT_VERSION}, {LAYOUT}"
            )
        if not (0.1 < self.aspect_ratio < 10 and 1 <= self.fps <= 1000):
            raise DataError(
                f"{facts_path}: aspect_ratio {self.aspect_ratio} or fps {self.fps} is not plausible"
            )
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
            raise DataError(
                f"{self.path} has no split '{name}' (it has: {', '.join(self.splits) or 'none'})"
            )
        if len(self.splits[name]) == 0:
            raise DataError(f"{self.path}: split '{name}' is empty")
        return self.splits[name]

    def verify(self, names: Iterable[str]) -> list[str]:
        """Files of the given splits whose SHA-256 is not that of corpus.json. The `fingerprint`
        becomes that of what is there.

        Reads the files whole (about 1 GB/s). Raises DataError when one cannot be read.
        """
        changed = {}
        for name in (name for name in names if name in self.splits):
            said = self.facts["splits"][name].get("sha256")
            for file in split_files(name):
                try:
                    found = sha256_of(self.path / file)
                except OSError as error:
                    raise DataError(
                        f"{self.path / file} cannot be read: {error.strerror}"
                    ) from None
                if not isinstance(said, dict) or said.get(file) != found:
                    changed[file] = found
        if changed:
            text = "".join(f"{file} {digest}\n" for file, digest in changed.items())
            self.fingerprint = hashlib.sha256((self.fingerprint + text).encode()).hexdigest()
        return list(changed)

    def describe(self) -> str:
        """Name with what must always be said of it, e.g. 'demo (simulated signers)'."""
        return describe_corpus(self.name, self.simulated, self.composed)
