"""What is known about the files of a corpus is remembered while they do not change."""

import json
import os
import time
from pathlib import Path

import pytest

import data.corpus
import data.folder_memory
from data.checks.file_hash import sha256_of
from data.corpus import Corpus
from data.folder_memory import NAME, FolderMemory
from tests.data.small_corpus import write_corpus


@pytest.fixture
def path(tmp_path, monkeypatch) -> Path:
    """A corpus whose files count as old enough to be remembered."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(data.folder_memory, "_SETTLED_NS", -1)
    return write_corpus(tmp_path / "tiny")


@pytest.fixture
def hashed(monkeypatch) -> list[str]:
    """The names of the files that are read to hash them."""
    names = []

    def read(path: Path) -> str:
        names.append(path.name)
        return sha256_of(path)

    monkeypatch.setattr(data.corpus, "sha256_of", read)
    return names


def test_a_second_start_reads_no_file(path, hashed):
    first = Corpus(path).digests(["train", "dev"])
    assert len(hashed) == 6 and first["dev.csv"] == sha256_of(path / "dev.csv")
    hashed.clear()
    again = Corpus(path)
    assert again.digests(["train", "dev"]) == first and again.verify(["train", "dev"]) == []
    assert hashed == []


@pytest.mark.parametrize("keep_time", [False, True], ids=["new time", "time put back"])
def test_a_file_changed_by_hand_is_hashed_again(path, hashed, keep_time):
    """Also where size and modification time are the old ones: the time of the change of the file
    itself is new."""
    Corpus(path).digests(["train", "dev"])
    hashed.clear()
    file = path / "train.landmarks.npy"
    times = file.stat()
    content = file.read_bytes()
    time.sleep(0.02)
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    if keep_time:
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    corpus = Corpus(path)
    fingerprint = corpus.fingerprint
    assert corpus.verify(["train", "dev"]) == ["train.landmarks.npy"]
    assert hashed == ["train.landmarks.npy"] and corpus.fingerprint != fingerprint


def test_a_changed_file_is_reported_at_every_later_start(path, hashed):
    """The remembered hash is that of the file, not that of corpus.json."""
    text = (path / "train.csv").read_text()
    (path / "train.csv").write_text(text.replace("ben", "eve"))
    for _ in range(2):
        corpus = Corpus(path)
        assert corpus.verify(["train"]) == ["train.csv"]
    assert hashed.count("train.csv") == 1


def test_a_file_that_has_just_changed_is_not_remembered(path, hashed, monkeypatch):
    """It could change again without another time."""
    monkeypatch.setattr(data.folder_memory, "_SETTLED_NS", 2_000_000_000)
    for _ in range(2):
        Corpus(path).digests(["train"])
    assert len(hashed) == 6 and not (path / NAME).exists()


def test_a_file_that_changes_while_it_is_read_is_not_remembered(path):
    memory, file = FolderMemory(path), path / "train.csv"

    def read() -> str:
        time.sleep(0.02)
        file.write_text("other")
        return "found"

    assert memory.about_file(file, "fact", read, lambda _: True) == "found"
    assert not FolderMemory(path).knows(file, "fact")


def test_a_copied_corpus_is_read_again(path, hashed, tmp_path):
    """The copy may be damaged."""
    Corpus(path).digests(["train"])
    hashed.clear()
    time.sleep(0.02)
    (tmp_path / "copy").mkdir()
    for file in path.iterdir():
        (tmp_path / "copy" / file.name).write_bytes(file.read_bytes())
        os.utime(tmp_path / "copy" / file.name, ns=(0, file.stat().st_mtime_ns))
    Corpus(tmp_path / "copy").digests(["train"])
    assert len(hashed) == 3


def test_without_permission_to_write_the_user_s_cache_folder_is_used(path, hashed, tmp_path):
    (path / NAME).mkdir()  # a file of this name cannot be written then
    for _ in range(2):
        Corpus(path).digests(["train"])
    assert len(hashed) == 3
    assert len(list((tmp_path / "cache").rglob("*.json"))) == 1
    assert sorted(file.name for file in path.iterdir() if file.name.startswith(NAME)) == [NAME]


def test_what_another_user_s_file_lacks_is_remembered_in_the_cache(path, hashed, monkeypatch):
    """A shared corpus that its owner has begun to remember, and that this user cannot change."""
    Corpus(path).digests(["train"])
    replace = os.replace

    def refuse(source, target):
        if Path(target).parent == path:
            raise PermissionError
        replace(source, target)

    monkeypatch.setattr(data.folder_memory.os, "replace", refuse)
    hashed.clear()
    for number in range(3):
        corpus = Corpus(path)
        corpus.digests(["train", "dev"])
        assert (
            corpus.memory.result(f"mean{number % 2}", lambda: hashed.append("x") or "1", str) == "1"
        )
    assert sorted(hashed) == ["dev.csv", "dev.detected.npy", "dev.landmarks.npy", "x", "x"]
    # A file that has changed since the owner's run: the newer facts count
    (path / "train.csv").write_bytes((path / "train.csv").read_bytes() + b"\n")
    hashed.clear()
    for _ in range(2):
        FolderMemory(path).about_file(
            path / "train.csv", "sha256", lambda: hashed.append("again") or "0" * 64, bool
        )
    assert hashed == ["again"]


def test_nothing_is_remembered_where_nothing_can_be_written(path, hashed, tmp_path):
    (path / NAME).mkdir()
    (tmp_path / "cache").write_text("a file in place of the folder")
    for _ in range(2):
        assert Corpus(path).digests(["dev"])["dev.csv"] == sha256_of(path / "dev.csv")
    assert len(hashed) == 6


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"files": [], "results": {}}', '{"files": {}}', "[" * 100_000, "\xff"],
)
def test_a_damaged_memory_counts_as_none(path, hashed, text):
    (path / NAME).write_bytes(text.encode("latin-1"))
    Corpus(path).digests(["train"])
    assert len(hashed) == 3


@pytest.mark.parametrize("value", ["short", 3, None, ["a"], "A" * 64])
def test_values_that_are_no_hash_are_not_believed(path, hashed, value):
    Corpus(path).digests(["train"])
    content = json.loads((path / NAME).read_text())
    content["files"]["train.csv"]["sha256"] = value
    content["files"]["train.detected.npy"] = value
    (path / NAME).write_text(json.dumps(content))
    hashed.clear()
    found = Corpus(path).digests(["train"])
    assert found["train.csv"] == sha256_of(path / "train.csv")
    assert hashed == ["train.csv", "train.detected.npy"] or hashed == [
        "train.csv",
        "train.landmarks.npy",
        "train.detected.npy",
    ]


def test_the_latest_results_are_remembered(path):
    memory, computed = FolderMemory(path), []

    def compute(number: int) -> str:
        computed.append(number)
        return f"result {number}"

    def ask(number: int) -> str:
        memory = FolderMemory(path)
        return memory.result(f"key {number}", lambda: compute(number), lambda text: text != "bad")

    assert [ask(number) for number in (0, 1, 0)] == ["result 0", "result 1", "result 0"]
    assert computed == [0, 1]
    for number in range(2, 10):
        ask(number)
    computed.clear()
    assert ask(2) == "result 2" and ask(0) == "result 0" and computed == [0]
    memory.result("key 9", lambda: "bad", lambda text: False)
    assert ask(9) == "result 9" and computed[-1] == 9


def test_a_folder_whose_name_is_not_utf_8_has_a_memory(path):
    folder = Path(os.fsdecode(os.fsencode(path) + b"\xff"))
    folder.mkdir()
    (folder / "train.csv").touch()
    FolderMemory(folder).about_file(folder / "train.csv", "rows", lambda: 3, bool)
    assert FolderMemory(folder).about_file(folder / "train.csv", "rows", lambda: 0, bool) == 3
