"""Settings that are declared once: checks of values, options of command lines, the page of them."""

import argparse
import dataclasses
import inspect
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest

from command_line import (
    Parser,
    add_config_options,
    add_options,
    parse_request,
    parse_training_command,
)
from data.commands import CheckCommand, ComposeCommand, ImportCommand, SynthesizeCommand
from data.simulation.corpora import synthesize
from data.sources.landmark_import import import_landmark_files
from data.sources.mp_data import import_mp_data
from distillation.config import StudentConfig
from docs import write_settings
from errors import UsageError
from settings import Settings, SettingsFile, declarations, options_of, sections_of, setting
from training.config import Config, TrainingCommand


@dataclass(frozen=True)
class Kitchen(Settings):
    prefix: ClassVar[str] = "kitchen."

    ovens: int = setting(2, "ovens", low=1, high=4, group="kitchen")
    heat: float = setting(0.5, "heat", above=0, below=1, group="kitchen", option="how_hot")
    fuel: str = setting("gas", "fuel", choices=("gas", "wood"), group="kitchen")
    open: bool = setting(True, "open", group="kitchen")
    name: str | None = setting(None, "name", group="kitchen", shapes_training=False)
    secret: int = setting(7, "only in the YAML file")

    def conflicts(self) -> list[str]:
        return ["kitchen: wood needs one oven"] if self.fuel == "wood" and self.ovens > 1 else []


@dataclass(frozen=True)
class House(SettingsFile):
    kitchen: Kitchen = field(default_factory=Kitchen)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ovens": 0}, "kitchen.ovens 0: expected 1 to 4"),
        ({"ovens": 5}, "kitchen.ovens 5: expected 1 to 4"),
        ({"heat": 0.0}, "kitchen.heat 0.0: expected a number above 0 and below 1"),
        ({"heat": float("nan")}, "kitchen.heat nan: expected a number above 0 and below 1"),
        ({"fuel": "coal"}, "kitchen.fuel 'coal': expected one of gas, wood"),
        ({"ovens": 0, "fuel": "x"}, "ovens 0: expected 1 to 4; kitchen.fuel 'x': expected one"),
        ({"fuel": "wood"}, "kitchen: wood needs one oven"),
    ],
)
def test_a_value_that_is_not_allowed_is_named_with_what_was_expected(values, message):
    with pytest.raises(UsageError) as error:
        Kitchen(**values)
    assert message in str(error.value)


def test_the_limits_themselves_are_allowed_where_they_should_be():
    assert (Kitchen(ovens=1).ovens, Kitchen(ovens=4).ovens) == (1, 4)
    assert Kitchen(name=None).name is None


def test_options_follow_from_the_declarations():
    parser = Parser(prog="house.py")
    add_config_options(parser, House(Kitchen(ovens=3)))
    text = parser.format_help()
    assert "--how_hot" in text and "--heat" not in text and "--secret" not in text
    assert "ovens (default: 3)" in text and "(default: gas)" in text and "(default: on)" in text
    assert "--open, --no-open" in text


def test_only_given_options_override_a_yaml_file_or_a_checkpoint():
    @dataclass(frozen=True)
    class Command(Settings):
        dry_run: bool = setting(False, "dry")

    parser = Parser(prog="house.py")
    add_options(parser, Command)
    add_config_options(parser, House())
    words = ["--how_hot", "0.25", "--no-open", "--dry_run"]
    command, given = parse_training_command(parser, words, Command, House)
    assert command == Command(dry_run=True)
    assert given == {"kitchen": {"heat": 0.25, "open": False}}


def test_a_request_has_required_positional_optional_and_repeated_options():
    parser = Parser(prog="check")
    add_options(parser, CheckCommand)
    request = parse_request(parser, ["corpus", "--html", "page.html"], CheckCommand)
    assert request == CheckCommand(Path("corpus"), Path("page.html"))

    parser = Parser(prog="compose")
    add_options(parser, ComposeCommand)
    words = ["--input", "in", "--output", "out", "--heldout_signers", "anna", "ben"]
    request = parse_request(parser, words, ComposeCommand)
    assert request.heldout_signers == ("anna", "ben") and request.sentences == 400
    with pytest.raises(UsageError, match="--min_glosses 8 is above --max_glosses 7"):
        parse_request(parser, [*words, "--min_glosses", "8"], ComposeCommand)
    with pytest.raises(SystemExit):
        parse_request(parser, ["--input", "in"], ComposeCommand)


