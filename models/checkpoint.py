"""Checkpoints: tensors and plain Python values in one file, with its SHA-256 beside it.

A checkpoint is written so that a failure never harms the previous one (models/safe_write.py). A
checkpoint that is loaded is not trusted (models/safe_load.py): its hash, archive, types and sizes
are checked before a tensor is made from it.
"""

import contextlib
import hashlib
import json
import math
import os
import shutil
import sys
from pathlib import Path
from typing import IO, Any, cast

import torch

from data.checks.file_hash import sha256_of
from data.text_fields import unusable_character
from errors import DataError
from models.safe_load import open_archive
from models.safe_write import (
    HashedFile,
    hash_path,
    link_as_partial,
    partial_path,
    replace_file,
    stored_digests,
)

FORMAT_VERSION = 1
BEST, LAST, PREVIOUS = "best_model.pth", "last.pth", "previous.pth"
CHECKPOINTS = (BEST, LAST, PREVIOUS)  # a folder with any of these files holds a run
# Files that exist at the same time, at most: the three above and the one that is being written
MAX_FILES = 4
# Keys of a checkpoint, with their types; for a dictionary, the inner keys that are always needed
_LAYOUT: dict[str, tuple[type, tuple[str, ...]]] = {
    "model": (dict, ()),
    "vocabulary": (list, ()),
    "config": (dict, ()),
    "corpus": (dict, ("name", "path", "fingerprint", "simulated", "composed")),
    "decoder": (dict, ("steps_per_gloss",)),
    "training": (dict, ("progress", "stopping", "optimizer", "scaler")),
}


def save_checkpoint(path: Path, content: dict[str, Any], previous: Path | None = None) -> None:
    """Write a checkpoint and its SHA-256. The old file stays until the new one is on the disk and
    was read back.

    Args:
        path: the file to write or replace.
        content: the keys of `load_checkpoint`.
        previous: keep the old checkpoint under this name, if it is undamaged.

    Raises DataError when the checkpoint cannot be written (a full disk, a read-only folder).
    """
    partial, written = partial_path(path), None
    try:
        with open(partial, "wb") as file:
            written = HashedFile(file)
            # torch.save needs only `write` and `flush`
            torch.save({"format_version": FORMAT_VERSION, **content}, cast(IO[bytes], written))
            file.flush()
            os.fsync(file.fileno())
        _read_back(partial, written.digest())
        if previous is not None and path.exists():
            _keep_as(path, previous)
        replace_file(partial, path, written.digest())
    # torch turns a full disk into a RuntimeError
    except (OSError, RuntimeError, DataError) as error:
        for leftover in (path, previous or path):
            with contextlib.suppress(OSError):
                partial_path(leftover).unlink(missing_ok=True)
        free = shutil.disk_usage(path.parent).free / 2**20 if path.parent.is_dir() else 0
        cause = (written and written.error) or error
        raise DataError(
            f"cannot write {path} ({free:.0f} MiB free there): {_reason(cause)}; "
            "the previous checkpoint is untouched"
        ) from cause


def _reason(error: Exception) -> str:
    """The first line of an error's message."""
    return getattr(error, "strerror", None) or (str(error) or type(error).__name__).splitlines()[0]


def _read_back(path: Path, digest: str) -> None:
    """Raise DataError unless the file on the disk has this SHA-256 and opens as a checkpoint."""
    with open(path, "rb") as file:
        # Drop the file from the system's cache where that is possible, to read it from the disk
        if sys.platform == "linux":
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != digest:
        raise DataError(
            "the file on the disk differs from what was written; the disk may be failing"
        )
    open_archive(path, mapped=True)


def _keep_as(path: Path, previous: Path) -> None:
    """Keep the checkpoint at `path` as `previous` too, unless it is damaged: a damaged one must not
    replace a good one."""
    digest = sha256_of(path)
    if digest in stored_digests(path):
        replace_file(link_as_partial(path, previous), previous, digest)


def copy_checkpoint(source: Path, target: Path) -> None:
    """Make `target` a checkpoint with the content of `source`. Raises DataError when it cannot be
    written, or `source` is damaged."""
    try:
        partial = link_as_partial(source, target)
        digest, expected = sha256_of(partial), stored_digests(source)
        if expected and digest not in expected:
            partial.unlink()
            raise DataError(_damage(source, digest, expected))
        replace_file(partial, target, digest)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial_path(target).unlink(missing_ok=True)
        raise DataError(
            f"cannot write {target}: {error.strerror}; the previous checkpoint is untouched"
        ) from error


def checkpoint_in(folder: Path) -> Path | None:
    """A checkpoint of the run in this folder; None if there is no run in it."""
    return next((folder / name for name in CHECKPOINTS if (folder / name).exists()), None)


def remove_leftovers(folder: Path) -> None:
    """Remove the partial files of a run that was killed while it saved. Raises OSError."""
    for name in CHECKPOINTS:
        for path in (folder / name, hash_path(folder / name)):
            partial_path(path).unlink(missing_ok=True)


def bytes_needed(parameters: int) -> int:
    """Disk space of a run's checkpoints, at most. Each holds the weights and the optimiser's two
    moments, float32."""
    return MAX_FILES * 3 * 4 * parameters


