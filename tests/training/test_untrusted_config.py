"""YAML files from elsewhere: settings or one line, whatever is in them."""

import pytest

from errors import UsageError
from training.config import Config, read_overrides

BOMB = "a: &a [1, 1]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]\n" for n in range(24)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, r"line 2 refers to another place"),
        ("training: &x\n  epochs: 3\nmodel:\n  <<: *x\n", "line 4 refers to another place"),
        (
            "training: {epochs: !!python/object/apply:os.system [id]}",
            "could not determine a constructor",
        ),
        (
            "training: {seed: " + "9" * 5000 + "}",
            "not readable YAML: line 1 has a value of 5000 characters",
        ),
        ("0x" + "f" * 5000, "line 1 has a value of 5002 characters"),
        ("training: 0x" + "f" * 900, "expected 'key: value' lines"),
        (
            "training: {epochs: 0x" + "f" * 400 + "}",
            "epochs': expected a number of at most 1e\\+15",
        ),
        ("training: {dropout_date: 2001-99-99}", "not readable YAML: month must be in"),
        ("training: {epochs: 2001-09-09}", "epochs': expected int, found datetime.date"),
        ("[" * 5000, "not readable YAML"),
        ("# " + "x" * 200_000, "has 200002 bytes: expected some lines of settings"),
        (
            "training: {device: " + "x" * 900 + ", epochs: [" + "1, " * 3000 + "]}",
            "epochs': expected int",
        ),
    ],
)
def test_refused_in_one_line(text, message, tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=rf"--config .*settings\.yaml.*{message}") as refused:
        Config().updated(read_overrides(path))
    assert len(str(refused.value)) < 1600 and "\n" not in str(refused.value)