def test_a_ratio_may_be_written_as_a_fraction(capsys):
    parser = Parser(prog="import")
    add_options(parser, ImportCommand)
    words = ["--format", "npy", "--input", "in", "--output", "out", "--annotations", "a"]
    request = parse_request(parser, [*words, "--aspect_ratio", "4/3"], ImportCommand)
    assert request.aspect_ratio == pytest.approx(4 / 3)
    with pytest.raises(SystemExit):
        parse_request(parser, [*words, "--aspect_ratio", "4/0"], ImportCommand)
    assert "expected a number or a fraction such as 4/3, found '4/0'" in capsys.readouterr().err
    with pytest.raises(UsageError, match=r"--aspect_ratio 9\.0: expected 0\.2 to 5"):
        parse_request(parser, [*words, "--aspect_ratio", "9"], ImportCommand)


def test_options_without_effect_are_refused():
    with pytest.raises(UsageError, match="--fraction needs --transcripts FILE"):
        SynthesizeCommand(Path("out"), fraction=0.1)
    with pytest.raises(UsageError, match="--sentences has no effect with --transcripts"):
        SynthesizeCommand(Path("out"), sentences=3, transcripts=Path("t"))


def test_the_help_of_synthesize_shows_the_defaults_that_are_used():
    declared = declarations(SynthesizeCommand)
    used = inspect.signature(synthesize).parameters
    for name in ("sentences", "dev_sentences", "test_sentences", "unseen_dev_signers"):
        assert declared[name].default_text == str(used[name].default), name


@pytest.mark.parametrize("config", [Config, StudentConfig])
def test_every_setting_is_declared_with_help_and_a_default_that_is_allowed(config):
    config()
    options = [option for option, *_ in options_of(config)]
    assert len(options) == len(set(options)), "two settings share an option"
    for section, kind in sections_of(config).items():
        declared = declarations(kind)
        assert set(declared) == {each.name for each in dataclasses.fields(kind)}, section
        assert all(len(one.help.split()) > 0 for one in declared.values())


def test_no_option_of_a_training_command_is_a_setting_of_the_run():
    own = set(declarations(TrainingCommand))
    for config in (Config, StudentConfig):
        assert not own & {option for option, *_ in options_of(config)}


def test_the_page_of_settings_is_that_of_the_declarations():
    assert write_settings.PAGE.read_text(encoding="utf-8") == write_settings.page(), (
        "run: python docs/write_settings.py"
    )


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--output", ""], "--output is empty"),
        (["--output="], "--output is empty"),
        (["--inputs", "a", "", "b"], "--inputs is empty"),
        (["a", ""], "argument 2 is empty"),
        ([""], "argument 1 is empty"),
    ],
)
def test_an_empty_argument_is_refused_as_a_path_it_would_be_the_current_folder(
    words, named, capsys
):
    parser = Parser(prog="house.py")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--inputs", nargs="+", type=Path)
    parser.add_argument("rooms", nargs="*", type=Path)
    with pytest.raises(SystemExit) as stop:
        parser.parse_args(words)
    assert stop.value.code == 2
    assert f"error: {named}: expected a value" in capsys.readouterr().err


def test_arguments_that_are_not_empty_are_taken():
    parser = Parser(prog="house.py")
    parser.add_argument("--output", type=Path)
    parser.add_argument("rooms", nargs="*")
    options = parser.parse_args(["--output=a=b", "x", "y"])
    assert (options.output, options.rooms) == (Path("a=b"), ["x", "y"])


def test_an_unknown_option_names_the_nearest(capsys):
    parser = Parser(prog="house.py")
    add_config_options(parser, House())
    with pytest.raises(SystemExit):
        parser.parse_args(["--oven", "3"], argparse.Namespace())
    assert "unknown option --oven 3: did you mean --ovens?" in capsys.readouterr().err


def test_the_help_of_import_shows_what_the_importers_assume():
    shown = {name: one.default_text for name, one in declarations(ImportCommand).items()}
    assumed = inspect.signature(import_mp_data).parameters
    for name in ("repetitions_per_session", "recorders"):
        assert shown[name] == str(assumed[name].default)
    assert shown["fps"].startswith(f"{assumed['fps'].default:g}; ")
    for format, default in (
        ("mp_data", assumed["aspect_ratio"].default),
        ("npy", inspect.signature(import_landmark_files).parameters["aspect_ratio"].default),
    ):
        width, height = re.search(
            rf"([0-9]+)/([0-9]+) for {format}", shown["aspect_ratio"]
        ).groups()
        assert int(width) / int(height) == default


def test_a_misspelled_option_that_is_required_names_the_nearest(capsys):
    parser = Parser(prog="house.py")
    parser.add_argument("--rooms", required=True)
    parser.add_argument("place")
    with pytest.raises(SystemExit):
        parser.parse_args(["here", "--romos=3"])
    assert "unknown option --romos=3: did you mean --rooms?" in capsys.readouterr().err
    for missing, words in (("--rooms", ["here"]), ("place", ["--rooms", "3"])):
        with pytest.raises(SystemExit):
            parser.parse_args(words)
        assert f"required: {missing} (see house.py --help)" in capsys.readouterr().err
