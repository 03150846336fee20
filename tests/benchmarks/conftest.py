"""What the tests of the benchmarks share."""

import json
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def read_figures():
    """read_figures(path, script): the figures in a benchmark's file of --json."""

    def read(path: Path, script: str) -> dict[str, float]:
        content = json.loads(path.read_text(encoding="utf-8"))
        assert set(content) == {"script", "machine", "date", "figures"}
        assert content["script"] == script
        return content["figures"]

    return read
