"""Checkpoints: tensors and plain Python values, written so that a failed write never harms the
previous one.

A checkpoint is written under another name, synced, read back and only then renamed; its SHA-256
stands beside it at every moment. What is read is not trusted: hash, archive, types and sizes are
checked before a tensor is made from it.
"""

import contextlib
import hashlib
import os
import shutil
import sys
from pathlib import Path
from typing import Any, BinaryIO

import torch

from data.corpus import sha256_of
from errors import DataError
from models.safe_load import _open_archive

FORMAT_VERSION = 1
BEST, LAST, PREVIOUS = "best_model.pth", "last.pth", "previous.pth"
FILES_AT_ONCE = 4  # best, last, the one before it, and the one being written
# What a checkpoint holds, and of which kind; the inner keys are those that loading looks up by
# name.
_LAYOUT = {
    "model": (dict, ()),
    "vocabulary": (list, ()),
    "config": (dict, ()),
    "corpus": (dict, ("name", "path", "fingerprint", "simulated", "composed")),
    "decoder": (dict, ("steps_per_gloss",)),
    "training": (dict, ("progress", "stopping", "optimizer", "scaler")),
}


def _hash_path(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _partial_path(path: Path) -> Path:
    return path.with_name(path.name + ".partial")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _HashedFile:
    """What torch.save writes to: passes on and hashes, and keeps the error that torch would hide
    behind its own."""

    def __init__(self, file: BinaryIO):
        self._file, self._hash, self.error = file, hashlib.sha256(), None

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self._file.flush()

    def digest(self) -> str:
        return self._hash.hexdigest()


def save_checkpoint(path: Path, content: dict[str, Any], previous: Path | None = None) -> None:
    """Write `content` (the keys of `load_checkpoint`) to `path`, and its SHA-256 beside it.

    Until the new one is on the disk and was read back, the old one stands; it is then kept as
    `previous`, if that is given and the old one is whole. Raises DataError when it cannot be
    written (a full disk, a read-only folder).
    """
    partial, written = _partial_path(path), None
    try:
        with open(partial, "wb") as file:
            written = _HashedFile(file)
            torch.save({"format_version": FORMAT_VERSION, **content}, written)
            file.flush()
            os.fsync(file.fileno())
        _read_back(partial, written.digest())
        if previous is not None and path.exists():
            _keep(path, previous)
        _exchange(partial, path, written.digest())
    # Torch turns a full disk into a RuntimeError
    except (OSError, RuntimeError, DataError) as error:
        for leftover in (path, previous or path):
            with contextlib.suppress(OSError):
                _partial_path(leftover).unlink(missing_ok=True)
        free = shutil.disk_usage(path.parent).free / 2**20 if path.parent.is_dir() else 0
        error = (written and written.error) or error
        reason = (
            getattr(error, "strerror", None) or (str(error) or type(error).__name__).splitlines()[0]
        )
        raise DataError(
            f"cannot write {path} ({free:.0f} MiB free there): {reason}; the previous checkpoint is untouched"
        ) from error


def _read_back(path: Path, digest: str) -> None:
    """Raise DataError unless the file on the disk has the digest of what was written, and opens as
    a checkpoint."""
    with open(path, "rb") as file:
        # What was synced is read from the disk, where the system lets go of its copy
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != digest:
        raise DataError("what was written does not read back the same, the disk may be failing")
    _open_archive(path, mapped=True)


def _keep(path: Path, previous: Path) -> None:
    """Let `previous` be what `path` is now, if that is whole: a damaged one must not push out a
    good one."""
    digest = sha256_of(path)
    if digest in _said_digests(path):
        _exchange(_second_name(path, previous), previous, digest)


def _second_name(source: Path, target: Path) -> Path:
    """Give a file another name, `target`.partial, without writing it twice where the file system
    has links."""
    partial = _partial_path(target)
    partial.unlink(missing_ok=True)
    try:
        os.link(source, partial)
    except OSError:
        shutil.copyfile(source, partial)
        _sync(partial)
    return partial


def _exchange(partial: Path, path: Path, digest: str) -> None:
    """Rename `partial` to `path`. While that happens both hashes are said: a crash never leaves one
    without its hash."""
    old = [one for one in _said_digests(path) if one != digest] if path.exists() else []
    _write_digests(path, [digest, *old])
    os.replace(partial, path)
    # Renaming one name of a file to another of its names leaves both
    partial.unlink(missing_ok=True)
    _sync(path.parent)
    if old:
        _write_digests(path, [digest])


def _write_digests(path: Path, digests: list[str]) -> None:
    partial = _partial_path(_hash_path(path))
    try:
        with open(partial, "w", encoding="utf-8") as file:
            file.write("".join(f"{digest}  {path.name}\n" for digest in digests))
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, _hash_path(path))
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def _said_digests(path: Path) -> list[str]:
    """What the file beside a checkpoint says: one digest, or two while the checkpoint was being
    exchanged."""
    try:
        lines = _hash_path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    return [line.split()[0] for line in lines if line.split()] or ["nothing"]


