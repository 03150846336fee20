"""Saving and loading whatever happens: full disks, kills, damage, folders that are read only or
taken, traps in the file."""

import fcntl
import hashlib
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import torch
import yaml

import train_teacher
from errors import DataError, UsageError
from models.checkpoint import (
    bytes_needed,
    check_space,
    copy_checkpoint,
    load_checkpoint,
    remove_leftovers,
    save_checkpoint,
)
from training.resume import find_checkpoint
from training.run_folder import RunLock


def content(value: float = 1.0, epoch: int = 1) -> dict:
    return {
        "model": {"weight": torch.full((50, 50), value)},
        "vocabulary": ["HAUS"],
        "config": {},
        "corpus": {
            "name": "x",
            "path": "p",
            "fingerprint": "f",
            "simulated": True,
            "composed": False,
        },
        "decoder": {"steps_per_gloss": 3.5},
        "training": {
            "progress": {"epoch": epoch, "group": 0},
            "stopping": {},
            "optimizer": {},
            "scaler": {},
        },
    }


def value_of(path: Path) -> float:
    return float(load_checkpoint(path)["model"]["weight"][0, 0])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ---------------------------------------------------------------- the one before it


def test_the_one_before_is_kept(tmp_path):
    last, previous = tmp_path / "last.pth", tmp_path / "previous.pth"
    for value in (1.0, 2.0, 3.0):
        save_checkpoint(last, content(value), previous)
    assert (value_of(last), value_of(previous)) == (3.0, 2.0)
    assert names(tmp_path) == ["last.pth", "last.pth.sha256", "previous.pth", "previous.pth.sha256"]
    assert last.stat().st_ino != previous.stat().st_ino, "damage to one is not damage to the other"
    (tmp_path / "best_model.pth.partial").write_text("half of it")
    remove_leftovers(tmp_path)
    assert len(names(tmp_path)) == 4


def test_a_damaged_last_does_not_push_out_a_whole_previous(tmp_path):
    last, previous = tmp_path / "last.pth", tmp_path / "previous.pth"
    for value in (1.0, 2.0):
        save_checkpoint(last, content(value), previous)
    data = bytearray(last.read_bytes())
    data[len(data) // 2] ^= 4
    last.write_bytes(data)
    save_checkpoint(last, content(3.0), previous)
    assert (value_of(last), value_of(previous)) == (3.0, 1.0)


def test_a_damaged_one_is_not_copied_to_be_the_best(tmp_path):
    save_checkpoint(tmp_path / "last.pth", content())
    (tmp_path / "last.pth").write_bytes(b"x" * 100)
    with pytest.raises(DataError, match=r"last\.pth is damaged"):
        copy_checkpoint(tmp_path / "last.pth", tmp_path / "best_model.pth")


def test_auto_takes_the_newest_that_is_whole_and_says_so(tmp_path, capsys):
    last, previous, best = (
        tmp_path / name for name in ("last.pth", "previous.pth", "best_model.pth")
    )
    save_checkpoint(best, content(1.0, epoch=2))
    save_checkpoint(last, content(2.0, epoch=4))
    save_checkpoint(last, content(3.0, epoch=5), previous)
    assert find_checkpoint("auto", tmp_path)[1] == last
    last.write_bytes(b"gone")
    assert find_checkpoint("auto", tmp_path)[1] == previous
    assert "last.pth is damaged" in capsys.readouterr().out
    save_checkpoint(best, content(1.0, epoch=6))
    assert find_checkpoint("auto", tmp_path)[1] == best, "it is newer than the previous one"
    previous.unlink()
    best.write_bytes(b"gone, too")
    assert find_checkpoint("auto", tmp_path) is None
    said = capsys.readouterr().out
    assert "last.pth is damaged" in said and "best_model.pth is damaged" in said


# ---------------------------------------------------------------- damage


def test_a_flipped_bit_anywhere_is_caught_and_named(tmp_path):
    path = tmp_path / "last.pth"
    save_checkpoint(path, content())
    whole, said = path.read_bytes(), (tmp_path / "last.pth.sha256").read_bytes()
    for place in range(0, len(whole), 97):
        data = bytearray(whole)
        data[place] ^= 1 << place % 8
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"last\.pth is damaged: SHA-256"):
            load_checkpoint(path)
    path.write_bytes(whole)
    for place in range(64):
        data = bytearray(said)
        data[place] ^= 1 << place % 8
        (tmp_path / "last.pth.sha256").write_bytes(data)
        with pytest.raises(DataError, match=r"last\.pth is damaged"):
            load_checkpoint(path)


