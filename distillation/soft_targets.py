"""Soft targets on disk: a teacher's log-posteriors of each sentence.

A folder of soft targets holds

    soft_targets.json       temperature, views, vocabulary; SHA-256 of corpus, checkpoint and files
    train.index.csv         id|view|steps, one line per sentence and view, in storage order
    train.log_probs.npy     float16 (rows, V)

and the same two files for each further split. One row is one output step of the teacher (4 frames):
log softmax(logits / temperature) of all V classes. View 0 is the sentence without augmentation.
View k is the sentence as epoch k augments it with the seed and the ranges in soft_targets.json.

`soft_target_writer.py` writes such a folder, `SoftTargets` opens it. Nothing is unpickled. Sentence
ids are only looked up; they are never used as paths.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data.checks.file_hash import sha256_of
from data.corpus import remembered_sha256
from data.folder_memory import FolderMemory
from data.safe_npy import open_array
from errors import DataError
from models.checkpoint import load_checkpoint, model_sha256

FORMAT_VERSION = 3
# Views of formats 1 and 2 were augmented in another way (version 0.2.0 and earlier): only those
# without augmentation are read. Format 1 had one more column, `lost`: the information that was lost
# by storing. Optionally it stored only the k best classes.
INDEX_HEADERS = {1: "id|view|steps|lost", 2: "id|view|steps", 3: "id|view|steps"}
INDEX_LINE = re.compile(r"([^|]+)\|([0-9]{1,5})\|([1-9][0-9]{0,8})")
_INDEX_LINES = {
    1: re.compile(INDEX_LINE.pattern + r"\|[0-9.e+-]{1,20}"),
    2: INDEX_LINE,
    3: INDEX_LINE,
}
_DTYPE = np.dtype("<f2")


@dataclass(frozen=True)
class SoftTargetDescription:
    """The inputs and settings of a folder of soft targets. Equal descriptions give equal files."""

    corpus: dict[str, Any]  # name, path, fingerprint, simulated, composed
    checkpoint: dict[str, str]  # path, sha256, model_sha256 (older folders lack it)
    vocabulary: tuple[str, ...]
    temperature: float
    views: int  # augmented views of each train sentence; 0: without augmentation
    seed: int
    augmentation: dict[str, Any]

    @property
    def classes(self) -> int:
        """V: the glosses and the blank."""
        return len(self.vocabulary) + 1

    @property
    def row_bytes(self) -> int:
        return self.classes * _DTYPE.itemsize

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), "vocabulary": list(self.vocabulary)}


class SoftTargets:
    """An opened folder of soft targets, checked against its hashes. The arrays are memory-mapped.

    sha256: of soft_targets.json, which has the hashes of the other files.

    Files that were hashed by an earlier run, and have not changed since, are not read again.

    Raises DataError when a file is missing, damaged or of another format.
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        facts = _read_facts(self.path)
        self.sha256 = sha256_of(self.path / "soft_targets.json")
        self._memory = FolderMemory(self.path)
        self.description = SoftTargetDescription(
            **{name: facts[name] for name in SoftTargetDescription.__dataclass_fields__}
        )
        self._splits = {
            name: self._open_split(name, facts["format_version"], entry)
            for name, entry in facts["splits"].items()
        }

    def _open_split(
        self, name: str, version: int, entry: dict[str, Any]
    ) -> tuple[np.ndarray, dict[tuple[str, int], slice]]:
        """The split's array (rows, V), and the rows of each (id, view)."""
        values_file = self.path / f"{name}.log_probs.npy"
        index_file = self.path / f"{name}.index.csv"
        values = open_array(values_file, _DTYPE, (self.description.classes,))
        places, rows = _read_index(index_file, version)
        if len(values) != rows:
            raise DataError(
                f"{self.path}: {values_file.name} has {len(values)} rows, but "
                f"{index_file.name} lists {rows}"
            )
        hashes = entry.get("sha256")
        for file in (index_file, values_file):
            if not isinstance(hashes, dict) or hashes.get(file.name) != remembered_sha256(
                self._memory, file
            ):
                raise DataError(
                    f"{file} is damaged: its SHA-256 differs from the one in soft_targets.json; "
                    "export it again"
                )
        return values, places

    def check(self, corpus_path: Path, fingerprint: str, vocabulary: Sequence[str]) -> None:
        """Raise DataError unless corpus, glosses and checkpoint are those of the soft targets. In
        the checkpoint, the decoder may have changed since.

        Args:
            corpus_path: the student's corpus folder, for the message.
            fingerprint: the fingerprint of that corpus.
            vocabulary: the student's glosses, in the order of its classes.
        """
        exported_from = Path(self.description.corpus["path"])
        if fingerprint != self.description.corpus["fingerprint"]:
            if exported_from.resolve() == corpus_path.resolve():
                raise DataError(
                    f"{self.path} was exported from an earlier state of {corpus_path}: export the "
                    "soft targets again"
                )
            raise DataError(
                f"{self.path} was exported from {exported_from}, not from {corpus_path}: leave out "
                f"--data_dir, or export soft targets of {corpus_path}"
            )
        if tuple(vocabulary) != self.description.vocabulary:
            raise DataError(
                f"{self.path} has other glosses than the student's vocabulary: export it again"
            )
        stored = self.description.checkpoint
        checkpoint = Path(stored["path"])
        if (
            checkpoint.is_file()
            and sha256_of(checkpoint) != stored["sha256"]
            and model_sha256(load_checkpoint(checkpoint)) != stored.get("model_sha256")
        ):
            raise DataError(
                f"{checkpoint} has changed since {self.path} was exported from it: "
                "export the soft targets again"
            )

    def require(self, split: str, ids: Iterable[str], views: Sequence[int]) -> None:
        """Raise DataError unless the split has all these views of all these sentences."""
        if split not in self._splits:
            available = ", ".join(self._splits) or "none"
            raise DataError(
                f"{self.path} has no soft targets of the {split} split (it has: {available}): "
                "export them with --splits"
            )
        _, places = self._splits[split]
        for id in ids:
            for view in views:
                if (id, view) not in places:
                    raise DataError(
                        f"{self.path} has no view {view} of {split} sentence {id}: export it again"
                    )

    def read(self, split: str, id: str, view: int) -> Tensor:
        """One sentence's log-posteriors at the temperature of the description.

        Returns float32 (steps, V). Raises DataError when the view is missing or a value is not
        finite.
        """
        self.require(split, [id], [view])
        values, places = self._splits[split]
        log_probs = torch.from_numpy(values[places[id, view]].astype(np.float32))
        if not log_probs.isfinite().all():
            raise DataError(
                f"{self.path}: {split} sentence {id} has values that are not finite: "
                "export it again"
            )
        return log_probs