def copy_checkpoint(source: Path, target: Path) -> None:
    """Make `target` a checkpoint of the same content. Raises DataError when it cannot be written or
    `source` is damaged."""
    try:
        partial = _second_name(source, target)
        digest, said = sha256_of(partial), _said_digests(source)
        if said and digest not in said:
            partial.unlink()
            raise DataError(_damage(source, digest, said))
        _exchange(partial, target, digest)
    except OSError as error:
        with contextlib.suppress(OSError):
            _partial_path(target).unlink(missing_ok=True)
        raise DataError(
            f"cannot write {target}: {error.strerror}; the previous checkpoint is untouched"
        ) from error


def remove_leftovers(folder: Path) -> None:
    """Remove what a run that was killed while saving left half written. Raises OSError."""
    for name in (BEST, LAST, PREVIOUS):
        for path in (folder / name, _hash_path(folder / name)):
            _partial_path(path).unlink(missing_ok=True)


def bytes_needed(parameters: int) -> int:
    """Room that a run's checkpoints take at most: of each the weights and two moments of the
    optimiser, float32."""
    return FILES_AT_ONCE * 3 * 4 * parameters


def check_space(folder: Path, parameters: int, reuse: bool) -> None:
    """Raise DataError when the disk of `folder` has no room for the checkpoints of a model of so
    many parameters.

    reuse: the checkpoints that are in the folder already will be replaced.
    """
    there = {}
    for path in (folder / name for name in (BEST, LAST, PREVIOUS)):
        if reuse and path.exists():
            there[path.stat().st_ino] = path.stat().st_size
    disk = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
    needed, free = bytes_needed(parameters) - sum(there.values()), shutil.disk_usage(disk).free
    if free < needed:
        raise DataError(
            f"{folder}: this run's checkpoints need up to {needed / 2**20:.0f} MiB and the disk has "
            f"{free / 2**20:.0f} MiB free: free some, or give an --output_dir on another disk"
        )


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read and verify a checkpoint, onto the CPU. Nothing is unpickled but tensors and plain
    values.

    Keys: model (state dict), vocabulary (glosses), config (`Config.to_dict`), corpus (name, path,
    fingerprint, simulated, composed, fps, aspect_ratio), decoder (settings), training
    (what an exact resume needs). Raises DataError when it is missing, does not match its SHA-256,
    or is not a checkpoint of this project. Without a .sha256 beside it the checksums inside the
    file are verified instead, which is said.
    """
    try:
        if path.is_dir():
            raise DataError(
                f"checkpoint {path} is a folder: expected a file such as best_model.pth of a run"
            )
        if not path.is_file():
            raise DataError(f"checkpoint {path} does not exist")
        if path.suffix == ".onnx":
            raise DataError(
                f"checkpoint {path} is an exported model, which transcribe.py alone reads: expected best_model.pth of a run"
            )
        if said := _said_digests(path):
            found = sha256_of(path)
            if found not in said:
                raise DataError(_damage(path, found, said))
        content = _open_archive(path, check_sums=not said)
    except (OSError, RuntimeError, DataError) as error:
        if isinstance(error, DataError) and str(error).startswith("checkpoint "):
            raise
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise DataError(f"checkpoint {path} cannot be read: {reason}") from None
    if not said:
        print(
            f"note: {_hash_path(path)} is missing: only {path.name}'s own checksums were verified",
            file=sys.stderr,
        )
    version = content.get("format_version") if isinstance(content, dict) else None
    if type(version) is not int or version != FORMAT_VERSION:
        raise DataError(
            f"checkpoint {path} is not one of this project's (format_version {FORMAT_VERSION})"
        )
    for key, (kind, inner) in _LAYOUT.items():
        if not isinstance(content.get(key), kind) or any(
            name not in content[key] for name in inner
        ):
            expected = (
                f"a {kind.__name__} with {', '.join(inner)}" if inner else f"a {kind.__name__}"
            )
            raise DataError(
                f"checkpoint {path} has no usable '{key}': expected {expected}; use another checkpoint"
            )
    if not isinstance(content.get("kind", ""), str):  # one that does not say is a teacher's
        raise DataError(
            f"checkpoint {path} has no usable 'kind': expected a word; use another checkpoint"
        )
    if not all(isinstance(gloss, str) and gloss.isprintable() for gloss in content["vocabulary"]):
        raise DataError(
            f"checkpoint {path} has no usable 'vocabulary': expected glosses; use another checkpoint"
        )
    return content


def _damage(path: Path, found: str, said: list[str]) -> str:
    return (
        f"checkpoint {path} is damaged: SHA-256 {found[:12]}…, {_hash_path(path).name} says {said[0][:12]}…; "
        "use another checkpoint"
    )
