"""Places that outputs cannot be written to are found before work starts."""

import os
import tempfile
from pathlib import Path

import pytest

from data import output_place
from data.output_place import (
    BeingWrittenError,
    WritingLock,
    check_new_folder,
    check_output_files,
    check_places,
    ignores_case,
    partial_beside,
    write_whole,
)
from errors import DataError, UsageError
from tests.conftest import run_in_child


def test_a_place_below_a_file_is_refused_and_nothing_is_made(tmp_path):
    (tmp_path / "file").write_text("mine")
    check_places([tmp_path / "new" / "folder" / "x.txt", tmp_path / "x.txt"])
    with pytest.raises(DataError, match=r"cannot write .*x\.txt: .*file is not a folder"):
        check_places([tmp_path / "a.txt", tmp_path / "file" / "new" / "x.txt"])
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_folder_without_permission_is_refused(tmp_path):
    folders = [tmp_path, *tmp_path.parents]
    for folder in folders[: folders.index(Path(tempfile.gettempdir()))]:
        folder.chmod(0o755)

    def as_other_user() -> str:
        os.setuid(65534)
        with pytest.raises(DataError) as error:
            check_places([tmp_path / "new" / "x.txt"])
        return str(error.value)

    assert run_in_child(as_other_user) == (
        f"cannot write {tmp_path / 'new' / 'x.txt'}: {tmp_path}: Permission denied"
    )


def test_a_new_folder_can_be_absent_or_empty(tmp_path):
    (tmp_path / "empty").mkdir()
    check_new_folder(tmp_path / "empty", "--output", own_leftover=False)
    check_new_folder(tmp_path / "absent" / "x", "--output", own_leftover=False)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").touch()
    (tmp_path / "file").touch()
    for name in ("full", "file"):
        with pytest.raises(
            UsageError, match=rf"{name} already exists: choose another --output"
        ) as e:
            check_new_folder(tmp_path / name, "--output", own_leftover=False)
        assert "remove" not in str(e.value)  # it may be the user's data
    (tmp_path / "full" / "corpus.json").touch()
    with pytest.raises(UsageError, match=r"choose another --output or remove it first$"):
        check_new_folder(tmp_path / "full", "--output", own_leftover=False)


def test_an_input_is_never_the_output(tmp_path):
    """Nobody is told to remove the data that the command should read."""
    videos = tmp_path / "data" / "videos"
    videos.mkdir(parents=True)
    (videos / "corpus.json").touch()
    (tmp_path / "link").symlink_to(tmp_path / "data")

    def check(output):
        check_new_folder(output, "--output", own_leftover=False, inputs=[tmp_path / "gone", videos])

    check(tmp_path / "data" / "corpus")
    check(tmp_path / "data" / "videos2")
    check(videos / "corpus")
    check(tmp_path / "gone")
    for same in (videos, tmp_path / "link" / "videos", videos / ".." / "videos"):
        with pytest.raises(UsageError, match=r"^--output .*videos is an input of this command: ch"):
            check(same)
    for above in (tmp_path / "data", tmp_path / "link"):
        with pytest.raises(UsageError, match=r"contains the input .*videos of this command"):
            check(above)


