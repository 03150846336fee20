"""Every benchmark has the option --json and ends with `finish`."""

import ast
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
    tree = ast.parse((ROOT / "benchmarks" / name).read_text(encoding="utf-8"))
    blocks = [getattr(node, part, None) for node in ast.walk(tree) for part in ("body", "orelse")]
    assert any(ends_with_finish(block) for block in blocks if isinstance(block, list))


def ends_with_finish(block: list[ast.stmt]) -> bool:
    """Whether a call of `finish` is the last statement of a block, but for a `return`; or a call of
    `finish_table` or `run_folds`, which end with it."""
    rest = [statement for statement in block if not isinstance(statement, ast.Return)]
    return bool(rest) and ast.unparse(rest[-1]).startswith(
        ("finish(", "finish_table(", "run_folds(")
    )
