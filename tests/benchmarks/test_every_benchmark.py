"""Every benchmark has the option --json and ends with `finish`."""

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(
    str(path.relative_to(ROOT / "benchmarks"))
    for folder in ("*.py", "*/*.py")
    for path in (ROOT / "benchmarks").glob(folder)
    if "__main__" in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_benchmark_has_json_and_ends_with_finish(name, capsys):
    with pytest.raises(SystemExit) as ended:
        module = name.removesuffix(".py").replace("/", ".")
        importlib.import_module(f"benchmarks.{module}").main(["--help"])
    assert ended.value.code == 0
    assert "--json FILE" in capsys.readouterr().out
    assert "    finish(" in (ROOT / "benchmarks" / name).read_text(encoding="utf-8")
