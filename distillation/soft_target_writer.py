"""Write a folder of soft targets sentence by sentence; an interrupted export can continue."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from data.checks.file_hash import sha256_of
from data.output_place import WritingLock, check_new_folder
from data.safe_npy import HEADER_BYTES, npy_header
from distillation.soft_targets import (
    FORMAT_VERSION,
    INDEX_HEADERS,
    INDEX_LINE,
    SoftTargetDescription,
)
from errors import DataError, UsageError

_STORED = np.dtype("<f2")
_PLAN, _NEW_PLAN = "request.json", "request.json.new"  # the latter until it is complete
_LOWEST = -60000.0  # smallest log-posterior that is stored; float16 ends at -65504


def to_stored(log_probs: Tensor) -> np.ndarray:
    """float32 (steps, V) → float16 (steps, V). -inf becomes a finite number."""
    return log_probs.clamp(min=_LOWEST).numpy().astype(_STORED)


def _header(classes: int, rows: int) -> bytes:
    """The header of a .npy file float16 (rows, classes)."""
    return npy_header(_STORED, rows, (classes,))


def _is_complete(plan: Path) -> bool:
    """Whether a plan was written completely. On a full disk, earlier versions left an empty one."""
    try:
        json.loads(plan.read_text("utf-8", errors="replace"))
    except (OSError, ValueError):
        return False
    return True


def _is_leftover(partial: Path) -> bool:
    """Whether an interrupted export left a folder behind, also one that had just begun."""
    try:
        names = {*os.listdir(partial)}
    except OSError:  # there is none, or it is not known to be ours
        return False
    return _PLAN in names or names <= {_NEW_PLAN, WritingLock.name}


class SoftTargetWriter:
    """Writes a folder of soft targets, inside of a `with`.

    The files are written to `<name>.partial`. The folder gets its name when it is complete. Its
    request.json is the first file; without a complete one, nothing has begun. A
    sentence is complete when its line of the index is complete; a later run cuts off everything
    after the last such line and continues there.

    Args:
        path: the folder to make. Raises UsageError when it exists and is not empty, or
            `<path>.partial` is not of this export; DataError when it cannot be made.
        description: the inputs and settings of the soft targets.
        splits: the names of the splits.
    """

    def __init__(self, path: Path, description: SoftTargetDescription, splits: Sequence[str]):
        self.path, self.description = path, description
        self.partial = path.with_name(path.name + ".partial") if path.name else path
        self._plan_file = self.partial / _PLAN
        self._plan = json.dumps(
            {"request": description.to_dict(), "splits": list(splits)}, sort_keys=True
        )
        self._lock: WritingLock | None = None
        check_new_folder(path, "--output_dir", own_leftover=_is_leftover(self.partial))
        self._begun = _is_complete(self._plan_file)
        if self._begun and self._plan_file.read_text("utf-8", errors="replace") != self._plan:
            raise UsageError(
                f"{self.partial} was started with other options or another checkpoint: repeat that "
                "command to continue it, or remove the folder to start again"
            )
        self._splits = {
            name: _SplitFiles(self.partial, name, description.classes) for name in splits
        }

    def __enter__(self) -> "SoftTargetWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()

    def begin(self) -> int:
        """Make the partial folder, or continue an interrupted one.

        Returns the number of (sentence, view) pairs that it already has. Raises UsageError when
        another process is writing the folder, DataError when writing fails.
        """
        try:
            self.partial.mkdir(parents=True, exist_ok=True)
            self._lock = WritingLock(self.partial, self.path)
            if not self._begun:
                for split in self._splits.values():
                    split.remove()
                new = self.partial / _NEW_PLAN
                new.write_text(self._plan, encoding="utf-8")
                new.replace(self._plan_file)
            return sum(split.open() for split in self._splits.values())
        except OSError as error:
            raise DataError(
                f"cannot write soft targets to {self.partial}: {error.strerror}"
            ) from error

    @property
    def bytes_written(self) -> int:
        """Size of the rows that are complete."""
        rows = sum(split.rows for split in self._splits.values())
        return rows * self.description.row_bytes

    def done(self, split: str) -> set[tuple[str, int]]:
        """The (id, view) pairs that are complete."""
        return self._splits[split].done

    def add(self, split: str, id: str, view: int, log_probs: Tensor) -> None:
        """Append one sentence's log-posteriors, float32 (steps, V), at the folder's temperature.

        Raises DataError when writing fails.
        """
        try:
            self._splits[split].add(id, view, to_stored(log_probs))
        except OSError as error:
            raise DataError(
                f"cannot write soft targets to {self.partial}: {error.strerror}; the files so far "
                "are kept, and the same command continues from them"
            ) from error

    def finish(self) -> dict[str, Any]:
        """Close and hash the files, rename the folder. Returns soft_targets.json's content."""
        splits: dict[str, Any] = {}
        facts = {"format_version": FORMAT_VERSION, **self.description.to_dict(), "splits": splits}
        try:
            for name, split in self._splits.items():
                split.close()
                splits[name] = {
                    "sentences": len(split.done),
                    "rows": split.rows,
                    "sha256": {
                        file.name: sha256_of(file) for file in (split.index_file, split.values_file)
                    },
                }
            text = json.dumps(facts, indent=2, ensure_ascii=False) + "\n"
            (self.partial / "soft_targets.json").write_text(text, encoding="utf-8")
            self._plan_file.unlink()
            self._release()
            if self.path.exists():
                self.path.rmdir()  # empty, as checked at the start
            self.partial.rename(self.path)
        except OSError as error:
            raise DataError(
                f"cannot write soft targets to {self.path}: {error.strerror}"
            ) from error
        return facts


