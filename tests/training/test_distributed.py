"""Several processes train like one: two processes over gloo, started by torchrun, are compared with
a run of one process."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from errors import UsageError
from models.checkpoint import load_checkpoint
from tests.conftest import random_annotations
from training.distributed import ProcessGroup, Ranks, read_environment
from training.stop_signals import InterruptedRunError
from training.trainer import Trainer

TWO_PROCESSES = [
    *(sys.executable, "-m", "torch.distributed.run"),
    *("--standalone", "--nproc_per_node", "2"),
]

ROOT = Path(__file__).resolve().parent.parent.parent
ADDRESS = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
# Batches of 3, 3, 3, 3 and 1, two per update: one process has no sentence of the last batch
TRAIN, EPOCHS, UPDATES = 13, 3, 3

# The script, which also writes down the sentences of each process and sends a signal to rank 1.
SCRIPT = """
import os, signal, sys, time
from pathlib import Path
import training.trainer
import train_teacher
from errors import run_script

original = training.trainer.Trainer.update
notes, rank = Path(os.environ["NOTES"]), os.environ["RANK"]

def update(trainer, batches):
    epoch = trainer.progress.epoch
    with open(notes / rank, "a") as file:
        file.writelines(f"{epoch} {index}\\n" for batch in batches for index in batch.indices)
    if os.environ["AT"] == f"{epoch}.{trainer.progress.group}" and rank == "1":
        (notes / "signalled").write_text(str(time.time()))
        os.kill(os.getpid(), getattr(signal, os.environ["SIGNAL"]))
    original(trainer, batches)

training.trainer.Trainer.update = update
run_script(train_teacher.main)
"""

# The script with infinite losses in rank 1. At the end each rank writes down its weights.
INFINITE_LOSSES = """
import math, os
from pathlib import Path
import training.trainer
import train_teacher
from errors import run_script
from training.distributed import ProcessGroup

original, disconnect = training.trainer.Trainer.losses, ProcessGroup.disconnect

def losses(trainer, batch, *targets):
    output, found = original(trainer, batch, *targets)
    ProcessGroup.model = trainer.model
    return output, found * math.inf if os.environ["RANK"] == "1" else found

def write_weights(ranks):
    total = sum(float(weight.detach().double().abs().sum()) for weight in ranks.model.parameters())
    (Path(os.environ["NOTES"]) / f"weights{ranks.rank}").write_text(repr(total))
    disconnect(ranks)