def check_space(folder: Path, parameters: int, reuse: bool) -> None:
    """Raise DataError if the disk of `folder` has no space for the checkpoints of a run.

    parameters: of the model. reuse: the run replaces the checkpoints that the folder has already.
    """
    replaced = {}  # bytes of each file; hard links of one file have one inode
    for path in (folder / name for name in CHECKPOINTS):
        if reuse and path.exists():
            replaced[path.stat().st_ino] = path.stat().st_size
    disk = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
    needed, free = bytes_needed(parameters) - sum(replaced.values()), shutil.disk_usage(disk).free
    if free < needed:
        raise DataError(
            f"{folder}: this run's checkpoints need up to {needed / 2**20:.0f} MiB and the disk "
            f"has {free / 2**20:.0f} MiB free: free some space, or give an --output_dir on "
            "another disk"
        )


def model_sha256(checkpoint: dict[str, Any]) -> str:
    """SHA-256 of all that decides what a model predicts: its weights, its glosses and its
    configuration. A tuned decoder or more epochs without a better model do not change it.

    checkpoint: as `load_checkpoint` returns it.
    """
    facts = checkpoint.get("kind"), checkpoint["vocabulary"], checkpoint["config"].get("model")
    found = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name, tensor in sorted(checkpoint["model"].items()):
        found.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        found.update(tensor.cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read and verify a checkpoint, onto the CPU. Only tensors and plain values are unpickled.

    The keys of the result:
        model: state dict of the weights.
        vocabulary: list of glosses.
        config: the configuration of the run, {section: {key: value}}.
        corpus: name, path, fingerprint, simulated, composed, fps, aspect_ratio, extractor.
        decoder: settings of the decoder (decoding/decoders.py).
        training: all that an exact resume needs.
        heads: how a tuned model joins its heads (models/build.py); others lack it.
        kind: 'teacher' or 'student'; older checkpoints of a teacher lack it.
        teacher: path and SHA-256 of a student's teacher; None without one; only of students.

    Without a .sha256 file, the checksums inside the file are verified instead, with a note on
    stderr. Raises DataError when the file is missing, does not match its SHA-256, or is not a
    checkpoint of this project.
    """
    try:
        if path.is_dir():
            file = checkpoint_in(path) or "a file such as best_model.pth of a run"
            raise DataError(f"checkpoint {path} is a folder: expected {file}")
        if not path.is_file():
            raise DataError(f"checkpoint {path} does not exist: expected best_model.pth of a run")
        if path.suffix == ".onnx":
            raise DataError(
                f"checkpoint {path} is an exported model: only transcribe.py can use it; "
                "expected best_model.pth of a run"
            )
        if expected := stored_digests(path):
            found = sha256_of(path)
            if found not in expected:
                raise DataError(_damage(path, found, expected))
        content = open_archive(path, check_sums=not expected)
    except (OSError, RuntimeError, DataError) as error:
        if isinstance(error, DataError) and str(error).startswith("checkpoint "):
            raise
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise DataError(f"checkpoint {path} cannot be read: {reason}") from None
    if not expected:
        print(
            f"note: {hash_path(path)} is missing: only {path.name}'s own checksums were verified",
            file=sys.stderr,
        )
    _check_layout(path, content)
    return cast(dict[str, Any], content)


def _check_layout(path: Path, content: Any) -> None:
    """Raise DataError unless the content of the file at `path` is that of a checkpoint."""
    version = content.get("format_version") if isinstance(content, dict) else None
    if type(version) is not int or version != FORMAT_VERSION:
        raise DataError(
            f"checkpoint {path} is not one of this project's (format_version {FORMAT_VERSION})"
        )
    for key, (kind, inner) in _LAYOUT.items():
        value = content.get(key)
        usable = isinstance(value, kind) and all(name in content[key] for name in inner)
        if not usable:
            with_keys = f" with {', '.join(inner)}" if inner else ""
            raise DataError(_unusable(path, key, f"a {kind.__name__}{with_keys}"))
    for name in ("fps", "aspect_ratio"):  # older checkpoints lack them
        value = content["corpus"].get(name, 1)
        if type(value) not in (int, float) or not 0 < value < math.inf:
            raise DataError(_unusable(path, "corpus", f"{name} to be a number above 0"))
    if not isinstance(content.get("heads", {}), dict):
        raise DataError(_unusable(path, "heads", "a dict"))
    if not isinstance(content.get("kind", ""), str):
        raise DataError(_unusable(path, "kind", "a word"))
    if not all(
        isinstance(gloss, str) and unusable_character(gloss) is None
        for gloss in content["vocabulary"]
    ):
        raise DataError(_unusable(path, "vocabulary", "glosses"))


def _unusable(path: Path, key: str, expected: str) -> str:
    return f"checkpoint {path} has no usable '{key}': expected {expected}; use another checkpoint"


def _damage(path: Path, found: str, expected: list[str]) -> str:
    return (
        f"checkpoint {path} is damaged: SHA-256 {found[:12]}…, "
        f"expected {expected[0][:12]}… ({hash_path(path).name}); use another checkpoint"
    )
