"""Soft targets on disk: a teacher's log-posteriors of each sentence, for a student to learn from.

    soft_targets.json        temperature, views, what was kept, vocabulary; hashes of corpus, checkpoint and files
    train.index.csv          id|view|steps|lost, rows in storage order; lost: information in nats a step that storing lost
    train.log_probs.npy      float16 (rows, V): dense; or, of the k most probable classes,
    train.top.npy            float16 (rows, k) log-posteriors, train.classes.npy uint16 (rows, k) which they are of, and
    train.rest.npy           float16 (rows, 1): log of what the other classes hold together

A row is an output step (4 frames) of log softmax(logits / temperature). View 0 is the sentence as
it is; view k is the sentence as epoch k with this seed and these ranges augments it. Nothing is
unpickled; ids are looked up, never used as paths.
"""

import io
import json
import math
import os
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data.corpus import sha256_of
from data.safe_npy import open_array
from errors import DataError, UsageError

FORMAT_VERSION = 1
INDEX_HEADER = "id|view|steps|lost"
_INDEX_LINE = re.compile(r"([^|]+)\|([0-9]{1,5})\|([1-9][0-9]{0,8})\|([0-9.e+-]{1,20})")
_HEADER_BYTES = 128  # numpy pads its header so that the number of rows can grow in place
_LOWEST = -60000.0  # of log-posteriors in float16
MAX_CLASSES = 2**16


@dataclass(frozen=True)
class SoftTargetRequest:
    """What soft targets are of; `top_k` None is dense. Equal requests give equal files."""

    corpus: dict  # name, path, fingerprint, simulated, composed
    checkpoint: dict  # path, sha256
    vocabulary: tuple[str, ...]
    temperature: float
    top_k: int | None
    views: int  # 0: without augmentation
    seed: int
    augmentation: dict

    def __post_init__(self):
        if not 0 < self.temperature < float("inf"):
            raise UsageError(f"--temperature {self.temperature}: expected a number above 0")
        if self.top_k is not None and not 1 <= self.top_k < self.classes:
            raise UsageError(
                f"--top_k {self.top_k}: expected 1 to {self.classes - 1}, one less than the classes"
            )
        if not 0 <= self.views <= 10_000:
            raise UsageError(f"--views {self.views}: expected 0 (no augmentation) to 10000")
        if self.classes > MAX_CLASSES:
            raise UsageError(f"{self.classes} classes: soft targets hold up to {MAX_CLASSES}")

    @property
    def classes(self) -> int:
        return len(self.vocabulary) + 1

    @property
    def arrays(self) -> dict[str, tuple[np.dtype, int]]:
        """Name -> type and width of each file's rows."""
        if self.top_k is None:
            return {"log_probs": (np.dtype("<f2"), self.classes)}
        kept = self.top_k
        return {
            "top": (np.dtype("<f2"), kept),
            "classes": (np.dtype("<u2"), kept),
            "rest": (np.dtype("<f2"), 1),
        }

    @property
    def row_bytes(self) -> int:
        return sum(dtype.itemsize * width for dtype, width in self.arrays.values())

    def to_dict(self) -> dict:
        return {**vars(self), "vocabulary": list(self.vocabulary)}


def pack(log_probs: Tensor, top_k: int | None) -> dict[str, np.ndarray]:
    """log_probs float32 (steps, V) -> the rows of each file."""
    if top_k is None:
        return {"log_probs": log_probs.clamp(min=_LOWEST).numpy().astype("<f2")}
    top, classes = log_probs.topk(top_k, dim=-1)
    others = log_probs.scatter(1, classes, -torch.inf)
    return {
        "top": top.clamp(min=_LOWEST).numpy().astype("<f2"),
        "classes": classes.numpy().astype("<u2"),
        "rest": others.logsumexp(-1, keepdim=True).clamp(min=_LOWEST).numpy().astype("<f2"),
    }


def unpack(rows: dict[str, np.ndarray], classes: int) -> Tensor:
    """The rows of each file -> float32 (steps, V); what the other classes hold together is shared
    evenly among them."""
    if "log_probs" in rows:
        return torch.from_numpy(rows["log_probs"].astype(np.float32))
    top = rows["top"].astype(np.float32)
    share = rows["rest"].astype(np.float32) - math.log(classes - top.shape[1])
    full = np.repeat(share, classes, axis=1)
    np.put_along_axis(full, rows["classes"].astype(np.int64), top, axis=1)
    return torch.from_numpy(full)


