"""Open a corpus folder. `data/corpus_writer.py` writes one.

    corpus.json           format version, name, layout, fps, aspect ratio, how the corpus was made;
                          per split the number of sentences and frames, and the SHA-256 of each file
    train.csv             id|signer|frames|annotation, UTF-8, one sentence per row, in storage order
    train.landmarks.npy   int16 (frames, 543, 3), all sentences one after the other; see
                          data/stored_landmarks.py
    train.detected.npy    bool (frames, 4): pose, face, left hand, right hand
    train.times.npy       optional: when each gloss begins and ends; see data/gloss_times.py

Every split has such files. Decoded, x and y are fractions of the image, as MediaPipe gives them; z
is in fractions of the image's width. A part that was not detected is zero in `landmarks` and False
in `detected`. The files are memory-mapped: opening a corpus does not load it. numpy and a text
editor are enough to look into them. Corpora of format 1, such as those of `synthesize`, hold
float16 landmarks; they are read, too.
"""

import hashlib
import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from data.checks.file_hash import sha256_of
from data.ctc_lengths import required_steps
from data.folder_memory import FolderMemory
from data.gloss_times import read_times, times_file
from data.landmarks import LAYOUT, NUM_LANDMARKS, PARTS
from data.safe_npy import open_array
from data.sentences import Sentence, read_sentences
from data.stored_landmarks import FORMAT_VERSION, STORED_DTYPES, decode, encode
from errors import DataError

ARRAYS = {  # of each split in a corpus of the newest format: dtype and shape of one frame
    "landmarks": (STORED_DTYPES[FORMAT_VERSION], (NUM_LANDMARKS, 3)),
    "detected": (np.dtype("bool"), (len(PARTS),)),
}


def describe_corpus(name: str, simulated: bool, composed: bool) -> str:
    """The name of a corpus for outputs, with its origin, e.g. 'demo (simulated signers)'.

    Every output that is made from such a corpus must state its origin.
    """
    origins = (("simulated signers", simulated), ("composed", composed))
    notes = [origin for origin, applies in origins if applies]
    return f"{name} ({', '.join(notes)})" if notes else name


