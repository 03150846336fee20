"""Every YAML file in configs/ can be used."""

from pathlib import Path

import pytest
import torch

from distillation.config import StudentConfig
from models.i3d_teacher import I3DTeacher, count_parameters
from models.student import Student
from settings import merge_overrides, read_overrides
from training.config import Config

ALL = sorted((Path(__file__).parent.parent / "configs").glob("*.yaml"))
STUDENTS = [path for path in ALL if path.stem.startswith("student")]
CONFIGS = [path for path in ALL if path not in STUDENTS]


def parameters(config: Config, glosses: int) -> int:
    with torch.device("meta"):  # sizes without memory
        return count_parameters(I3DTeacher(config.model, glosses + 1))


def read(name: str) -> Config:
    return Config().updated(read_overrides(CONFIGS[0].with_name(name), Config))


def test_the_configurations_are_there():
    assert {path.name for path in CONFIGS} >= {
        "demo.yaml",
        "overfit.yaml",
        "teacher.yaml",
        "finetune.yaml",
        "phoenix2014.yaml",
        "small.yaml",
        "isharah.yaml",
        "isharah_spliced.yaml",
    }


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_its_teacher_can_be_built(path):
    config = Config().updated(read_overrides(path, Config))
    size = parameters(config, 48)
    low, high = {"demo": (3e6, 6e6), "small": (0.8e6, 1.5e6)}.get(path.stem, (45e6, 55e6))
    assert low <= size <= high
    assert Config().updated(config.to_dict()) == config
    merged = merge_overrides(read_overrides(path, Config), {"training": {"epochs": 1}})
    assert Config().updated(merged).training.epochs == 1, "the command line wins"


@pytest.mark.parametrize(("student", "teacher"), [("student", "teacher"), ("student_demo", "demo")])
def test_a_student_is_at_most_a_tenth_of_its_teacher(student, teacher):
    folder = CONFIGS[0].parent
    config = StudentConfig().updated(read_overrides(folder / f"{student}.yaml", StudentConfig))
    with torch.device("meta"):
        size = count_parameters(Student(config.model, 501))
    assert size <= 0.1 * parameters(read(f"{teacher}.yaml"), 500)
    assert 4 * size < 20e6, "bytes"
    assert StudentConfig().updated(config.to_dict()) == config


def test_every_student_is_tested_above():
    assert [path.stem for path in STUDENTS] == ["student", "student_demo"]


def test_student_yaml_has_the_defaults_of_the_model_and_the_loss():
    config = StudentConfig().updated(read_overrides(STUDENTS[0], StudentConfig))
    assert (config.model, config.distillation) == (
        StudentConfig().model,
        StudentConfig().distillation,
    )


def test_teacher_yaml_has_the_default_settings():
    assert read("teacher.yaml") == Config()


def test_overfit_yaml_has_the_settings_for_memorising():
    config = read("overfit.yaml")
    assert (config.training.epochs, config.training.batch_size) == (2000, 5)
    assert (config.training.learning_rate, config.training.warmup_epochs) == (0.001, 50)
    assert config.training.weight_decay == 0
    assert config.model.dropout == 0.1


def test_finetune_yaml_changes_what_a_fine_tune_changes():
    assert read_overrides(CONFIGS[0].with_name("finetune.yaml"), Config) == {
        "training": {"epochs": 50, "learning_rate": 0.00005, "part_mask": 0.0},
        "augmentation": {"mix": 0.0, "splice": 0.0, "hand_drift": 0.0, "hand_turn": 0.0},
    }


def test_no_two_configurations_share_a_run_folder():
    folders = [
        Config().updated(read_overrides(path, Config)).training.output_dir
        for path in CONFIGS
        if path.stem != "finetune"
    ]
    folders += [
        StudentConfig().updated(read_overrides(path, StudentConfig)).training.output_dir
        for path in STUDENTS
    ]
    assert len(set(folders)) == len(folders)