def lost_information(log_probs: Tensor, stored: Tensor) -> float:
    """KL(log_probs || stored) in nats, mean over the steps; both (steps, V)."""
    log_probs, stored = log_probs.double().log_softmax(-1), stored.double().log_softmax(-1)
    return max(float((log_probs.exp() * (log_probs - stored)).sum(-1).mean()), 0.0)


def _header(dtype: np.dtype, width: int, rows: int) -> bytes:
    buffer = io.BytesIO()
    description = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": (rows, width),
    }
    np.lib.format.write_array_header_1_0(buffer, description)
    assert buffer.tell() == _HEADER_BYTES, buffer.tell()
    return buffer.getvalue()


class SoftTargetWriter:
    """Writes a folder of soft targets; it appears under its name only once it is complete, and goes
    on where it was killed.

    Until then it is `<name>.partial`: a sentence counts once its line of the index is whole, and
    what lies behind is cut off.
    """

    def __init__(self, path: Path, request: SoftTargetRequest, splits: Sequence[str]):
        if (path.exists() and (not path.is_dir() or any(path.iterdir()))) or not path.name:
            raise UsageError(
                f"{path} already exists: choose another --output_dir or remove it first"
            )
        self.path, self.request = path, request
        self.partial = path.with_name(path.name + ".partial")
        self._splits = {name: _SplitFiles(self.partial, name, request) for name in splits}

    def begin(self) -> int:
        """Make or take up the partial folder. Returns how many sentences and views it held. Raises
        DataError."""
        plan = json.dumps(
            {"request": self.request.to_dict(), "splits": list(self._splits)}, sort_keys=True
        )
        note = self.partial / "request.json"
        try:
            if not (note.is_file() and note.read_text(encoding="utf-8", errors="replace") == plan):
                if self.partial.exists() and not note.is_file() and any(self.partial.iterdir()):
                    raise DataError(
                        f"{self.partial} is in the way and not of an interrupted export: remove or rename it"
                    )
                if note.is_file():
                    print(
                        f"{self.partial} was begun with other options or another checkpoint: begun anew"
                    )
                shutil.rmtree(self.partial, ignore_errors=True)
                self.partial.mkdir(parents=True)
                note.write_text(plan, encoding="utf-8")
            return sum(split.open() for split in self._splits.values())
        except OSError as error:
            raise DataError(
                f"cannot write soft targets to {self.partial}: {error.strerror}"
            ) from error

    def done(self, split: str) -> set[tuple[str, int]]:
        """(id, view) of what is written."""
        return self._splits[split].done

    def add(self, split: str, id: str, view: int, log_probs: Tensor) -> None:
        """Append one sentence's log-posteriors float32 (steps, V), at the request's temperature.
        Raises DataError."""
        rows = pack(log_probs, self.request.top_k)
        lost = lost_information(log_probs, unpack(rows, self.request.classes))
        try:
            self._splits[split].add(id, view, rows, len(log_probs), lost)
        except OSError as error:
            raise DataError(
                f"cannot write soft targets to {self.partial}: {error.strerror}; what is there is kept, and the same "
                "command goes on from it"
            ) from error

    def finish(self) -> dict:
        """Close, hash and rename. Returns soft_targets.json's content."""
        facts = {"format_version": FORMAT_VERSION, **self.request.to_dict(), "splits": {}}
        try:
            for name, split in self._splits.items():
                split.close()
                files = [split.index, *split.paths.values()]
                facts["splits"][name] = {
                    "sentences": len(split.done),
                    "rows": split.rows,
                    "lost_nats_per_step": split.lost / max(split.rows, 1),
                    "sha256": {file.name: sha256_of(file) for file in files},
                }
            text = json.dumps(facts, indent=2, ensure_ascii=False) + "\n"
            (self.partial / "soft_targets.json").write_text(text, encoding="utf-8")
            (self.partial / "request.json").unlink()
            if self.path.exists():
                self.path.rmdir()  # empty, as checked at the start
            self.partial.rename(self.path)
        except OSError as error:
            raise DataError(
                f"cannot write soft targets to {self.path}: {error.strerror}"
            ) from error
        return facts


