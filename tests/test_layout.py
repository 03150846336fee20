"""Folders and files stay small enough to be read in one sitting."""

import subprocess
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MAX_FILES, MAX_LINES = 25, 400  # of a folder, of a file of code


def files() -> list[Path]:
    """All files of the project that are not ignored, but for those that are deleted."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    return [path for name in names.decode().split("\0") if name and (path := ROOT / name).is_file()]


def test_no_folder_has_too_many_files():
    counts = Counter(path.parent.relative_to(ROOT) for path in files())
    assert counts[Path("training")] > 5
    assert {folder: count for folder, count in counts.items() if count > MAX_FILES} == {}


def test_no_file_of_code_is_too_long():
    code = [path for path in files() if path.suffix == ".py"]
    lines = {path.relative_to(ROOT): len(path.read_bytes().splitlines()) for path in code}
    assert lines[Path("train_teacher.py")] > 5
    assert {path: count for path, count in lines.items() if count > MAX_LINES} == {}
