"""The folder of a run: made, locked, and an earlier run moved aside."""

import errno
import fcntl
import os
import re
import shutil
import signal
import time
from pathlib import Path

import pytest

import train_teacher
from data.output_place import partial_beside
from errors import DataError, UsageError
from models.checkpoint import save_checkpoint
from training.config import Config
from training.overfit_check import run_overfit_check
from training.resume import plan_start
from training.run_files import run_folder
from training.run_files.run_folder import RunLock, writable
from training.setup import prepare_run
from training.stop_signals import InterruptedRunError
from training.trainer import Trainer


def test_a_fresh_run_moves_an_earlier_run_aside(make_settings, execute_run, run_copy, capsys):
    before = {path.name: path.read_bytes() for path in run_copy.iterdir() if path.is_file()}
    for number in (1, 2):
        execute_run(make_settings(run_copy, epochs=1))
        kept = run_copy.with_name(f"{run_copy.name}.earlier-{number}")
        assert f"has an earlier run: moved to {kept}" in capsys.readouterr().out
        assert kept.is_dir()
    first = run_copy.with_name(f"{run_copy.name}.earlier-1")
    assert {path.name: path.read_bytes() for path in first.iterdir() if path.is_file()} == before
    assert len((run_copy / "metrics.jsonl").read_text().splitlines()) == 1


def test_a_fresh_run_in_the_current_folder_moves_an_earlier_run_aside(
    run_copy, tiny_yaml, monkeypatch
):
    monkeypatch.chdir(run_copy)
    before = (run_copy / "result.json").read_text()
    assert (
        train_teacher.main(["--config", str(tiny_yaml), "--output_dir", ".", "--epochs", "1"]) == 0
    )
    assert (run_copy.with_name("copy.earlier-1") / "result.json").read_text() == before
    assert (run_copy / "result.json").read_text() != before


def test_a_run_continued_in_another_folder_moves_that_folders_run_aside(
    tiny_settings, execute_run, run_copy, tmp_path
):
    settings = {
        **tiny_settings,
        "training": {**tiny_settings["training"], "output_dir": str(tmp_path / "first")},
    }
    original = Trainer.update

    def save_and_stop(self, batches):
        original(self, batches)
        save_checkpoint(self.folder / "last.pth", self.state())
        raise InterruptedRunError(15)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(InterruptedRunError):
        patch.setattr(Trainer, "update", save_and_stop)
        execute_run(settings)
    earlier = (run_copy / "best_model.pth").read_bytes()
    execute_run({"training": {"output_dir": str(run_copy)}}, tmp_path / "first" / "last.pth")
    assert (run_copy.with_name("copy.earlier-1") / "best_model.pth").read_bytes() == earlier


def test_logs_and_notes_may_be_in_the_folder_of_a_new_run(
    tiny_settings, execute_run, tmp_path, capsys
):
    run = tmp_path / "run"
    (run / "empty").mkdir(parents=True)
    names = [
        "log.txt",
        "slurm-7.out",
        "slurm-7.err",
        "train.log",
        "NOTES.md",
        "job.sh",
        "mine.YML",
        "last.pth.partial",
        "job.sbatch",
        "train.o12345",
        "nohup",
        "logs/more/train.log",
        "evaluation/result.json",
    ]
    (run / "logs" / "more").mkdir(parents=True)
    (run / "evaluation").mkdir()
    for name in (*names, ".DS_Store"):
        (run / name).write_text("mine")
    execute_run(tiny_settings)
    names.remove("last.pth.partial")  # a run that was killed while it saved had left it
    assert not (run / "last.pth.partial").exists()
    assert all((run / name).read_text() == "mine" for name in (*names, ".DS_Store"))
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["run"]
    # A second run moves them aside, and says so.
    capsys.readouterr()
    execute_run(tiny_settings)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "moved to" in line]
    assert line.endswith(
        "run.earlier-1, together with what no run wrote: "
        "NOTES.md, job.sbatch, job.sh, log.txt, logs and 6 more"
    )
    assert (tmp_path / "run.earlier-1" / "log.txt").read_text() == "mine"


