"""The working folder of an extraction: complete files, full disks, plans that cannot be trusted."""

import errno
import json
import os

import pytest

from data.sources import extraction_folder
from data.sources.extraction import extract, merge_shards
from errors import DataError, UsageError
from tests.data.sources.conftest import three_videos


def test_a_full_disk_is_one_line(tmp_path, fake_workers, monkeypatch):
    def full(path, content):
        if path.suffix == ".failed":
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, content)

    write = extraction_folder._write_file
    monkeypatch.setattr(extraction_folder, "_write_file", full)
    with pytest.raises(
        DataError,
        match=r"cannot write to .*out\.extracting: No space left on device; the finished",
    ):
        extract(*three_videos(tmp_path), tmp_path / "out", workers=1)


def test_a_users_folder_with_the_name_of_the_working_folder_is_kept(tmp_path, fake_workers):
    """The working folder is removed at the end."""
    source = three_videos(tmp_path)
    (tmp_path / "out.extracting").mkdir()
    (tmp_path / "out.extracting" / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"out\.extracting already exists and is not from an extr"):
        extract(*source, tmp_path / "out", workers=1)
    assert (tmp_path / "out.extracting" / "thesis.txt").read_text() == "mine"


def test_machines_that_share_a_folder_write_files_of_different_names(tmp_path, monkeypatch):
    names = set()
    for machine in ("one", "two"):
        monkeypatch.setattr(extraction_folder.platform, "node", lambda machine=machine: machine)
        names.add(extraction_folder._partial(tmp_path / "x.npz").name)
    assert names == {f"x.npz.{machine}.{os.getpid()}.partial" for machine in ("one", "two")}


def test_a_folder_that_is_no_working_folder_cannot_be_merged(tmp_path):
    with pytest.raises(
        DataError, match=r"has no plan\.json: expected a folder <output>\.extracting"
    ):
        merge_shards([tmp_path], tmp_path / "out")
    (tmp_path / "plan.json").write_text("{")
    with pytest.raises(DataError, match=r"plan\.json cannot be read"):
        merge_shards([tmp_path], tmp_path / "out")


@pytest.mark.parametrize(
    ("split", "file"), [("train", "../../outside"), ("../x", "f" * 32), ("train", "")]
)
def test_a_plan_of_another_machine_names_no_paths(split, file, tmp_path):
    job = [split, "s1", "anna", "A", file]
    shard = tmp_path / "x.extracting"
    shard.mkdir()
    (shard / "plan.json").write_text(json.dumps({"settings": {}, "input": "i", "jobs": [job]}))
    with pytest.raises(DataError, match=r"plan\.json cannot be read .* is not a sentence's job"):
        merge_shards([shard], tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.extracting"]