def history(facts: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """How a corpus was made, and how the one was made that it comes from (split, resample, align,
    compose), and so on: `made_by` of each. facts: the content of corpus.json."""
    made_by = facts.get("made_by")
    while isinstance(made_by, dict):
        yield made_by
        source, before = made_by.get("source"), made_by.get("input_made_by")
        made_by = source.get("made_by") if isinstance(source, dict) else before


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def remembered_sha256(memory: FolderMemory, path: Path) -> str:
    """The SHA-256 of a file of the memory's folder. A file that was not hashed before, or that
    changed since, is read (about 1 GB/s). Raises DataError when it cannot be read."""
    try:
        return memory.about_file(path, "sha256", partial(sha256_of, path), _is_digest)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None


def split_files(split: str, with_times: bool = False) -> list[str]:
    """The names of a split's files: the csv and the arrays."""
    times = [times_file(split)] if with_times else []
    return [f"{split}.csv", *(f"{split}.{name}.npy" for name in ARRAYS), *times]


def has_times(facts: Mapping[str, Any], split: str) -> bool:
    """Whether a split has a file of gloss times. facts: what corpus.json holds about the split."""
    digests = facts.get("sha256")
    return isinstance(digests, dict) and times_file(split) in digests


class Split:
    """One split of a corpus.

    name: e.g. "train".
    sentences: list of N `Sentence`, in storage order.
    landmarks: (frames, 543, 3), memory-mapped, all sentences one after the other, as stored: int16
        or float16. `read` decodes them.
    detected: bool (frames, 4), memory-mapped.
    lengths: int64 (N,), the number of frames of each sentence.
    offsets: int64 (N + 1,), the first frame of each sentence in `landmarks`; the last entry is the
        total number of frames.
    times: int32 (glosses, 2), when the glosses of all sentences begin and end, see
        data/gloss_times.py; None if the corpus does not know it.
    """

    def __init__(
        self,
        name: str,
        sentences: Sequence[Sentence],
        landmarks: np.ndarray,
        detected: np.ndarray,
        times: np.ndarray | None = None,
    ):
        self.name, self.sentences = name, list(sentences)
        self.landmarks, self.detected, self.times = landmarks, detected, times
        self.lengths = np.array([sentence.frames for sentence in self.sentences], dtype=np.int64)
        self.offsets = np.concatenate([[0], np.cumsum(self.lengths)])

    @cached_property
    def required_steps(self) -> np.ndarray:
        """Fewest output steps in which CTC can align each sentence, int64 (N,)."""
        return np.array([required_steps(one.glosses) for one in self.sentences], dtype=np.int64)

    @classmethod
    def open(cls, folder: Path, name: str, facts: dict[str, Any], version: int) -> "Split":
        """Memory-map the files of a split.

        Args:
            folder: the corpus folder.
            name: the split, e.g. "train".
            facts: what corpus.json holds about the split.
            version: of the corpus format.

        Raises DataError when a file is missing or damaged, or when the number of its sentences or
        frames differs from corpus.json.
        """
        expected_arrays = ARRAYS | {"landmarks": (STORED_DTYPES[version], (NUM_LANDMARKS, 3))}
        arrays = {
            array: open_array(folder / f"{name}.{array}.npy", *expected)
            for array, expected in expected_arrays.items()
        }
        sentences = read_sentences(folder / f"{name}.csv")
        times = None
        if has_times(facts, name):
            times = read_times(folder / times_file(name), sentences)
        split = cls(name, sentences, arrays["landmarks"], arrays["detected"], times)
        counts = {
            "sentences": (len(split), facts.get("sentences")),
            "frames": (int(split.offsets[-1]), facts.get("frames")),
            "rows of landmarks": (len(split.landmarks), facts.get("frames")),
            "rows of detected": (len(split.detected), facts.get("frames")),
        }
        for counted, (found, expected) in counts.items():
            if found != expected:
                raise DataError(
                    f"{folder}: split '{name}' has {found} {counted}, "
                    f"but corpus.json lists {expected}"
                )
        return split

    def __len__(self) -> int:
        return len(self.sentences)

    @cached_property
    def gloss_offsets(self) -> np.ndarray:
        """The first gloss of each sentence among the glosses of all, int64 (N + 1,)."""
        return np.concatenate([[0], np.cumsum([len(one.glosses) for one in self.sentences])])

    def times_of(self, index: int) -> np.ndarray | None:
        """The rows of `times` of one sentence, int32 (glosses, 2); None if there are none."""
        if self.times is None:
            return None
        return self.times[self.gloss_offsets[index] : self.gloss_offsets[index + 1]]

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Landmarks float (T, 543, 3), in fractions of the image, and detected bool (T, 4) of one
        sentence.

        Do not change them: float16 landmarks and `detected` are views of the memory-mapped files.
        """
        stored, detected = self.stored(index)
        return decode(stored, detected), detected

    def stored(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The same with landmarks int16 or float (T, 543, 3) as they are stored, as views."""
        rows = slice(self.offsets[index], self.offsets[index + 1])
        return self.landmarks[rows], self.detected[rows]

    @property
    def single(self) -> "Split":
        """The split without joined sentences: itself; see `JoinedSplit`."""
        return self

    def segments(self, index: int) -> list[slice | tuple[np.ndarray, np.ndarray]]:
        """The segments of one sentence, in order.

        A segment is a slice of the frames of `landmarks` and `detected`, or a pair of new landmarks
        float (T, 543, 3), in fractions of the image, and detected (T, 4) that are not in the files.
        Here a sentence is one slice; a sentence of a `JoinedSplit` can have more segments.
        """
        return [slice(int(self.offsets[index]), int(self.offsets[index + 1]))]

    def stored_segments(self, index: int) -> Iterator[tuple[slice | None, np.ndarray, np.ndarray]]:
        """The segments of one sentence as they are stored, in order.

        Yields the slice of the frames, None for new ones; landmarks (T, 543, 3) in the dtype of
        `landmarks`; and detected (T, 4). Raises DataError for new landmarks that are not finite.
        """
        for segment in self.segments(index):
            if isinstance(segment, slice):
                yield segment, self.landmarks[segment], self.detected[segment]
                continue
            landmarks, detected = segment
            try:
                yield None, encode(landmarks, detected, self.landmarks.dtype), detected
            except ValueError as error:
                where = f"{self.name} sentence {self.sentences[index].id}"
                raise DataError(f"{where}: {error}") from None

    def subset(self, indices: Sequence[int]) -> "Split":
        """A new split of the given sentences, copied into memory."""
        recordings = [self.stored(index) for index in indices]
        times = [rows for rows in map(self.times_of, indices) if rows is not None]
        return Split(
            self.name,
            [self.sentences[index] for index in indices],
            np.concatenate([landmarks for landmarks, _ in recordings]),
            np.concatenate([detected for _, detected in recordings]),
            None if self.times is None else np.concatenate(times),
        )


class Corpus:
    """An open corpus folder.

    path, name, fps (frames per second), aspect_ratio (image width / height).
    splits: maps the name of each split to its `Split`.
    facts: the content of corpus.json.
    simulated: the signers are simulated. composed: sentences are joined from isolated signs.
    fingerprint: SHA-256 of corpus.json. It covers every file, because corpus.json holds the SHA-256
        of each. Two corpora with the same fingerprint are the same.
    """

    def __init__(self, path: Path | str):
        """Open a corpus folder; check shapes, types and counts.

        Hashes are not checked, because that reads all files: see `verify`. Raises DataError when
        the folder is not a corpus, or is damaged.
        """
        self.path = Path(path)
        facts_path = self.path / "corpus.json"
        if not facts_path.is_file():
            problem = "does not exist" if not self.path.exists() else "has no corpus.json"
            raise DataError(
                f"{self.path} {problem}: expected a corpus folder made by prepare_data.py"
            )
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
        if not isinstance(version, int) or version not in STORED_DTYPES or layout != LAYOUT:
            raise DataError(
                f"{facts_path}: format {version}, layout {layout}; this program reads "
                f"formats {' and '.join(map(str, STORED_DTYPES))}, layout {LAYOUT}"
            )
        if not (0.1 < self.aspect_ratio < 10 and 1 <= self.fps <= 1000):
            raise DataError(
                f"{facts_path}: aspect_ratio {self.aspect_ratio} or fps {self.fps} is not plausible"
            )
        self.facts = facts
        self.simulated = bool(facts.get("simulated"))
        self.composed = bool(facts.get("composed"))
        self.fingerprint = hashlib.sha256(text).hexdigest()
        for name in split_facts:
            if not name.isidentifier() or not isinstance(split_facts[name], dict):
                raise DataError(f"{facts_path}: {name!r} is not a split")
        self.splits = {
            name: Split.open(self.path, name, split_facts[name], version) for name in split_facts
        }

    def split(self, name: str) -> Split:
        """The split of this name. Raises DataError when it is missing or has no sentences."""
        if name not in self.splits:
            known = ", ".join(self.splits) or "none"
            raise DataError(f"{self.path} has no split '{name}' (it has: {known}){self._way(name)}")
        if len(self.splits[name]) == 0:
            raise DataError(f"{self.path}: split '{name}' is empty{self._way(name)}")
        return self.splits[name]

    def _way(self, name: str) -> str:
        """The end of a message: the command that makes a split which is missing."""
        train = self.splits.get("train")
        if train is None or not len(train) or name not in ("dev", "test"):
            return ""
        several = len({sentence.signer for sentence in train.sentences}) > 1
        if self.composed and not several:
            return f"; compose it again with --{name}_sentences"
        output = self.path.parent / f"{self.path.name or self.path.resolve().name}_split"
        return (
            "; before you train, split it off from train (a model that is trained already has seen "
            "those sentences: train again): python prepare_data.py split "
            f"{shlex.quote(str(self.path))} --output {shlex.quote(str(output))} "
            f"--by {'signer' if several else 'random'}{' --test 0.1' if name == 'test' else ''}"
        )

    @cached_property
    def memory(self) -> FolderMemory:
        """What earlier runs found out about the files."""
        return FolderMemory(self.path)

    def digests(self, names: Iterable[str]) -> dict[str, str]:
        """The SHA-256 of each file of the given splits, by file name; see `remembered_sha256`."""
        return {
            file: remembered_sha256(self.memory, self.path / file)
            for name in names
            if name in self.splits
            for file in self.files(name)
        }

    def files(self, split: str) -> list[str]:
        """The names of the files of a split."""
        return split_files(split, self.splits[split].times is not None)

    def verify(self, names: Iterable[str], digests: Mapping[str, str] | None = None) -> list[str]:
        """Compare the SHA-256 of each file of the given splits with corpus.json.

        If some files were changed, `fingerprint` is updated, so that it identifies the files as
        they are now.

        Args:
            names: of the splits.
            digests: the result of `digests`, where it is known already.

        Returns the names of the changed files. Raises DataError when a file cannot be read.
        """
        names = list(names)
        digests = self.digests(names) if digests is None else digests
        changed: dict[str, str] = {}
        for name in (name for name in names if name in self.splits):
            recorded = self.facts["splits"][name].get("sha256")
            for file in self.files(name):
                found = digests[file]
                if not isinstance(recorded, dict) or recorded.get(file) != found:
                    changed[file] = found
        if changed:
            text = "".join(f"{file} {digest}\n" for file, digest in changed.items())
            self.fingerprint = hashlib.sha256((self.fingerprint + text).encode()).hexdigest()
        return list(changed)

    def origin(self) -> dict[str, Any]:
        """What a corpus that is made from this one says of it in `made_by`."""
        return {
            "name": self.name,
            "fingerprint": self.fingerprint,
            "made_by": self.facts.get("made_by"),
        }

    def describe(self) -> str:
        """The name for outputs, with the origin of the corpus, e.g. 'demo (simulated signers)'."""
        return describe_corpus(self.name, self.simulated, self.composed)
