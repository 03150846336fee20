"""A short run of the fuzzing harness: readers raise only the project's own errors."""

import os

import pytest

from errors import DataError
from tests.fuzzing.harness import fuzz
from tests.fuzzing.targets import MAKERS, Target

COUNTS = {"checkpoint": 60}


@pytest.mark.parametrize("reader", list(MAKERS))
def test_broken_files_are_refused(reader, tmp_path):
    count = COUNTS.get(reader, 150)
    outcome = fuzz(reader, count, start=1, keep=tmp_path)
    assert outcome.harm == {}
    assert outcome.tried == count and outcome.refused > outcome.tried / 2


def do_harm(kind: str) -> None:
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
def test_the_harness_finds_harm_and_keeps_its_input(kind, monkeypatch, tmp_path):
    def read(path):
        if path.read_bytes() != b"good":
            do_harm(kind)

    monkeypatch.setitem(MAKERS, "bad", lambda folder: Target({"a": b"good"}, read, ["x"]))
    outcome = fuzz("bad", 20, keep=tmp_path)
    assert len(outcome.harm) == 1 and next(iter(outcome.harm)).startswith(kind)
    assert len(list(tmp_path.iterdir())) == 1