def test_places_that_cannot_be_renamed_to_are_refused(tmp_path, monkeypatch):
    """At the end of hours of work the partial folder could not become a link or a mounted disk."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    for name in ("link", "nowhere"):
        with pytest.raises(UsageError, match=rf"--output .*{name} is a link: give the folder"):
            check_new_folder(tmp_path / name, "--output", own_leftover=False)
    monkeypatch.setattr(output_place.os.path, "ismount", lambda path: True)
    with pytest.raises(UsageError, match="disk is a mounted disk: give a new folder on it"):
        check_new_folder(tmp_path / "disk", "--output", own_leftover=False)


def test_a_folder_of_the_users_is_not_taken_for_a_partial_one(tmp_path):
    (tmp_path / "mine.partial").mkdir()
    check_new_folder(tmp_path / "mine", "--output", own_leftover=False)  # it is empty
    (tmp_path / "mine.partial" / "thesis.txt").touch()
    with pytest.raises(UsageError, match=r"mine\.partial already exists and is not from an inter"):
        check_new_folder(tmp_path / "mine", "--output", own_leftover=False)
    check_new_folder(tmp_path / "mine", "--output", own_leftover=True)


def test_a_folder_that_is_being_written_is_refused_until_its_process_ends(tmp_path):
    lock = WritingLock(tmp_path, Path("mine"))
    with pytest.raises(
        BeingWrittenError,
        match=r"another process is writing mine \(process [0-9]+ on .*: wait for it",
    ):
        WritingLock(tmp_path, Path("mine"))
    lock.release()
    lock.release()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / WritingLock.name).touch()  # of a process that was killed
    WritingLock(tmp_path, Path("mine")).release()


def test_a_file_system_without_locks_is_no_error(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError("no locks")

    monkeypatch.setattr(output_place, "lock_descriptor", fail)
    WritingLock(tmp_path, Path("mine")).release()


def test_a_disk_that_ignores_case_is_known_by_a_file_on_it(tmp_path, monkeypatch):
    (tmp_path / "probe").touch()
    assert ignores_case(tmp_path) == (tmp_path / "PROBE").exists()

    def ignoring_case(path: Path) -> bool:
        return any(path.name.lower() == other.lower() for other in os.listdir(path.parent))

    monkeypatch.setattr(Path, "exists", ignoring_case)
    assert ignores_case(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["probe"]


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    target, link = tmp_path / "target.txt", tmp_path / "link.txt"
    link.symlink_to(target)
    write_whole(link, "Häuser\n")
    assert link.is_symlink() and target.read_bytes() == "Häuser\n".encode()
    with pytest.raises(UnicodeEncodeError):
        write_whole(target, "x" * 10_000 + "\udcff")
    write_whole(tmp_path / "escaped.txt", "\udcff", errors="backslashreplace")
    with pytest.raises(OSError):
        write_whole(tmp_path, "a folder")
    texts = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert texts.pop("escaped.txt") == "\\udcff"
    assert texts == {"target.txt": "Häuser\n", "link.txt": "Häuser\n"}
    assert not list(tmp_path.parent.glob(".*.partial*"))


def test_a_repeat_replaces_what_a_killed_process_left(tmp_path):
    page = tmp_path / f"{'long' * 60}.html"
    partial_beside(page).write_text("left by a killed process")
    assert partial_beside(page) != partial_beside(tmp_path / "other.html")
    write_whole(page, "whole")
    assert list(tmp_path.iterdir()) == [page] and page.read_text() == "whole"


def test_files_that_exist_are_refused_by_name_unless_the_user_allows_to_replace_them(tmp_path):
    one, two, absent = (tmp_path / name for name in ("one", "two", "absent"))
    one.touch()
    two.touch()
    check_output_files([absent], overwrite=False)
    with pytest.raises(UsageError) as error:
        check_output_files([absent, one, two], overwrite=False)
    assert str(error.value) == (
        f"{one} already exists (and 1 more): choose another place, or give --overwrite to replace "
        "it"
    )
    check_output_files([one, two], overwrite=True)


def test_a_link_is_a_file_that_exists_also_if_it_leads_nowhere(tmp_path):
    """A disk that is not mounted now: the link belongs to the user."""
    (tmp_path / "link").symlink_to(tmp_path / "gone" / "x.txt")
    with pytest.raises(UsageError, match="link already exists"):
        check_output_files([tmp_path / "link"], overwrite=False)
    check_output_files([tmp_path / "link"], overwrite=True)
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    with pytest.raises(UsageError, match="circle already exists"):
        check_output_files([tmp_path / "circle"], overwrite=False)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_in_the_place_of_a_folder_and_the_other_way_round(tmp_path, overwrite):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is a folder: expected the name of a file"):
        check_output_files([tmp_path], overwrite)
    with pytest.raises(DataError, match=r"cannot write .*file/x: .*file is not a folder"):
        check_output_files([tmp_path / "file" / "x"], overwrite)


def test_a_device_is_no_file_to_replace():
    check_output_files([Path(os.devnull)], overwrite=False)
