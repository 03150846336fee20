"""A student's settings, its run, and soft targets of a small teacher, for the tests."""

from pathlib import Path

import pytest

from distillation.config import SoftTargetExportRequest, StudentConfig
from distillation.export import export_soft_targets
from distillation.run import prepare_student
from models.checkpoint import load_checkpoint, save_checkpoint
from training.resume import plan_start

MODEL = {
    "pose_width": 8,
    "face_width": 8,
    "hand_width": 16,
    "widths": [16, 24, 24],
    "conformer_width": 16,
    "lstm_hidden": 16,
    "dropout": 0.1,
}


@pytest.fixture
def settings(make_settings, finished_run, tmp_path):
    """settings(model={}, distillation={}, **training): a student of the finished run's teacher."""

    def make(model=(), distillation=None, **training) -> dict[str, dict]:
        teacher = {"teacher": str(finished_run / "best_model.pth")}
        run = make_settings(tmp_path / "student", epochs=2)["training"]
        del run["data_dir"]  # the teacher's corpus is the default
        run.update(training)
        return {
            "training": run,
            "model": {**MODEL, **dict(model)},
            "distillation": distillation or teacher,
        }

    return make


@pytest.fixture(scope="session")
def export(finished_run):
    """export(output_dir, **options): the content of soft_targets.json."""

    def run(output: Path, **options) -> dict:
        defaults = {
            "checkpoint": finished_run / "best_model.pth",
            "data_dir": None,
            "splits": ("train", "dev"),
            "temperature": 3.0,
            "views": 0,
            "seed": 5 if options.get("views") else 0,
            "output_dir": output,
            "device": "cpu",
        }
        return export_soft_targets(SoftTargetExportRequest(**{**defaults, **options}))

    return run


@pytest.fixture(scope="session")
def exported(export, tmp_path_factory) -> Path:
    """Soft targets of both splits without augmentation. Tests must not change them."""
    path = tmp_path_factory.mktemp("soft") / "exported"
    export(path)
    return path


@pytest.fixture(scope="session")
def stored(export, tmp_path_factory):
    """stored(views): soft targets of train at temperature 2. Tests must not change them."""
    folders: dict[int, Path] = {}

    def make(views: int) -> Path:
        if views not in folders:
            folders[views] = tmp_path_factory.mktemp("stored") / f"views{views}"
            seed = 7 if views else 0
            export(folders[views], splits=("train",), temperature=2.0, views=views, seed=seed)
        return folders[views]

    return make


@pytest.fixture
def other_in_place(run_copy, make_corpus, tmp_path) -> tuple[Path, Path]:
    """A teacher's checkpoint, and the folder of its corpus, in which another corpus is now."""
    path = make_corpus(tmp_path / "same", {"train": ["HOUSE RAIN", "SUN"], "dev": ["SUN RAIN"]})
    checkpoint = load_checkpoint(run_copy / "best_model.pth")
    checkpoint["corpus"]["path"] = str(path)
    checkpoint.pop("format_version")
    save_checkpoint(run_copy / "best_model.pth", checkpoint)
    return run_copy / "best_model.pth", path


@pytest.fixture
def prepare():
    """prepare(settings, resume=None): the student's run."""

    def make(settings: dict[str, dict], resume=None):
        plan = plan_start(resume and str(resume), settings, StudentConfig())
        return prepare_student(plan)

    return make
