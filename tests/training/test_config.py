import os
from pathlib import Path

import pytest

from distillation.config import StudentConfig
from errors import UsageError
from models.config import ModelConfig
from settings import merge_overrides, read_overrides
from training.config import Config, TrainingConfig


def test_the_defaults_are_those_of_a_full_training():
    options = Config().training
    assert (options.batch_size, options.epochs, options.learning_rate, options.warmup_epochs) == (
        8,
        150,
        3e-4,
        5,
    )
    assert (options.weight_decay, options.accumulation_steps, options.max_grad_norm) == (
        1e-4,
        2,
        1.0,
    )
    assert (options.patience, options.optimizer, options.output_dir) == (
        15,
        "adamw",
        "checkpoints/teacher",
    )
    assert Config().model.dropout == 0.3 and Config().augmentation.enabled


def test_later_layers_win_key_by_key():
    yaml = {"training": {"epochs": 20, "patience": 3}, "model": {"dropout": 0.1}}
    command_line = {"training": {"epochs": 7}}
    config = Config().updated(merge_overrides(yaml, command_line))
    assert (config.training.epochs, config.training.patience, config.model.dropout) == (7, 3, 0.1)
    assert config.training.batch_size == TrainingConfig.batch_size
    assert yaml["training"]["epochs"] == 20, "the layers themselves do not change"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"trainig": {}}, "unknown config section 'trainig': did you mean 'training'?"),
        ({"training": {"epoch": 3}}, "unknown config key 'training.epoch': did you mean 'epochs'?"),
        (
            {"model": {"lstm_hiden": 3}},
            "unknown config key 'model.lstm_hiden': did you mean 'lstm_hidden'?",
        ),
        (
            {"augmentation": {"rotate": 3}},
            "unknown config key 'augmentation.rotate': did you mean 'rotation'?",
        ),
        (
            {"epochs": 3},
            "unknown config section 'epochs': it is a key of the section 'training'",
        ),
        (
            {"model": {"learning_rate": 0.1}},
            "unknown config key 'model.learning_rate': it is a key of the section 'training'",
        ),
        (
            {"training": {"mix": 0.1}},
            "unknown config key 'training.mix': it is a key of the section 'augmentation'",
        ),
        ({"training": 5}, "config section 'training': expected 'key: value' lines, found 5"),
        ({"training": {"epochs": 2.5}}, "config key 'training.epochs': expected int, found 2.5"),
        ({"training": {"epochs": True}}, "config key 'training.epochs': expected int, found True"),
        ({"training": {"epochs": None}}, "config key 'training.epochs': expected int, found None"),
        (
            {"training": {"deterministic": 1}},
            "config key 'training.deterministic': expected bool, found 1",
        ),
        (
            {"training": {"learning_rate": "fast"}},
            "config key 'training.learning_rate': expected float, found 'fast'",
        ),
        (
            {"training": {"learning_rate": False}},
            "config key 'training.learning_rate': expected float, found False",
        ),
        ({"training": {"data_dir": 3}}, "config key 'training.data_dir': expected str, found 3"),
        (
            {"augmentation": {"speed": [1]}},
            "config key 'augmentation.speed': expected a list of 2 numbers, found [1]",
        ),
        (
            {"augmentation": {"speed": 1.5}},
            "config key 'augmentation.speed': expected a list of 2 numbers, found 1.5",
        ),
        (
            {"model": {"inception_widths": [64, 1.5]}},
            "config key 'model.inception_widths': expected int, found 1.5",
        ),
    ],
)
def test_a_wrong_key_or_type_is_named(overrides, message):
    with pytest.raises(UsageError) as error:
        Config().updated(overrides)
    assert str(error.value) == message