class _SplitFiles:
    """One split's files while they are written."""

    def __init__(self, folder: Path, name: str, request: SoftTargetRequest):
        self.request = request
        self.index = folder / f"{name}.index.csv"
        self.paths = {array: folder / f"{name}.{array}.npy" for array in request.arrays}
        self.done: set[tuple[str, int]] = set()
        self.rows, self.lost = 0, 0.0

    def open(self) -> int:
        """Take up what is whole on disk. Returns the number of sentences and views."""
        kept = [INDEX_HEADER]
        if self.index.is_file():
            # A torn line goes
            *lines, _ = self.index.read_text(encoding="utf-8", errors="replace").split("\n")
            sizes = [path.stat().st_size if path.is_file() else 0 for path in self.paths.values()]
            widths = [dtype.itemsize * width for dtype, width in self.request.arrays.values()]
            for line in lines[1:]:
                if not (fields := _INDEX_LINE.fullmatch(line)):
                    break
                id, view, steps, lost = fields.groups()
                rows = self.rows + int(steps)
                if any(
                    size < _HEADER_BYTES + rows * width
                    for size, width in zip(sizes, widths, strict=True)
                ):
                    break
                kept.append(line)
                self._count(id, int(view), int(steps), float(lost))
        self.index.write_text("\n".join([*kept, ""]), encoding="utf-8")
        self._files = {}
        for array, (dtype, width) in self.request.arrays.items():
            path = self.paths[array]
            if not path.is_file() or path.stat().st_size < _HEADER_BYTES:
                path.write_bytes(_header(dtype, width, 0))
            os.truncate(path, _HEADER_BYTES + self.rows * width * dtype.itemsize)
            self._files[array] = open(path, "ab")
        self._index = open(self.index, "a", encoding="utf-8", newline="\n")
        return len(self.done)

    def _count(self, id: str, view: int, steps: int, lost: float) -> None:
        self.done.add((id, view))
        self.rows += steps
        self.lost += lost * steps

    def add(self, id: str, view: int, rows: dict[str, np.ndarray], steps: int, lost: float) -> None:
        for array, file in self._files.items():
            file.write(rows[array].tobytes())
            file.flush()
        shown = f"{lost:.6g}"
        self._index.write(f"{id}|{view}|{steps}|{shown}\n")
        self._index.flush()
        self._count(id, view, steps, float(shown))  # as a run that goes on from here would count it

    def close(self) -> None:
        self._index.close()
        for array, file in self._files.items():
            file.close()
            with open(self.paths[array], "r+b") as grown:
                grown.write(_header(*self.request.arrays[array], self.rows))