@pytest.mark.parametrize("start", ["training", "overfit check"])
def test_a_folder_of_the_users_files_is_refused(tiny_settings, execute_run, tmp_path, start):
    run = tmp_path / "run"
    (run / "clips").mkdir(parents=True)
    for path in (*(run / f"{number}.mp4" for number in range(6)), run / "clips" / "7.mp4"):
        path.write_text("a video")
    before = sorted(run.rglob("*"))
    message = r"has files that are not of a run: 0\.mp4, .*, 4\.mp4 and 2 more; expected a new"
    with pytest.raises(UsageError, match=message):
        if start == "training":
            execute_run(tiny_settings)
        else:
            run_overfit_check(Config().updated(tiny_settings), 2)
    assert sorted(run.rglob("*")) == before and [path.name for path in tmp_path.iterdir()] == [
        "run"
    ]
    for path in run.glob("*.mp4"):
        path.unlink()
    with pytest.raises(UsageError, match="not of a run: clips; expected"):
        execute_run(tiny_settings)


def test_files_of_an_overfit_check_and_an_evaluation_are_those_of_a_run(
    tiny_settings, run_copy, tmp_path, capsys
):
    tiny_settings["training"]["epochs"] = 1
    for _ in range(2):
        run_overfit_check(Config().updated(tiny_settings), 2)
    assert f"moved to {tmp_path / 'run'}.earlier-1\n" in capsys.readouterr().out
    (run_copy / "evaluation_dev_greedy").mkdir()
    (run_copy / "evaluation_dev_greedy" / "result.json").write_text("{}")
    (run_copy / "diverged_batch.pth").write_bytes(b"")
    with run_folder.claim_run_folder(run_copy):
        assert f"moved to {run_copy}.earlier-1\n" in capsys.readouterr().out


@pytest.mark.parametrize("output", ["corpora/mine", "corpora", "link"])
def test_the_corpus_and_the_folders_above_it_are_refused(
    make_settings, execute_run, tmp_path, tiny_corpus, output
):
    corpus = tmp_path / "corpora" / "mine"
    shutil.copytree(tiny_corpus, corpus)
    (tmp_path / "link").symlink_to(corpus)
    before = {path.name for path in corpus.iterdir()} | {".remembered.json"}
    settings = make_settings(tmp_path / output, data_dir=str(corpus))
    found = f"contains {corpus}," if output == "corpora" else "is"
    message = re.escape(f"--output_dir {tmp_path / output} {found} an input of this run: choose")
    with pytest.raises(UsageError, match=message):
        execute_run(settings)
    with pytest.raises(UsageError, match=message):
        run_overfit_check(Config().updated(settings), 2)
    assert {path.name for path in corpus.iterdir()} <= before
    assert [path.name for path in corpus.parent.iterdir()] == ["mine"]