def test_numbers_that_yaml_parses_as_text(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(
        "training:\n  learning_rate: 3e-4\n  weight_decay: 0\naugmentation:\n  speed: [1, 1.5]\n"
    )
    config = Config().updated(read_overrides(path, Config))
    assert config.training.learning_rate == 3e-4 and type(config.training.weight_decay) is float
    assert config.augmentation.speed == (1.0, 1.5)


def test_none_means_the_built_in_corpus():
    assert Config().updated({"training": {"data_dir": None}}).training.data_dir is None
    assert Config().updated({"training": {"data_dir": "x"}}).training.data_dir == "x"


def test_all_bad_values_are_reported_at_once():
    with pytest.raises(UsageError) as error:
        TrainingConfig(
            epochs=0,
            batch_size=-1,
            learning_rate=0.0,
            weight_decay=-1.0,
            optimizer="sgd",
            precision="fp8",
            max_grad_norm=float("nan"),
        )
    message = str(error.value)
    for name in (
        "epochs 0",
        "batch_size -1",
        "learning_rate 0.0",
        "weight_decay -1",
        "max_grad_norm nan",
    ):
        assert f"{name}" in message
    assert (
        "optimizer 'sgd': expected one of adamw, adam" in message and "precision 'fp8'" in message
    )
    assert "\n" not in message


@pytest.mark.parametrize("name", ["epochs", "batch_size", "accumulation_steps", "patience"])
def test_counts_are_at_least_one(name):
    with pytest.raises(UsageError, match=f"{name} 0: expected 1 or more"):
        TrainingConfig(**{name: 0})


@pytest.mark.parametrize("value", [0.0, -1.0, float("inf"), float("nan")])
def test_a_learning_rate_is_a_finite_number_above_zero(value):
    with pytest.raises(UsageError, match="learning_rate"):
        TrainingConfig(learning_rate=value, min_learning_rate=0.0)


def test_the_minimum_learning_rate_is_not_above_the_peak():
    with pytest.raises(UsageError, match=r"min_learning_rate 0\.01 is above learning_rate 0\.001"):
        TrainingConfig(learning_rate=0.001, min_learning_rate=0.01)


def test_to_dict_has_plain_values_that_make_the_same_config_again():
    config = Config().updated({"training": {"epochs": 3}, "augmentation": {"speed": [0.5, 2]}})
    values = config.to_dict()
    assert values["augmentation"]["speed"] == [0.5, 2.0] and values["model"][
        "inception_widths"
    ] == [768, 1024]
    assert Config().updated(values) == config
    assert Config(model=ModelConfig()) == Config()


def test_an_empty_file_changes_nothing(tmp_path):
    path = tmp_path / "empty.yaml"
    path.write_text("# nothing\n")
    assert read_overrides(path, Config) == {}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"- a\n- b\n", "expected sections training, model, augmentation; found ['a', 'b']"),
        (b"training: [1", "is not readable YAML"),
        (b"training: {a: \xff}", "is not readable YAML"),
        (b"training: !!python/object/apply:os.getcwd []", "is not readable YAML"),
        (b"x: 1\n\tb: 2", "is not readable YAML"),
    ],
)
def test_a_file_that_is_not_a_config_is_refused_in_one_line(tmp_path, content, expected):
    path = tmp_path / "broken.yaml"
    path.write_bytes(content)
    with pytest.raises(UsageError) as error:
        read_overrides(path, Config)
    assert (
        expected in str(error.value)
        and str(path) in str(error.value)
        and "\n" not in str(error.value)
    )


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"--config .*absent\.yaml: No such file"):
        read_overrides(tmp_path / "absent.yaml", Config)
    with pytest.raises(UsageError, match="--config"):
        read_overrides(Path(tmp_path), Config)


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
def test_an_untrusted_file_is_refused_in_one_line(text, message, tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=rf"--config .*settings\.yaml.*{message}") as refused:
        Config().updated(read_overrides(path, Config))
    assert len(str(refused.value)) < 1600 and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("section", "name", "what"),
    [
        ("training", "data_dir", "a folder"),
        ("training", "output_dir", "a folder"),
        ("distillation", "teacher", "a checkpoint"),
        ("distillation", "soft_targets", "a folder"),
    ],
)
def test_a_path_is_neither_empty_nor_a_puzzle(section, name, what):
    with pytest.raises(UsageError, match=rf"{name} is empty: expected the path of {what}"):
        StudentConfig().updated({section: {name: " "}})
    with pytest.raises(UsageError, match=rf"{name} ~/x: only a shell knows .*the whole path"):
        StudentConfig().updated({section: {name: "~/x"}})
    for path in ("a\0b", "bad\udcff"):
        with pytest.raises(UsageError, match=rf"{name} '.*': not the path of {what} in UTF-8"):
            StudentConfig().updated({section: {name: path}})
    StudentConfig().updated({section: {name: "Übung/ملف 1"}})


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("training: {epochs: 3}\nmodel: {}\ntraining: {batch_size: 4}\n", "line 3 has 'training'"),
        ("training:\n  epochs: 3\n  epochs: 4\n", "line 3 has 'epochs'"),
    ],
)
def test_what_is_twice_in_a_yaml_file_is_refused(tmp_path, text, what):
    (tmp_path / "twice.yaml").write_text(text)
    with pytest.raises(UsageError, match=rf"twice\.yaml .*{what} for the second time"):
        read_overrides(tmp_path / "twice.yaml", Config)


@pytest.mark.parametrize(
    ("written", "taken"), [("1:30", "90"), ("010", "8"), ("-0_17", "-15"), ("1:30.5", "90.5")]
)
def test_a_number_of_another_base_is_refused(tmp_path, written, taken):
    path = tmp_path / "bases.yaml"
    path.write_text(f"training:\n  epochs: {written}\n")
    with pytest.raises(UsageError, match=f"line 2 has {written}, which YAML takes for {taken}: "):
        read_overrides(path, Config)


def test_texts_and_decimal_numbers_of_a_yaml_file_are_read(tmp_path):
    path = tmp_path / "numbers.yaml"
    path.write_text(
        "training: {output_dir: '010', data_dir: 0:30, epochs: 10, learning_rate: 0.010, seed: 0}\n"
    )
    assert read_overrides(path, Config)["training"] == {
        "output_dir": "010",
        "data_dir": "0:30",  # no number for YAML
        "epochs": 10,
        "learning_rate": 0.01,
        "seed": 0,
    }


def test_a_path_below_a_folder_whose_name_is_not_utf_8_is_refused(tmp_path, monkeypatch):
    strange = os.fsencode(tmp_path) + b"/x\xff"
    os.mkdir(strange)
    monkeypatch.chdir(os.fsdecode(strange))
    with pytest.raises(UsageError, match=r"output_dir '.*': not the path of a folder in UTF-8"):
        Config().updated({"training": {"output_dir": "run"}})
    monkeypatch.chdir(tmp_path)


def test_a_batch_size_of_a_file_gives_way_to_a_frame_budget():
    """Only an option that was given beside it is refused, whichever file has the budget."""
    given = {"training": {"batch_size": 4}}
    budget = Config().updated({"training": {"frames_per_batch": 900, "batch_size": 4}})
    assert not budget.without_effect({"training": {"frames_per_batch": 900}})
    assert not Config().without_effect(given)
    (message,) = budget.without_effect(given)
    assert message.startswith("--batch_size has no effect with --frames_per_batch 900")