def test_without_its_hash_the_checksums_inside_are_verified_and_that_is_said(tmp_path, capsys):
    path = tmp_path / "last.pth"
    save_checkpoint(path, content())
    (tmp_path / "last.pth.sha256").unlink()
    assert value_of(path) == 1.0
    assert "last.pth.sha256 is missing: only last.pth's own checksums" in capsys.readouterr().err
    data = bytearray(path.read_bytes())
    place = data.find(torch.ones(100).numpy().tobytes()) + 40
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(
        DataError, match=r"last\.pth cannot be read: its record .*data/0 is damaged"
    ):
        load_checkpoint(path)


def test_what_does_not_read_back_is_not_taken(tmp_path, monkeypatch):
    path = tmp_path / "last.pth"
    save_checkpoint(path, content(1.0))
    fsync = os.fsync

    def failing_disk(descriptor: int) -> None:
        fsync(descriptor)
        written = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if written.name == "last.pth.partial":
            data = bytearray(written.read_bytes())
            data[1000] ^= 1
            written.write_bytes(data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing_disk)
        with pytest.raises(
            DataError, match=r"differs from what was written.*previous checkpoint is untouched"
        ):
            save_checkpoint(path, content(2.0))
    assert value_of(path) == 1.0 and len(names(tmp_path)) == 2


def test_file_and_folder_are_synced_in_order(tmp_path, monkeypatch):
    events = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(
        os,
        "fsync",
        lambda d: (events.append(Path(os.readlink(f"/proc/self/fd/{d}")).name), fsync(d)),
    )
    monkeypatch.setattr(
        os, "replace", lambda a, b: (events.append(f"-> {Path(b).name}"), replace(a, b))
    )
    save_checkpoint(tmp_path / "last.pth", content())
    renamed = events.index("-> last.pth")
    assert "last.pth.partial" in events[:renamed], (
        "the file is on the disk before it takes its name"
    )
    assert events[:renamed].count("-> last.pth.sha256") == 1, "with its hash"
    assert events[renamed + 1] == tmp_path.name, "and the folder after it"


# ---------------------------------------------------------------- disks and folders

LIMITED = """
import os, resource, sys, torch
sys.path.insert(0, os.getcwd())
from pathlib import Path
from errors import DataError
from models.checkpoint import save_checkpoint, load_checkpoint
path, previous = Path(sys.argv[1]) / "last.pth", Path(sys.argv[1]) / "previous.pth"
good = torch.load(path, weights_only=True)
good.pop("format_version")
size = os.path.getsize(path)
for limit in (0, 1, 30, 60, 100, 1000, 4097, size // 3, size // 2, size - 1000, size - 1):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        save_checkpoint(path, {**good, "model": {"weight": torch.full((50, 50), 9.0)}}, previous)
        outcome = "saved"
    except DataError as error:
        outcome = str(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert "cannot write" in outcome and "File too large" in outcome and "\\n" not in outcome, (limit, outcome)
    assert float(load_checkpoint(path)["model"]["weight"][0, 0]) == 1.0, limit
    assert sorted(os.listdir(sys.argv[1])) == ["last.pth", "last.pth.sha256"], (limit, os.listdir(sys.argv[1]))
print("11 sizes")
"""


def test_a_disk_that_is_full_after_any_number_of_bytes(tmp_path, run_script):
    save_checkpoint(tmp_path / "last.pth", content())
    result = run_script("-c", LIMITED, tmp_path)
    assert result.stdout == "11 sizes\n", result.stderr


