"""Every configuration that is shipped can be used."""

from pathlib import Path

import pytest
import torch

from models.i3d_teacher import I3DTeacher, count_parameters
from training.config import Config, merge_overrides, read_overrides

# sweep.yaml is a list of variations, read by benchmarks/ablation.py and checked in tests/test_ablation.py.
CONFIGS = sorted(p for p in (Path(__file__).parent.parent / "configs").glob("*.yaml") if p.stem != "sweep")


def parameters(config: Config, glosses: int) -> int:
    with torch.device("meta"):  # sizes without memory
        return count_parameters(I3DTeacher(config.model, glosses + 1))


def read(name: str) -> Config:
    return Config().updated(read_overrides(CONFIGS[0].with_name(name)))


def test_the_configurations_are_there():
    assert {path.name for path in CONFIGS} >= {
        "demo.yaml",
        "overfit.yaml",
        "teacher.yaml",
        "finetune.yaml",
        "phoenix2014.yaml",
    }


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_it_is_read_and_its_teacher_is_built(path):
    config = Config().updated(read_overrides(path))
    size = parameters(config, 48)
    assert 3e6 < size < 6e6 if path.stem == "demo" else 45e6 <= size <= 55e6
    assert Config().updated(config.to_dict()) == config
    merged = merge_overrides(read_overrides(path), {"training": {"epochs": 1}})
    assert Config().updated(merged).training.epochs == 1, "the command line wins"


@pytest.mark.parametrize("glosses", [5, 1300])
def test_the_default_teacher_has_about_50_million_parameters(glosses):
    assert 45e6 <= parameters(Config(), glosses) <= 55e6


def test_teacher_yaml_is_the_defaults_written_out():
    assert read("teacher.yaml") == Config()


def test_overfit_yaml_is_the_overfit_column():
    config = read("overfit.yaml")
    assert (config.training.epochs, config.training.learning_rate) == (2000, 0.001)
    assert config.training.warmup_epochs <= 50 and config.training.weight_decay == 0
    assert config.model.dropout == 0.1


def test_finetune_yaml_changes_what_a_fine_tune_changes():
    assert read_overrides(CONFIGS[0].with_name("finetune.yaml")) == {
        "training": {"epochs": 50, "learning_rate": 0.00005}
    }


def test_each_configuration_has_a_folder_of_its_own():
    folders = [
        Config().updated(read_overrides(path)).training.output_dir for path in CONFIGS if path.stem != "finetune"
    ]
    assert len(set(folders)) == len(folders)
