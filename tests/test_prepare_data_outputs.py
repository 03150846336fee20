"""No command of prepare_data.py writes over what it reads, or advises to remove it."""

import pytest

import prepare_data
from errors import UsageError

COMMANDS = [
    "extract --input {} --annotations elsewhere",
    "extract --input elsewhere --annotations {}",
    "merge --input elsewhere {}",
    "import --format mp_data --input {}",
    "import --format boston104 --input {}",
    "import --format isharah --input elsewhere --annotations {}",
    "import --format npy --input {} --annotations elsewhere",
    "import --format pose --input elsewhere --annotations {}",
    "compose --input {}",
    "resample {} --fps 30",
    "split {} --by random",
    "align {} --checkpoint elsewhere",
    "align elsewhere --checkpoint {}",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_output_is_no_input(command, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "clip.mp4").write_bytes(b"x")
    words = [word.format(mine) for word in command.split()]
    with pytest.raises(UsageError, match="mine is an input of this command: choose a new folder"):
        prepare_data.main([*words, "--output", str(mine)])
    with pytest.raises(UsageError, match=r"contains the input .*mine of this command"):
        prepare_data.main([*words, "--output", str(tmp_path)])
    assert [path.name for path in mine.iterdir()] == ["clip.mp4"]