class SoftTargets:
    """An opened folder of soft targets, checked against its hashes; arrays stay on disk,
    memory-mapped.

    `request` says what they are of. Raises DataError on anything that is missing, damaged or not of
    this format.
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        facts = self._read_facts()
        self.request = SoftTargetRequest(
            **{name: facts[name] for name in SoftTargetRequest.__dataclass_fields__}
        )
        self._splits = {
            name: self._open_split(name, entry) for name, entry in facts["splits"].items()
        }

    def _read_facts(self) -> dict:
        path = self.path / "soft_targets.json"
        if not path.is_file():
            what = "does not exist" if not self.path.exists() else "has no soft_targets.json"
            raise DataError(f"{self.path} {what}: expected a folder made by export_soft_targets.py")
        kinds = {
            "corpus": dict,
            "checkpoint": dict,
            "vocabulary": list,
            "temperature": (int, float),
            "top_k": (int, type(None)),
            "views": int,
            "seed": int,
            "augmentation": dict,
            "splits": dict,
        }
        try:
            facts = json.loads(path.read_bytes())
            if facts["format_version"] != FORMAT_VERSION:
                raise DataError(
                    f"{path}: format {facts['format_version']!r}, this program reads {FORMAT_VERSION}"
                )
            wrong = [name for name, kind in kinds.items() if not isinstance(facts[name], kind)]
            if wrong or not all(isinstance(gloss, str) for gloss in facts["vocabulary"]):
                raise ValueError(f"'{(wrong or ['vocabulary'])[0]}' is not of its kind")
            for owner, names in (
                ("corpus", ("path", "fingerprint")),
                ("checkpoint", ("path", "sha256")),
            ):
                if not all(isinstance(facts[owner].get(name), str) for name in names):
                    raise ValueError(f"'{owner}' lacks {' or '.join(names)}")
            if not all(
                name.isidentifier() and isinstance(entry, dict)
                for name, entry in facts["splits"].items()
            ):
                raise ValueError("a split's name or entry is not of its kind")
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(
                f"{path} is not a readable description of soft targets: {error!r}"
            ) from None
        facts["vocabulary"] = tuple(facts["vocabulary"])
        return facts

    def _open_split(
        self, name: str, entry: dict
    ) -> tuple[dict[str, np.ndarray], dict[tuple[str, int], slice]]:
        arrays = {
            array: open_array(self.path / f"{name}.{array}.npy", dtype, (width,))
            for array, (dtype, width) in self.request.arrays.items()
        }
        index = self.path / f"{name}.index.csv"
        where, rows = _read_index(index)
        for array, values in arrays.items():
            if len(values) != rows:
                raise DataError(
                    f"{self.path}: {name}.{array}.npy has {len(values)} rows, {index.name} says {rows}"
                )
        hashes = entry.get("sha256")
        for file in (index, *(self.path / f"{name}.{array}.npy" for array in arrays)):
            if not isinstance(hashes, dict) or hashes.get(file.name) != sha256_of(file):
                raise DataError(
                    f"{file} is damaged: its SHA-256 is not the one in soft_targets.json; export it again"
                )
        return arrays, where

    def check(self, corpus_path: Path, fingerprint: str, vocabulary: Sequence[str]) -> None:
        """Raise DataError unless they were made from this corpus, with these glosses, by the
        checkpoint as it is now."""
        if fingerprint != self.request.corpus["fingerprint"]:
            raise DataError(
                f"{self.path} holds soft targets of the corpus {self.request.corpus['path']} as it was; {corpus_path} is "
                "another: export them again from it"
            )
        if tuple(vocabulary) != self.request.vocabulary:
            raise DataError(
                f"{self.path} has other glosses than the student's vocabulary: export them again"
            )
        checkpoint = Path(self.request.checkpoint["path"])
        if checkpoint.is_file() and sha256_of(checkpoint) != self.request.checkpoint["sha256"]:
            raise DataError(
                f"{self.path} was made by {checkpoint} as it was; that checkpoint has changed since: export them again"
            )

    def require(self, split: str, ids: Iterable[str], views: Sequence[int]) -> None:
        """Raise DataError unless all these views of all these sentences of the split are there."""
        if split not in self._splits:
            has = ", ".join(self._splits) or "none"
            raise DataError(
                f"{self.path} has no soft targets of the {split} split (it has: {has}): export them with --splits"
            )
        where = self._splits[split][1]
        missing = next(
            ((id, view) for id in ids for view in views if (id, view) not in where), None
        )
        if missing:
            raise DataError(
                f"{self.path} holds no view {missing[1]} of {split} sentence {missing[0]}: export them again"
            )

    def read(self, split: str, id: str, view: int) -> Tensor:
        """float32 (steps, V), at the request's temperature. Raises DataError naming what is missing
        or not finite."""
        self.require(split, [id], [view])
        arrays, where = self._splits[split]
        rows = {array: values[where[id, view]] for array, values in arrays.items()}
        classes = rows.get("classes")
        if classes is not None and int(classes.max(initial=0)) >= self.request.classes:
            raise DataError(
                f"{self.path}: {split} sentence {id} names a class beyond its {self.request.classes}"
            )
        targets = unpack(rows, self.request.classes)
        if not targets.isfinite().all():
            raise DataError(
                f"{self.path}: {split} sentence {id} holds values that are not finite: export them again"
            )
        return targets


def _read_index(path: Path) -> tuple[dict[tuple[str, int], slice], int]:
    """Where each (id, view) stands, and the number of rows. Raises DataError naming file and line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise DataError(f"{path} is missing") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as UTF-8 text: {error}") from None
    if not lines or lines[0] != INDEX_HEADER:
        raise DataError(
            f"{path} line 1: expected the header '{INDEX_HEADER}', found {(lines or ['nothing'])[0]!r:.80}"
        )
    where, rows = {}, 0
    for number, line in enumerate(lines[1:], start=2):
        if not (fields := _INDEX_LINE.fullmatch(line)):
            raise DataError(f"{path} line {number}: expected {INDEX_HEADER}, found {line!r:.80}")
        id, view, steps, _ = fields.groups()
        place = (id, int(view))
        if place in where:
            raise DataError(
                f"{path} line {number}: view {place[1]} of {place[0]!r} stands there twice"
            )
        where[place] = slice(rows, rows + int(steps))
        rows += int(steps)
    return where, rows