class _SplitFiles:
    """The two files of one split during writing."""

    def __init__(self, folder: Path, name: str, classes: int):
        self.classes = classes
        self.index_file = folder / f"{name}.index.csv"
        self.values_file = folder / f"{name}.log_probs.npy"
        self.done: set[tuple[str, int]] = set()
        self.rows = 0

    def _bytes_of(self, rows: int) -> int:
        """Size of the array file with `rows` rows."""
        return HEADER_BYTES + rows * self.classes * _STORED.itemsize

    def remove(self) -> None:
        """Remove the files of an export of which nothing is known."""
        self.index_file.unlink(missing_ok=True)
        self.values_file.unlink(missing_ok=True)

    def open(self) -> int:
        """Keep the complete sentences on disk, cut off the rest. Returns the number kept."""
        kept = [INDEX_HEADERS[FORMAT_VERSION]]
        size = self.values_file.stat().st_size if self.values_file.is_file() else 0
        if self.index_file.is_file():
            text = self.index_file.read_text(encoding="utf-8", errors="replace")
            *lines, _ = text.split("\n")  # the last one has no line end: it is not complete
            for line in lines[1:]:
                if not (fields := INDEX_LINE.fullmatch(line)):
                    break
                id, view, steps = fields.groups()
                if size < self._bytes_of(self.rows + int(steps)):
                    break
                kept.append(line)
                self.done.add((id, int(view)))
                self.rows += int(steps)
        self.index_file.write_text("\n".join([*kept, ""]), encoding="utf-8")
        if size < HEADER_BYTES:
            self.values_file.write_bytes(_header(self.classes, 0))
        os.truncate(self.values_file, self._bytes_of(self.rows))
        self._values = open(self.values_file, "ab")
        self._index = open(self.index_file, "a", encoding="utf-8", newline="\n")
        return len(self.done)

    def add(self, id: str, view: int, values: np.ndarray) -> None:
        """Append float16 (steps, V). The index line comes last: it marks the rows as complete."""
        self._values.write(values.tobytes())
        self._values.flush()
        self._index.write(f"{id}|{view}|{len(values)}\n")
        self._index.flush()
        self.done.add((id, view))
        self.rows += len(values)

    def close(self) -> None:
        """Close both files and write the number of rows into the array's header."""
        self._index.close()
        self._values.close()
        with open(self.values_file, "r+b") as file:
            file.write(_header(self.classes, self.rows))
