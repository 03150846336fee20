"""Checkpoints are written atomically: the file, its hash file and the previous checkpoint."""

import hashlib
import os
from pathlib import Path

import pytest

from data.corpus import sha256_of
from errors import DataError
from models.checkpoint import (
    copy_checkpoint,
    remove_leftovers,
    save_checkpoint,
)
from models.safe_write import link_as_partial, replace_file
from tests.models.conftest import checkpoint_content, file_names, weight_in


def test_the_previous_checkpoint_is_kept(tmp_path):
    last, previous = tmp_path / "last.pth", tmp_path / "previous.pth"
    for value in (1.0, 2.0, 3.0):
        save_checkpoint(last, checkpoint_content(value), previous)
    assert (weight_in(last), weight_in(previous)) == (3.0, 2.0)
    assert file_names(tmp_path) == [
        "last.pth",
        "last.pth.sha256",
        "previous.pth",
        "previous.pth.sha256",
    ]
    assert last.stat().st_ino != previous.stat().st_ino, (
        "two separate files: damage to one does not damage the other"
    )
    (tmp_path / "best_model.pth.partial").write_text("half of it")
    remove_leftovers(tmp_path)
    assert len(file_names(tmp_path)) == 4


def test_a_damaged_last_checkpoint_does_not_replace_a_good_previous_one(tmp_path):
    last, previous = tmp_path / "last.pth", tmp_path / "previous.pth"
    for value in (1.0, 2.0):
        save_checkpoint(last, checkpoint_content(value), previous)
    data = bytearray(last.read_bytes())
    data[len(data) // 2] ^= 4
    last.write_bytes(data)
    save_checkpoint(last, checkpoint_content(3.0), previous)
    assert (weight_in(last), weight_in(previous)) == (3.0, 1.0)


def test_a_file_that_is_replaced_by_a_link_to_itself_leaves_no_second_name(tmp_path):
    """os.replace does nothing then."""
    last = tmp_path / "last.pth"
    save_checkpoint(last, checkpoint_content())
    partial = link_as_partial(last, last)
    assert partial.samefile(last)
    replace_file(partial, last, sha256_of(last))
    assert file_names(tmp_path) == ["last.pth", "last.pth.sha256"] and weight_in(last) == 1.0


def test_a_damaged_checkpoint_is_not_copied_to_best_model(tmp_path):
    save_checkpoint(tmp_path / "last.pth", checkpoint_content())
    (tmp_path / "last.pth").write_bytes(b"x" * 100)
    with pytest.raises(DataError, match=r"last\.pth is damaged"):
        copy_checkpoint(tmp_path / "last.pth", tmp_path / "best_model.pth")


def test_the_hash_file_has_the_format_of_sha256sum(tmp_path):
    for value in (1.0, 2.0):
        save_checkpoint(tmp_path / "last.pth", checkpoint_content(value), tmp_path / "previous.pth")
    for name in ("last.pth", "previous.pth"):
        digest = hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        assert (tmp_path / f"{name}.sha256").read_text() == f"{digest}  {name}\n"


def test_file_and_folder_are_synced_in_order(tmp_path, monkeypatch):
    events = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(
        os,
        "fsync",
        lambda d: (events.append(Path(os.readlink(f"/proc/self/fd/{d}")).name), fsync(d)),
    )
    monkeypatch.setattr(
        os, "replace", lambda a, b: (events.append(f"-> {Path(b).name}"), replace(a, b))
    )
    save_checkpoint(tmp_path / "last.pth", checkpoint_content())
    renamed = events.index("-> last.pth")
    assert "last.pth.partial" in events[:renamed], "the file is on the disk before it is renamed"
    assert events[:renamed].count("-> last.pth.sha256") == 1, "its hash file comes first"
    assert events[renamed + 1] == tmp_path.name, "the folder is synced after the rename"


@pytest.mark.parametrize(("renamed", "value"), [(False, 1.0), (True, 2.0)])
def test_a_kill_at_the_rename_leaves_a_checkpoint_that_matches_its_hash(renamed, value, tmp_path):
    last, replace = tmp_path / "last.pth", os.replace
    save_checkpoint(last, checkpoint_content(1.0))

    class KilledError(BaseException):
        pass

    def killed(source, target):
        if Path(target) != last or renamed:
            replace(source, target)
        if Path(target) == last:
            raise KilledError

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(os, "replace", killed)
        save_checkpoint(last, checkpoint_content(2.0))
    assert weight_in(last) == value
    save_checkpoint(last, checkpoint_content(3.0))
    assert (
        weight_in(last) == 3.0 and len((tmp_path / "last.pth.sha256").read_text().splitlines()) == 1
    )