training.trainer.Trainer.losses, ProcessGroup.disconnect = losses, write_weights
run_script(train_teacher.main)
"""


def process(rank: int, world: int) -> Ranks:
    ranks = Ranks()
    ranks.rank, ranks.world = rank, world
    return ranks


def test_shares_have_every_row_once():
    for world in range(1, 9):
        for size in range(40):
            rows = np.arange(100, 100 + size)
            shares = [process(rank, world).share(rows) for rank in range(world)]
            assert sorted(np.concatenate(shares)) == rows.tolist()
            assert max(map(len, shares)) - min(map(len, shares)) <= 1
            plan = [process(rank, world).share(rows.tolist()) for rank in range(world)]
            assert [
                plan[number % world][number // world] for number in range(size)
            ] == rows.tolist()  # as validate() joins the shares


def test_rank_and_world_size_come_from_the_environment():
    assert read_environment({}) == (0, 1, 0)
    assert read_environment({"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}) == (0, 1, 0)
    whole = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", **ADDRESS}
    assert read_environment(whole) == (5, 8, 1)
    for change in (
        {"RANK": "8"},
        {"RANK": "-1"},
        {"WORLD_SIZE": "many"},
        {"LOCAL_RANK": "6"},
        {"LOCAL_RANK": ""},
        {"MASTER_PORT": ""},
    ):
        with pytest.raises(UsageError, match="start the run with torchrun") as caught:
            read_environment({**whole, **change})
        assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match=r"LOCAL_RANK=\(not set\)"):
        read_environment({"RANK": "0", "WORLD_SIZE": "2"})


def test_rank_0_has_the_random_key_of_a_single_process():
    assert process(0, 4).random_stream("dropout") == "dropout"
    assert len({process(rank, 4).random_stream("dropout") for rank in range(4)}) == 4


@pytest.fixture(scope="module")
def settings(tmp_path_factory, make_corpus, make_settings):
    """settings(folder, **training) -> settings without dropout."""
    train = random_annotations(TRAIN, "shares train")
    corpus = make_corpus(
        tmp_path_factory.mktemp("ranks") / "odd",
        {"train": train, "dev": random_annotations(33, "ranks dev")},
    )

    def make(folder: Path, **training) -> dict:
        given = {
            "data_dir": str(corpus),
            "batch_size": 3,
            "accumulation_steps": 2,
            "epochs": EPOCHS,
        }
        made = make_settings(
            folder,
            **{
                **given,
                "learning_rate": 5e-4,
                "part_mask": 0.15,
                **training,
            },
        )
        made["model"]["dropout"] = 0.0
        return made

    return make


@pytest.fixture(scope="module")
def alone(settings, execute_run, tmp_path_factory) -> list[dict]:
    """The rows of a run of one process."""
    run, _ = execute_run(settings(tmp_path_factory.mktemp("alone") / "run"))
    return run.trainer.progress.history


def page_commands() -> list[str]:
    """The commands of torchrun in docs/scaling.md."""
    text = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```bash\n(torchrun.*?)```", text, re.DOTALL)
    return block.splitlines()


def launch(
    tmp_path: Path, signal: str, at: str, command: str, *arguments
) -> tuple[subprocess.CompletedProcess, list[list[int]]]:
    """Run two processes with a command of docs/scaling.md and further arguments. Rank 1 gets a
    signal before the update `at`, 'epoch.update'.

    Returns how torchrun ended, and for each epoch the sentences of both processes.
    """
    notes, script = tmp_path / "notes", tmp_path / "script.py"
    notes.mkdir()
    script.write_text(SCRIPT)
    environment = {
        **os.environ,
        "NOTES": str(notes),
        "SIGNAL": signal,
        "AT": at,
        "PYTHONPATH": str(ROOT),
    }
    words = [*command.split(), *map(str, arguments)]
    assert (
        words[:3] == ["torchrun", "--standalone", "--nproc_per_node"]
        and words[4] == "train_teacher.py"
    )
    ended = subprocess.run(
        [*TWO_PROCESSES, str(script), *words[5:]],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert time.time() - float((notes / "signalled").read_text()) < 60, (
        "rank 0 must not wait for a process that has ended"
    )
    read = [line.split() for rank in "01" for line in (notes / rank).read_text().splitlines()]
    return ended, [
        sorted(int(index) for epoch, index in read if int(epoch) == number)
        for number in range(1, EPOCHS + 1)
    ]


def assert_alike(history: list[dict], alone: list[dict]) -> None:
    assert len(history) == len(alone)
    for row, expected in zip(history, alone, strict=True):
        assert row["train_loss"] == pytest.approx(expected["train_loss"], rel=1e-5)
        # docs/reliability.md explains this difference
        assert row["dev_loss"] == pytest.approx(expected["dev_loss"], rel=1e-4)
        assert row["gradient_norm"] == pytest.approx(expected["gradient_norm"], rel=1e-3)
        for name in ("epoch", "dev_wer", "train_wer", "learning_rate", "skipped_updates"):
            assert row[name] == expected[name], name


def test_two_processes_train_like_one_and_a_killed_process_ends_the_run(
    tmp_path, settings, alone, execute_run
):
    folder = tmp_path / "run"
    given = settings(folder)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(given))
    (train, _) = page_commands()
    here = ("--config", tmp_path / "run.yaml", "--output_dir", folder)
    options = (f"--{name}={given['training'][name]}" for name in ("data_dir", "batch_size"))
    ended, read = launch(tmp_path, "SIGKILL", f"{EPOCHS}.1", train, *here, *options)
    assert ended.returncode == 1, ended.stderr
    assert "exitcode  : -9" in ended.stderr  # in torchrun's summary
    assert ended.stderr.count("error: another process of this run has ended") <= 1
    assert "distributed.py" not in ended.stderr  # the only traceback is torchrun's
    for epoch in range(EPOCHS - 1):
        assert read[epoch] == list(range(TRAIN))
    rows = [line for line in ended.stdout.splitlines() if re.match(r" +\d+ ", line)]
    assert len(rows) == EPOCHS - 1  # only rank 0 prints
    checkpoint = load_checkpoint(folder / "last.pth")
    assert not any(name.startswith("module.") for name in checkpoint["model"])
    assert json.loads((folder / "environment.json").read_text())["sessions"][0]["processes"] == 2
    assert_alike(checkpoint["training"]["progress"]["history"], alone[:-1])
    run, _ = execute_run(
        {"training": {"output_dir": str(folder)}}, resume="auto"
    )  # continues in one process
    assert run.start.kind == "continue"
    assert_alike(run.trainer.progress.history, alone)


def test_two_processes_continue_a_run_of_one_and_stop_together(
    tmp_path, settings, alone, execute_run, monkeypatch
):
    folder = tmp_path / "run"
    original = Trainer._stop_if_asked

    def stop(trainer, signals, saved=False):
        if (trainer.progress.epoch, trainer.progress.group) == (1, 2):
            signals.received = 15
        original(trainer, signals, saved)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_stop_if_asked", stop)
        with pytest.raises(InterruptedRunError):
            execute_run(settings(folder))
    # Only rank 1 gets the signal. Both stop after that update. The checkpoint has the hypotheses of
    # both.
    (_, resume) = page_commands()
    ended, read = launch(tmp_path, "SIGTERM", "2.1", resume, "--output_dir", folder)
    assert ended.returncode == 1 and "exitcode  : 143" in ended.stderr, ended.stderr
    assert ended.stderr.count("continue with: python train_teacher.py --resume auto") == 1
    progress = load_checkpoint(folder / "last.pth")["training"]["progress"]
    assert (progress["epoch"], progress["group"]) == (2, 2)
    assert sorted(progress["hypotheses"]) == read[1] and len(read[1]) == len(set(read[1])) == 12
    run, _ = execute_run({"training": {"output_dir": str(folder)}}, resume="auto")
    assert_alike(run.trainer.progress.history, alone)


def test_torchs_message_about_a_lost_process_is_printed(monkeypatch, capsys):
    left = []
    monkeypatch.setattr("training.distributed._leave_at_once", left.append)
    lost = RuntimeError("NCCL error: invalid usage, Duplicate GPU detected\nand more of it")
    for rank in range(2):
        ProcessGroup(rank, 2, rank).__exit__(RuntimeError, lost, None)
    output = capsys.readouterr().err
    assert left == [143, 143] and output.count("\n") == 1
    assert "does not answer (NCCL error: invalid usage, Duplicate GPU detected)" in output


def test_an_error_of_all_processes_is_printed_once(tmp_path, settings):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(settings(tmp_path / "run", batch_size=1)))
    started = [
        subprocess.Popen(
            [sys.executable, "train_teacher.py", "--config", str(tmp_path / "run.yaml")],
            env={
                **os.environ,
                **address,
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": "2",
            },
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [2, 2]
    assert "".join(out for out, _ in outputs) == ""
    lines = "".join(errors for _, errors in outputs).splitlines()
    assert len(lines) == 1 and lines[0].startswith(
        "error: --batch_size 1 is shared by 2 processes"
    ), lines
    assert not (tmp_path / "run").exists()


def test_an_update_that_is_not_finite_in_one_process_is_skipped_by_both(tmp_path, settings):
    folder, script = tmp_path / "run", tmp_path / "script.py"
    # Two updates per epoch, both with sentences of both processes
    given = settings(folder, accumulation_steps=3, epochs=20, patience=20)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(given))
    script.write_text(INFINITE_LOSSES)
    ended = subprocess.run(
        [*TWO_PROCESSES, str(script), "--config", str(tmp_path / "run.yaml")],
        env={**os.environ, "NOTES": str(tmp_path), "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.stderr.count("exitcode  : 4 ") == 2, ended.stderr
    assert (
        ended.stderr.count("error: 10 updates in a row had a loss or gradient that is not finite")
        == 1
    )
    assert ended.stdout.count("update skipped: ") == 10
    weights = [(tmp_path / f"weights{rank}").read_text() for rank in range(2)]
    assert weights[0] == weights[1], "only one process made an update"
    whole = sorted(
        id
        for part in torch.load(folder / "diverged_batch.pth", weights_only=True)
        for id in part["ids"]
    )
    (last,) = [line for line in ended.stdout.splitlines() if line.startswith("update skipped: ")][
        -1:
    ]
    assert whole == sorted(last.split(" in sentences ")[1].split(", "))


# The script with a model that is lost in epoch 2, while the checkpoint of epoch 1 is still written
LOST_MODEL = """
import math, time
import training.run_files.checkpoint_writer as writer
import training.trainer
import train_teacher
from errors import run_script

original, save = training.trainer.Trainer.train_epoch, writer.save_checkpoint

def train_epoch(trainer, signals):
    original(trainer, signals)
    if trainer.progress.epoch == 2:
        trainer.model.head.weight.data.fill_(math.nan)

def slow_save(path, content, **options):
    time.sleep(2 * bool(content["training"]["progress"]["history"]))
    return save(path, content, **options)

training.trainer.Trainer.train_epoch, writer.save_checkpoint = train_epoch, slow_save
run_script(train_teacher.main)
"""


def test_a_lost_model_ends_both_processes_after_the_checkpoint_before_is_written(
    tmp_path, settings
):
    folder, script = tmp_path / "run", tmp_path / "script.py"
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(settings(folder)))
    script.write_text(LOST_MODEL)
    command = [*TWO_PROCESSES, str(script), "--config", str(tmp_path / "run.yaml")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert ended.stderr.count("exitcode  : 4 ") == 2, ended.stderr
    assert ended.stderr.count("error: epoch 2: the model's output is not finite") == 1
    for name in ("last.pth", "best_model.pth"):
        state = load_checkpoint(folder / name)
        assert len(state["training"]["progress"]["history"]) == 1
        assert state["model"]["head.weight"].isfinite().all()