@pytest.mark.parametrize("name", ["config.yaml", "report.html", "MODEL_CARD.md"])
def test_a_file_of_the_users_that_a_run_would_replace_is_refused(
    tiny_settings, execute_run, tmp_path, name
):
    """Such as a config.yaml that was written by hand for this run and lies in its folder."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).write_text("mine")
    with pytest.raises(UsageError, match=rf"{name} already exists and is not of an earlier run"):
        execute_run(tiny_settings)
    assert [(path.name, path.read_text()) for path in (tmp_path / "run").iterdir()] == [
        (name, "mine")
    ]


def test_an_earlier_run_with_an_input_of_this_run_is_not_moved(
    make_settings, execute_run, run_copy, tiny_corpus
):
    shutil.copytree(tiny_corpus, run_copy / "corpus")
    with pytest.raises(UsageError, match=r"contains .*corpus, an input of this run"):
        execute_run(make_settings(run_copy, data_dir=str(run_copy / "corpus")))
    assert (run_copy / "best_model.pth").exists()


def test_a_checkpoint_in_the_folder_of_the_new_run_is_not_moved(execute_run, run_copy):
    (run_copy / "backup").mkdir()
    for name in ("last.pth", "best_model.pth"):
        shutil.copy(run_copy / name, run_copy / "backup" / name)
    with pytest.raises(UsageError, match=r"contains .*backup/last\.pth, an input of this run"):
        execute_run({"training": {"output_dir": str(run_copy)}}, run_copy / "backup" / "last.pth")
    assert (run_copy / "backup" / "last.pth").exists() and (run_copy / "result.json").exists()


def test_a_run_that_was_killed_at_its_start_is_moved_aside(make_settings, execute_run, tmp_path):
    (tmp_path / "run").mkdir()
    for name in ("config.yaml", "environment.json"):
        (tmp_path / "run" / name).write_text("{}")
    execute_run(make_settings(tmp_path / "run", epochs=1))
    assert (tmp_path / "run.earlier-1" / "config.yaml").read_text() == "{}"


@pytest.mark.parametrize("output", ["a file", "inside a file"])
def test_an_output_folder_that_cannot_be_made(tiny_settings, execute_run, tmp_path, output):
    (tmp_path / "file").write_text("in the way")
    path = tmp_path / "file" if output == "a file" else tmp_path / "file" / "run"
    tiny_settings["training"]["output_dir"] = str(path)
    with pytest.raises((DataError, UsageError), match=r"file"):
        execute_run(tiny_settings)
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_file_in_the_place_of_the_output_folder_is_told_before_the_work(tiny_settings, tmp_path):
    (tmp_path / "file").write_text("in the way")
    tiny_settings["training"] |= {"output_dir": str(tmp_path / "file"), "data_dir": "/nowhere"}
    with pytest.raises(UsageError, match=r"--output_dir .*file is a file: choose another one"):
        prepare_run(plan_start(None, tiny_settings))


@pytest.mark.parametrize("name", ["result.json", "metrics.jsonl", "last.pth.sha256"])
def test_a_folder_of_other_work_is_not_moved_for_one_file(
    tiny_settings, execute_run, tmp_path, name
):
    """A file of this name alone is no earlier run."""
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    for file in ("chapter1.tex", name):
        (thesis / file).write_text("mine")
    tiny_settings["training"]["output_dir"] = str(thesis)
    with pytest.raises(UsageError, match=rf"{name} already exists and is not of an earlier run"):
        execute_run(tiny_settings)
    assert {path.name for path in tmp_path.iterdir()} == {"thesis"}
    assert (thesis / name).read_text() == (thesis / "chapter1.tex").read_text() == "mine"


def test_a_folder_of_several_runs_is_not_moved(tiny_settings, execute_run, run_copy):
    inner = run_copy / "other"
    inner.mkdir()
    (inner / "last.pth").write_bytes(b"of another run")
    tiny_settings["training"]["output_dir"] = str(run_copy)
    with pytest.raises(UsageError, match=r"moved aside together with the run .*other: choose"):
        execute_run(tiny_settings)
    assert (inner / "last.pth").exists()


def test_the_program_is_not_moved(tiny_settings, execute_run, run_copy, monkeypatch):
    assert (run_folder._PROGRAM / "train_teacher.py").is_file()
    monkeypatch.setattr(run_folder, "_PROGRAM", run_copy / "code")
    tiny_settings["training"]["output_dir"] = str(run_copy)
    with pytest.raises(UsageError, match=r"has this program in it, .*choose another --output_dir"):
        execute_run(tiny_settings)
    assert (run_copy / "last.pth").exists()


def test_the_last_surviving_checkpoint_is_moved_aside(make_settings, execute_run, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "previous.pth").write_bytes(b"all that is left")
    (run / "previous.pth.sha256").write_text("its hash")
    execute_run(make_settings(run, epochs=1))
    assert (tmp_path / "run.earlier-1" / "previous.pth").read_bytes() == b"all that is left"


def test_a_folder_above_the_current_one_is_moved_aside_once(
    run_copy, tiny_settings, execute_run, monkeypatch
):
    """The current folder moves with it, so that `..` means the earlier run from then on."""
    before = (run_copy / "best_model.pth").read_bytes()
    (run_copy / "sub").mkdir()
    monkeypatch.chdir(run_copy / "sub")
    tiny_settings["training"] |= {"output_dir": "..", "epochs": 1, "seed": 7}
    execute_run(tiny_settings)
    earlier = run_copy.with_name(f"{run_copy.name}.earlier-1")
    assert (earlier / "best_model.pth").read_bytes() == before
    assert (run_copy / "last.pth").exists()


def test_a_link_to_the_output_folder_stays(make_settings, execute_run, tmp_path):
    (tmp_path / "large disk").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "large disk")
    for _ in range(2):
        execute_run(make_settings(tmp_path / "run", epochs=1))
    assert (tmp_path / "run").is_symlink()
    for folder in ("large disk", "large disk.earlier-1"):
        assert (tmp_path / folder / "last.pth").is_file()


@pytest.mark.parametrize(
    "name", ["config.yaml", "metrics.jsonl", "result.json", "dev_hypotheses.csv"]
)
def test_a_full_disk_is_one_line_for_every_file(name, tiny_yaml, tmp_path):
    blocked = {tmp_path / "run" / name, partial_beside(tmp_path / "run" / name)}

    def failing(write):
        def write_or_fail(path, *arguments, **options):
            if path in blocked:
                raise OSError(28, "No space left on device")
            return write(path, *arguments, **options)

        return write_or_fail

    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(DataError, match=r"cannot write to .*No space left"),
    ):
        patch.setattr(Path, "write_text", failing(Path.write_text))
        patch.setattr(Path, "open", failing(Path.open))
        train_teacher.main(["--config", str(tiny_yaml), "--epochs", "1"])


@pytest.mark.parametrize(
    ("number", "file", "message"),
    [
        (errno.EIO, "corpus/a.npy", "cannot read .*corpus/a.npy: why"),
        (errno.EIO, "run/a.pth", "cannot write to .*run: why"),
        (errno.EIO, None, "cannot write to .*run: why"),
        (errno.ENOSPC, "cache/a", "cannot write to .*run: why"),
    ],
)
def test_reading_and_writing_are_told_apart(tmp_path, number, file, message):
    place = None if file is None else str(tmp_path / file)
    with pytest.raises(DataError, match=message), writable(tmp_path / "run"):
        raise OSError(number, "why", place)


def test_a_second_run_in_a_folder_is_refused_until_the_first_has_ended(tmp_path, tiny_yaml):
    folder = tmp_path / "run"
    folder.mkdir()
    reader, writer = os.pipe()
    holder = os.fork()
    if holder == 0:
        lock = RunLock(folder)
        os.write(writer, b"held")
        time.sleep(60)
        del lock
        os._exit(0)
    try:
        assert os.read(reader, 4) == b"held"
        with pytest.raises(
            UsageError,
            match=rf"another run is working in .*run \(process {holder} on .*--output_dir",
        ):
            train_teacher.main(["--config", str(tiny_yaml)])
        assert [path.name for path in folder.iterdir()] == ["run.lock"], "nothing has changed"
    finally:
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
        os.close(reader)
        os.close(writer)
    assert (folder / "run.lock").exists(), "a kill leaves the file but releases the lock"
    assert train_teacher.main(["--config", str(tiny_yaml), "--epochs", "1"]) == 0
    assert not (folder / "run.lock").exists()


def test_a_lock_also_excludes_the_same_process_and_is_released(tmp_path):
    with RunLock(tmp_path), pytest.raises(UsageError):
        RunLock(tmp_path)
    with RunLock(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == ["run.lock"]
    assert [path.name for path in tmp_path.iterdir()] == []


def test_a_file_system_without_locks_is_reported(tmp_path, monkeypatch, capsys):
    def refuse(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with RunLock(tmp_path):
        assert "cannot be locked (No locks available)" in capsys.readouterr().out


def test_a_link_that_leads_to_itself_is_named(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    with (
        pytest.raises(DataError, match=r"cannot read .*loop/a\.npy: Too many levels"),
        writable(tmp_path / "run"),
    ):
        open(tmp_path / "loop" / "a.npy", "rb")