@pytest.mark.parametrize("fails", [1, 2, 3, 4])
def test_a_disk_that_is_full_at_the_last_moment(fails, tmp_path, monkeypatch):
    """After the checkpoint itself: at the hash of the one before it, then at that of the new one."""
    last, previous = tmp_path / "last.pth", tmp_path / "previous.pth"
    for value in (1.0, 2.0):
        save_checkpoint(last, content(value), previous)
    replace, calls = os.replace, []

    def full(source, target):
        if Path(target).suffix == ".sha256":
            calls.append(1)
            if len(calls) == fails:
                raise OSError(28, "No space left on device")
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(DataError, match=r"cannot write .*last\.pth .*No space left on device"):
            save_checkpoint(last, content(3.0), previous)
    assert value_of(last) == (3.0 if fails == 4 else 2.0) and value_of(previous) == (
        1.0 if fails == 1 else 2.0
    )
    assert len(names(tmp_path)) == 4, "and nothing half written"
    save_checkpoint(last, content(4.0), previous)
    assert value_of(last) == 4.0


READ_ONLY = """
import os, sys
from pathlib import Path
from errors import DataError
from models.checkpoint import load_checkpoint, save_checkpoint
good = load_checkpoint(Path(sys.argv[1]) / "last.pth")
good.pop("format_version")
os.chdir(sys.argv[1])
os.chmod(".", 0o555)
if os.getuid() == 0:
    os.setuid(65534)  # root may write anywhere
try:
    save_checkpoint(Path("last.pth"), good)
except DataError as error:
    print(error)
"""


def test_a_read_only_folder(tmp_path, run_script):
    save_checkpoint(tmp_path / "last.pth", content())
    result = run_script("-c", READ_ONLY, tmp_path)
    os.chmod(tmp_path, 0o755)
    assert (
        result.stdout.startswith("cannot write last.pth") and "Permission denied" in result.stdout
    ), result.stderr
    assert result.stdout.count("\n") == 1
    assert value_of(tmp_path / "last.pth") == 1.0 and len(names(tmp_path)) == 2


def test_room_is_looked_for_before_the_run_begins(
    tiny_settings, execute_run, tmp_path, monkeypatch
):
    # Files x (weights, two moments) x float32
    assert bytes_needed(48_500_000) == 4 * 3 * 4 * 48_500_000
    usage = type("Usage", (), {"free": 50_000})
    monkeypatch.setattr("models.checkpoint.shutil.disk_usage", lambda _: usage)
    with pytest.raises(
        DataError,
        match=r"run: this run's checkpoints need up to \d+ MiB and the disk has 0 MiB free",
    ):
        execute_run(tiny_settings)
    assert not (tmp_path / "run").exists()
    (tmp_path / "last.pth").write_bytes(b"x" * 40_000)
    usage.free = 10_000
    with pytest.raises(DataError):
        check_space(tmp_path, parameters=1000, reuse=False)  # 48,000 bytes
    check_space(tmp_path, parameters=1000, reuse=True)  # of which 40,000 are there already


# ---------------------------------------------------------------- one run in a folder

