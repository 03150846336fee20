"""Errors of prepare_data.py's command line: wrong options, values out of range, missing data."""

import pytest

import prepare_data


@pytest.fixture
def error_of(run_main):
    """error_of(exit code, words of the command line, *paths) -> the message of the command."""

    def run(code: int, line: str, *paths: object) -> str:
        ended = run_main(prepare_data.main, *line.split(), *paths)
        assert ended.returncode == code
        return ended.stderr

    return run


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("synthesize --output x --fraction 0.1", "--fraction needs --transcripts FILE"),
        ("check x --overwrite", "--overwrite has no effect without --html FILE"),
        ("synthesize --output x --frames f.csv", "--frames needs --transcripts FILE"),
        (
            "synthesize --output x --transcripts t --sentences 3",
            "--sentences has no effect with --transcripts",
        ),
        ("import --format npy --input x --output y", "--format npy needs --annotations"),
        ("import --format pose --input x --output y", "--format pose needs --annotations"),
        (
            "import --format pose --input x --output y --annotations z --aspect_ratio 4/3",
            "--aspect_ratio has no effect with --format pose",
        ),
        (
            "import --format npy --input x --output y --annotations z --recorders 2",
            "--recorders has no effect with --format npy",
        ),
        (
            "import --format mp_data --input x --output y --annotations z",
            "--annotations has no effect with --format mp_data",
        ),
        (
            "import --format mp_data --input x --output y --normalize phoenix2014",
            "--normalize has no effect with --format mp_data",
        ),
        (
            "compose --input x --output y --min_glosses 5 --max_glosses 4",
            "--min_glosses 5 is above --max_glosses 4",
        ),
    ],
)
def test_options_that_do_not_go_together(error_of, arguments, message):
    assert message in error_of(2, arguments)


def test_data_that_does_not_exist(error_of, tmp_path):
    nowhere, output = tmp_path / "nowhere", ("--output", tmp_path / "out")
    message = error_of(3, "import --format mp_data --input", nowhere, *output)
    assert "nowhere does not exist" in message
    message = error_of(3, "compose --input", nowhere, *output)
    assert "nowhere does not exist: expected a corpus folder" in message
    transcripts = nowhere / "train.corpus.csv"
    message = error_of(3, "synthesize --transcripts", transcripts, *output)
    assert f"--transcripts {transcripts} is missing" in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--fps 0", "--fps 0.0: expected 1 to 1000"),
        ("--fps nan", "--fps nan: expected 1 to 1000"),
        ("--aspect_ratio 6/1", "--aspect_ratio 6.0: expected 0.2 to 5"),
        ("--aspect_ratio 4/0", "expected a number or a fraction such as 4/3, found '4/0'"),
        ("--recorders 0", "--recorders 0: expected 1 or more"),
        ("--recorders -1", "--recorders -1: expected 1 or more"),
        ("--recorders 1.5", "argument --recorders: invalid int value: '1.5'"),
        ("--speed 2", "unknown option --speed 2"),
        ("--recorder 2", "unknown option --recorder 2: did you mean --recorders?"),
        ("--format bvh", "invalid choice: 'bvh'"),
    ],
)
def test_values_out_of_range(error_of, options, message):
    assert message in error_of(2, f"import --format mp_data --input x --output y {options}")


@pytest.mark.parametrize(
    ("fraction", "message"),
    [
        ("0", "--fraction 0.0: expected a number above 0 and at most 1"),
        ("1.5", "--fraction 1.5: expected a number above 0 and at most 1"),
        ("nan", "--fraction nan: expected a number above 0 and at most 1"),
        ("half", "argument --fraction: invalid float value: 'half'"),
    ],
)
def test_fractions_out_of_range(error_of, fraction, message):
    line = f"synthesize --output x --transcripts y --fraction {fraction}"
    assert message in error_of(2, line)


def test_a_command_is_needed(error_of):
    commands = "synthesize, extract, merge, import, compose, resample, align, split, check"
    assert f"give a command: {commands}" in error_of(2, "")
