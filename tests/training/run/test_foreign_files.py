"""Files of the user, or of another program, in the output folder of a run."""

import shutil

import pytest

from errors import UsageError
from training.divergence import DUMP


def test_a_git_repository_is_refused(tiny_settings, execute_run, tmp_path):
    (tmp_path / "run" / ".git").mkdir(parents=True)
    (tmp_path / "run" / ".git" / "HEAD").write_text("ref")
    with pytest.raises(UsageError, match=r"files that are not of a run: \.git; expected"):
        execute_run(tiny_settings)
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".git"]


@pytest.mark.parametrize("name", ["best_model.pth", "last.pth", "previous.pth", DUMP])
def test_a_checkpoint_of_another_program_is_neither_moved_nor_replaced(
    make_settings, execute_run, tmp_path, name
):
    run = tmp_path / "run"
    (run / "src").mkdir(parents=True)
    (run / name).write_bytes(b"of another program")
    with pytest.raises(UsageError, match=rf"{name} already exists and is not of an earlier run"):
        execute_run(make_settings(run, epochs=1))
    assert not (tmp_path / "run.earlier-1").exists()
    assert (run / name).read_bytes() == b"of another program" and (run / "src").is_dir()


@pytest.mark.parametrize("name", ["config.yaml", "report.html", "metrics.jsonl", "last.pth"])
def test_a_renamed_checkpoint_goes_on_only_where_it_replaces_nothing(
    execute_run, run_copy, tmp_path, name
):
    project = tmp_path / "project"
    project.mkdir()
    shutil.copy(run_copy / "best_model.pth", project / "teacher.pth")
    (project / name).write_text("my own")
    with pytest.raises(UsageError, match=rf"project/{name} already exists and is not"):
        execute_run({}, project / "teacher.pth")
    assert {path.name for path in project.iterdir()} == {"teacher.pth", name}
    assert (project / name).read_text() == "my own"


def test_a_run_goes_on_where_its_checkpoints_were_copied_without_their_hashes(
    execute_run, run_copy, tmp_path
):
    (tmp_path / "copied").mkdir()
    for name in ("last.pth", "best_model.pth", "previous.pth"):
        shutil.copy(run_copy / name, tmp_path / "copied" / name)
    _, result = execute_run(
        {"training": {"output_dir": str(tmp_path / "copied"), "patience": 9}}, "auto"
    )
    assert result["epochs_run"] == 3


def test_a_folder_that_is_only_called_an_evaluation_is_refused(
    tiny_settings, execute_run, tmp_path
):
    (tmp_path / "run" / "evaluation").mkdir(parents=True)
    (tmp_path / "run" / "evaluation" / "clip.mp4").write_text("mine")
    with pytest.raises(UsageError, match="files that are not of a run: evaluation; expected"):
        execute_run(tiny_settings)
    assert (tmp_path / "run" / "evaluation" / "clip.mp4").read_text() == "mine"


def test_a_run_goes_on_beside_a_run_in_its_folder(execute_run, run_copy):
    """It is not moved, so the inner run is not either."""
    shutil.copytree(run_copy, run_copy / "inner")
    _, result = execute_run({"training": {"output_dir": str(run_copy)}}, "auto")
    assert result["epochs_run"] == 3 and (run_copy / "inner" / "last.pth").exists()