HOLD = """
import sys, time
from pathlib import Path
from training.run_folder import RunLock
lock = RunLock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def test_a_second_run_in_a_folder_is_refused_until_the_first_is_dead(
    tmp_path, tiny_yaml, run_script
):
    folder = tmp_path / "run"
    folder.mkdir()
    root = Path(train_teacher.__file__).parent
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], cwd=root, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(
            UsageError,
            match=rf"another run is working in .*run \(process {holder.pid} on .*--output_dir",
        ):
            train_teacher.main(["--config", str(tiny_yaml)])
        assert names(folder) == ["run.lock"], "nothing was touched"
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert (folder / "run.lock").exists(), "a kill leaves the file, but no lock"
    assert train_teacher.main(["--config", str(tiny_yaml), "--epochs", "1"]) == 0
    assert not (folder / "run.lock").exists()


def test_a_lock_is_let_go_of_and_holds_against_the_same_process(tmp_path):
    with RunLock(tmp_path), pytest.raises(UsageError):
        RunLock(tmp_path)
    with RunLock(tmp_path):
        assert names(tmp_path) == ["run.lock"]
    assert names(tmp_path) == []


def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch, capsys):
    def refuse(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with RunLock(tmp_path):
        assert "cannot be locked (No locks available)" in capsys.readouterr().out


def test_a_second_signal_leaves_at_once(make_settings, tmp_path):
    """The first SIGTERM waits for the update; the second one does not."""
    (tmp_path / "config.yaml").write_text(
        yaml.safe_dump(make_settings(tmp_path / "run", epochs=500, patience=500))
    )
    code = (
        "import sys, time, train_teacher, training.trainer as t\n"
        "update = t.Trainer.update\n"
        "def slow(self, batches):\n    print('updating', flush=True); time.sleep(60)\n"
        "t.Trainer.update = slow\n"
        "train_teacher.main(sys.argv[1:])"
    )
    root = Path(train_teacher.__file__).parent
    command = [sys.executable, "-c", code, "--config", str(tmp_path / "config.yaml")]
    process = subprocess.Popen(
        command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    while "updating" not in process.stdout.readline():
        assert process.poll() is None
    for _ in range(2):
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
    assert process.wait(20) == -signal.SIGTERM and time.monotonic() - started < 20
    assert (
        load_checkpoint(tmp_path / "run" / "last.pth")["training"]["progress"]["gradient_norms"]
        == []
    )


# ---------------------------------------------------------------- traps


def test_a_record_that_claims_to_be_longer_than_it_is(tmp_path):
    """Mapped, torch would give what follows it in the file as its values."""
    torch.save(
        {**content(), "format_version": 1, "model": {"w": torch.ones(7), "v": torch.ones(5)}},
        tmp_path / "a.pth",
    )
    with zipfile.ZipFile(tmp_path / "a.pth") as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    described = next(name for name in records if name.endswith("data.pkl"))
    count = records[described].count(b"K\x07")
    assert count >= 2
    records[described] = records[described].replace(b"K\x07", b"K\x0e")
    with zipfile.ZipFile(tmp_path / "b.pth", "w") as archive:
        for name, data in records.items():
            archive.writestr(name, data)
    with pytest.raises(DataError, match=r"b\.pth cannot be read"):
        load_checkpoint(tmp_path / "b.pth")


def test_a_compressed_archive_is_not_expanded(tmp_path):
    torch.save(
        {**content(), "format_version": 1, "model": {"w": torch.zeros(5_000_000)}},
        tmp_path / "a.pth",
    )
    with (
        zipfile.ZipFile(tmp_path / "a.pth") as archive,
        zipfile.ZipFile(tmp_path / "b.pth", "w", zipfile.ZIP_DEFLATED) as out,
    ):
        for name in archive.namelist():
            out.writestr(name, archive.read(name))
    assert (tmp_path / "b.pth").stat().st_size < 50_000
    with pytest.raises(DataError, match="compressed or larger than the file"):
        load_checkpoint(tmp_path / "b.pth")


def test_what_torch_would_allow_but_no_checkpoint_holds(tmp_path):
    lists: list = [1]
    for _ in range(60):
        lists = [lists, lists]
    for value, message in (
        (bytearray(10), "not a PyTorch file of tensors and plain values"),
        (lists, "occurs in it twice"),
        (torch.zeros(1).expand(10**12), "larger than what is stored"),
        ({1, 2}, "plain values"),
    ):
        torch.save({**content(), "format_version": 1, "model": {"w": value}}, tmp_path / "odd.pth")
        with pytest.raises(DataError, match=message):
            load_checkpoint(tmp_path / "odd.pth")


def test_the_hash_file_is_what_sha256sum_writes(tmp_path):
    for value in (1.0, 2.0):
        save_checkpoint(tmp_path / "last.pth", content(value), tmp_path / "previous.pth")
    for name in ("last.pth", "previous.pth"):
        digest = hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        assert (tmp_path / f"{name}.sha256").read_text() == f"{digest}  {name}\n"


@pytest.mark.parametrize(("renamed", "value"), [(False, 1.0), (True, 2.0)])
def test_a_kill_at_the_rename_leaves_a_checkpoint_that_fits_its_hash(renamed, value, tmp_path):
    last, replace = tmp_path / "last.pth", os.replace
    save_checkpoint(last, content(1.0))

    class KilledError(BaseException):
        pass

    def killed(source, target):
        if Path(target) != last or renamed:
            replace(source, target)
        if Path(target) == last:
            raise KilledError

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(os, "replace", killed)
        save_checkpoint(last, content(2.0))
    assert value_of(last) == value
    save_checkpoint(last, content(3.0))
    assert (
        value_of(last) == 3.0 and len((tmp_path / "last.pth.sha256").read_text().splitlines()) == 1
    )
