"""Replace a file so that a crash or a full disk never harms the previous one.

The new content is first written to `<name>.partial`, synced to the disk and verified by the caller.
Only then `replace_file` renames it. `<name>.sha256` holds the SHA-256 of the file at every moment,
in the format of sha256sum. While the file is being replaced, it holds two: of the new and the old
content.
"""

import hashlib
import os
import shutil
import sys
from pathlib import Path
from typing import BinaryIO


def hash_path(path: Path) -> Path:
    """The file beside `path` that holds its SHA-256."""
    return path.with_name(path.name + ".sha256")


def partial_path(path: Path) -> Path:
    """The name under which `path` is written before it is complete."""
    return path.with_name(path.name + ".partial")


class HashedFile:
    """A binary file to write to, as torch.save needs one, with the SHA-256 of what was written.

    error: the last error of a write, or None. torch.save replaces it by an error of its own.
    """

    def __init__(self, file: BinaryIO):
        self._file, self._hash = file, hashlib.sha256()
        self.error: OSError | None = None

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


def replace_file(partial: Path, path: Path, digest: str) -> None:
    """Rename `partial`, whose SHA-256 is `digest`, to `path`. Raises OSError.

    At every moment the hash file knows the digest of the content that `path` has.
    """
    old = [known for known in stored_digests(path) if known != digest] if path.exists() else []
    _write_digests(path, [digest, *old])
    os.replace(partial, path)
    # If both are names of the same file (hard links), os.replace keeps both
    partial.unlink(missing_ok=True)
    _sync(path.parent)
    if old:
        _write_digests(path, [digest])


def stored_digests(path: Path) -> list[str]:
    """The digests in the hash file of `path`: one, or two if it was being replaced; none without a
    hash file. An empty hash file gives a word that matches no digest."""
    try:
        lines = hash_path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    return [line.split()[0] for line in lines if line.split()] or ["nothing"]


def link_as_partial(source: Path, target: Path) -> Path:
    """Give the content of `source` the partial name of `target`, and return that name. Raises
    OSError. This is a hard link where the file system has them, else a synced copy."""
    partial = partial_path(target)
    partial.unlink(missing_ok=True)
    try:
        os.link(source, partial)
    except OSError:
        shutil.copyfile(source, partial)
        _sync(partial)
    return partial


def _write_digests(path: Path, digests: list[str]) -> None:
    partial = partial_path(hash_path(path))
    try:
        with open(partial, "w", encoding="utf-8") as file:
            file.write("".join(f"{digest}  {path.name}\n" for digest in digests))
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, hash_path(path))
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def _sync(path: Path) -> None:
    """Write a file or the entries of a folder to the disk. Windows syncs no folders."""
    is_folder = path.is_dir()
    if is_folder and sys.platform == "win32":
        return
    descriptor = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
