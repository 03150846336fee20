"""A bounded part of benchmarks/fuzz.py: no reader lets anything but the project's own errors out."""

import os

import pytest

from benchmarks.fuzz import MAKERS, Target, fuzz
from errors import DataError

COUNTS = {"checkpoint": 60}


@pytest.mark.parametrize("reader", list(MAKERS))
def test_broken_files_are_refused(reader, tmp_path):
    outcome = fuzz(reader, COUNTS.get(reader, 150), start=1, keep=tmp_path)
    assert outcome.found == {}
    assert outcome.tried == COUNTS.get(reader, 150) and outcome.refused > outcome.tried / 2


def harm(kind: str) -> None:
    """What a reader must not do."""
    if kind == "KeyError in":
        raise KeyError("nobody caught this")
    if kind == "MemoryError in":
        bytearray(3 << 30)
    if kind == "the process ended with -9":
        os.kill(os.getpid(), 9)
    if kind == "a message of":
        error = DataError("")
        error.args = ("two\nlines",)
        raise error


@pytest.mark.parametrize(
    "kind", ["KeyError in", "MemoryError in", "the process ended with -9", "a message of"]
)
def test_the_fuzzer_sees_what_must_not_come_out(kind, monkeypatch, tmp_path):
    def read(path):
        if path.read_bytes() != b"whole":
            harm(kind)

    monkeypatch.setitem(MAKERS, "bad", lambda folder: Target({"a": b"whole"}, read, ["x"]))
    outcome = fuzz("bad", 20, keep=tmp_path)
    assert len(outcome.found) == 1 and next(iter(outcome.found)).startswith(kind)
    assert len(list(tmp_path.iterdir())) == 1, "the input is kept"
