"""Full disks and folders that cannot be written to: the previous checkpoint stays."""

import os
import resource
from pathlib import Path

import pytest

from errors import DataError
from models.checkpoint import (
    save_checkpoint,
)
from tests.conftest import run_in_child
from tests.models.conftest import checkpoint_content, file_names, weight_in


def test_a_disk_that_is_full_after_any_number_of_bytes(tmp_path):
    path, previous = tmp_path / "last.pth", tmp_path / "previous.pth"
    save_checkpoint(path, checkpoint_content())
    size = path.stat().st_size
    limits = (0, 1, 30, 60, 100, 1000, 4097, size // 3, size // 2, size - 1000, size - 1)

    def save_under_each_limit() -> str:
        for limit in limits:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            try:
                save_checkpoint(path, checkpoint_content(9.0), previous)
                outcome = "saved"
            except DataError as error:
                outcome = str(error)
            resource.setrlimit(
                resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            )
            assert "cannot write" in outcome and "File too large" in outcome, (limit, outcome)
            assert "\n" not in outcome, (limit, outcome)
            assert weight_in(path) == 1.0, limit
            assert file_names(tmp_path) == ["last.pth", "last.pth.sha256"], limit
        return f"{len(limits)} sizes"

    assert run_in_child(save_under_each_limit) == "11 sizes"


@pytest.mark.parametrize("fails", [1, 2, 3, 4])
def test_a_disk_that_is_full_when_the_hash_file_is_written(fails, tmp_path, monkeypatch):
    """The checkpoint itself is written. The disk is full at one of the hash files after it."""
    last, previous = tmp_path / "last.pth", tmp_path / "previous.pth"
    for value in (1.0, 2.0):
        save_checkpoint(last, checkpoint_content(value), previous)
    replace, calls = os.replace, []

    def full(source, target):
        if Path(target).suffix == ".sha256":
            calls.append(1)
            if len(calls) == fails:
                raise OSError(28, "No space left on device")
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(DataError, match=r"cannot write .*last\.pth .*No space left on device"):
            save_checkpoint(last, checkpoint_content(3.0), previous)
    assert weight_in(last) == (3.0 if fails == 4 else 2.0) and weight_in(previous) == (
        1.0 if fails == 1 else 2.0
    )
    assert len(file_names(tmp_path)) == 4, "no file is half written"
    save_checkpoint(last, checkpoint_content(4.0), previous)
    assert weight_in(last) == 4.0


def test_a_read_only_folder(tmp_path):
    save_checkpoint(tmp_path / "last.pth", checkpoint_content())

    def save_in_read_only_folder() -> str:
        os.chdir(tmp_path)
        os.chmod(".", 0o555)
        if os.getuid() == 0:
            os.setuid(65534)  # root may write anywhere
        try:
            save_checkpoint(Path("last.pth"), checkpoint_content())
        except DataError as error:
            return str(error)
        return "saved"

    outcome = run_in_child(save_in_read_only_folder)
    os.chmod(tmp_path, 0o755)
    assert outcome.startswith("cannot write last.pth") and "Permission denied" in outcome
    assert "\n" not in outcome
    assert weight_in(tmp_path / "last.pth") == 1.0 and len(file_names(tmp_path)) == 2


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"cannot write .*last\.pth"):
        save_checkpoint(tmp_path / "file" / "last.pth", {})