def _read_facts(folder: Path) -> dict[str, Any]:
    """The checked content of soft_targets.json; `vocabulary` becomes a tuple."""
    path = folder / "soft_targets.json"
    if not path.is_file():
        problem = "has no soft_targets.json" if folder.exists() else "does not exist"
        raise DataError(f"{folder} {problem}: expected a folder made by export_soft_targets.py")
    types: dict[str, Any] = {
        "corpus": dict,
        "checkpoint": dict,
        "vocabulary": list,
        "temperature": (int, float),
        "views": int,
        "seed": int,
        "augmentation": dict,
        "splits": dict,
    }
    try:
        facts: dict[str, Any] = json.loads(path.read_bytes())
        if facts["format_version"] not in INDEX_HEADERS:
            raise DataError(
                f"{path}: format {facts['format_version']!r}, but this program reads the formats "
                + " and ".join(map(str, INDEX_HEADERS))
            )
        if facts["format_version"] < FORMAT_VERSION and facts["views"]:
            raise DataError(
                f"{folder} has augmented views of an earlier version, whose augmentation was "
                "another one: export the soft targets again"
            )
        if facts.get("top_k") is not None:
            raise DataError(
                f"{folder} was exported with --top_k, which no longer exists: "
                "export the soft targets again"
            )
        wrong = [name for name, type in types.items() if not isinstance(facts[name], type)]
        if wrong or not all(isinstance(gloss, str) for gloss in facts["vocabulary"]):
            raise ValueError(f"{(wrong or ['vocabulary'])[0]!r} has the wrong type")
        if not 0 < facts["temperature"] < float("inf") or facts["views"] < 0:
            raise ValueError("the temperature or the number of views is out of range")
        for section, names in (
            ("corpus", ("path", "fingerprint")),
            ("checkpoint", ("path", "sha256")),
        ):
            if not all(isinstance(facts[section].get(name), str) for name in names):
                raise ValueError(f"{section!r} lacks {' or '.join(names)}")
        for name, entry in facts["splits"].items():
            if not (name.isidentifier() and isinstance(entry, dict)):
                raise ValueError(f"the split {name[:40]!r} is not valid")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{path} is not a readable description of soft targets: {error!r}"
        ) from None
    facts["vocabulary"] = tuple(facts["vocabulary"])
    return facts


def _read_index(path: Path, version: int) -> tuple[dict[tuple[str, int], slice], int]:
    """The rows of each (id, view), and the number of rows. Raises DataError with file and line."""
    header = INDEX_HEADERS[version]
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise DataError(f"{path} is missing") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as UTF-8 text: {error}") from None
    if not lines or lines[0] != header:
        found = (lines or ["nothing"])[0]
        raise DataError(f"{path} line 1: expected the header '{header}', found {found!r:.80}")
    places: dict[tuple[str, int], slice] = {}
    rows = 0
    for number, line in enumerate(lines[1:], start=2):
        if not (fields := _INDEX_LINES[version].fullmatch(line)):
            raise DataError(f"{path} line {number}: expected {header}, found {line!r:.80}")
        id, view, steps = fields.groups()
        place = (id, int(view))
        if place in places:
            raise DataError(f"{path} line {number}: view {view} of {id!r} occurs twice")
        places[place] = slice(rows, rows + int(steps))
        rows += int(steps)
    return places, rows
