"""Checkpoints: tensors and plain Python values, written so that a failed write never harms the previous one."""

import contextlib
import os
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any

import torch

from data.corpus import sha256_of
from errors import DataError

FORMAT_VERSION = 1
BEST, LAST = "best_model.pth", "last.pth"
# What a checkpoint holds, and of which kind; the inner keys are those that loading looks up by name.
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


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write `content` (the keys of `load_checkpoint`) to `path`, and its SHA-256 beside it.

    The file is written under another name, synced and renamed: until the rename the previous checkpoint stands, after it
    the new one. Raises DataError when it cannot be written (a full disk, a read-only folder).
    """
    partial = path.with_name(path.name + ".partial")
    try:
        torch.save({"format_version": FORMAT_VERSION, **content}, partial)
        _sync(partial)
        digest = sha256_of(partial)
        _replace(partial, path, digest)
    except (OSError, RuntimeError) as error:  # torch turns a full disk into a RuntimeError
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        free = shutil.disk_usage(path.parent).free / 2**20 if path.parent.is_dir() else 0
        reason = str(error).splitlines()[0]
        raise DataError(
            f"cannot write {path} ({free:.0f} MiB free there): {reason}; the previous checkpoint is untouched"
        ) from error


def _replace(partial: Path, path: Path, digest: str) -> None:
    # The old hash goes first: a crash in between leaves a checkpoint without a hash, never one with a wrong hash.
    hash_path = _hash_path(path)
    hash_path.unlink(missing_ok=True)
    os.replace(partial, path)
    hash_partial = hash_path.with_name(hash_path.name + ".partial")
    hash_partial.write_text(f"{digest}  {path.name}\n", encoding="utf-8")
    os.replace(hash_partial, hash_path)
    _sync(path.parent)


def copy_checkpoint(source: Path, target: Path) -> None:
    """Make `target` a checkpoint of the same content, without writing it twice where the file system has links."""
    partial = target.with_name(target.name + ".partial")
    partial.unlink(missing_ok=True)
    try:
        try:
            os.link(source, partial)
        except OSError:
            shutil.copyfile(source, partial)
            _sync(partial)
        _replace(partial, target, sha256_of(partial))
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise DataError(f"cannot write {target}: {error.strerror}; the previous checkpoint is untouched") from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read and verify a checkpoint, onto the CPU. Nothing is unpickled but tensors and plain values.

    Keys: model (state dict), vocabulary (glosses), config (`Config.to_dict`), corpus (name, path, fingerprint, simulated,
    composed, fps, aspect_ratio), decoder (settings), training (what an exact resume needs).
    Raises DataError when it is missing, does not match its SHA-256, or is not a checkpoint of this project.
    """
    try:
        if not path.is_file():
            raise DataError(f"checkpoint {path} does not exist")
        hash_path = _hash_path(path)
        if hash_path.is_file():
            expected = hash_path.read_text(encoding="utf-8", errors="replace").split()[:1]
            found = sha256_of(path)
            if [found] != expected:
                raise DataError(
                    f"checkpoint {path} is damaged: SHA-256 {found[:12]}…, {hash_path.name} says "
                    f"{(expected or ['nothing'])[0][:12]}…; use another checkpoint"
                )
        content = torch.load(path, map_location="cpu", weights_only=True)
    # torch's own message would advise to load it all the same; text that it takes for a pickle fails in any way.
    except (pickle.UnpicklingError, IndexError, TypeError, AttributeError):
        raise DataError(
            f"checkpoint {path} cannot be read: it is no PyTorch file of tensors and plain values, and nothing else is loaded"
        ) from None
    except (OSError, RuntimeError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise DataError(f"checkpoint {path} cannot be read: {reason}") from None
    if not isinstance(content, dict) or content.get("format_version") != FORMAT_VERSION:
        raise DataError(f"checkpoint {path} is not one of this project's (format_version {FORMAT_VERSION})")
    for key, (kind, inner) in _LAYOUT.items():
        if not isinstance(content.get(key), kind) or any(name not in content[key] for name in inner):
            expected = f"a {kind.__name__} with {', '.join(inner)}" if inner else f"a {kind.__name__}"
            raise DataError(f"checkpoint {path} has no usable '{key}': expected {expected}; use another checkpoint")
    return content
