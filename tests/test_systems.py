"""Windows and macOS: every module can be imported, and what they lack is not used there.

The tests run on Linux. They hide what another system lacks, or let it fail as it does there.
"""

import ast
import errno
import fcntl
import json
import math
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import torch

import train_teacher
from errors import UsageError
from models.checkpoint import load_checkpoint
from models.devices import choose_device
from models.safe_write import link_as_partial
from training.run_files.run_folder import RunLock, claim_run_folder

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("data", "models", "decoding", "training", "distillation", "inference", "reports")
FILES = sorted(
    path
    for folder in (*FOLDERS, "benchmarks", ".")
    for path in (ROOT.glob("*.py") if folder == "." else (ROOT / folder).rglob("*.py"))
    if "corpora" not in path.relative_to(ROOT).parts
)
POSIX_MODULES = ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog", "posix")
POSIX_NAMES = {
    "os": (
        *("fork", "forkpty", "getuid", "geteuid", "getgid", "getegid", "getgroups", "getpgid"),
        *("getpgrp", "setpgid", "getsid", "setsid", "getpriority", "setpriority", "nice", "uname"),
        *("killpg", "wait", "wait3", "wait4", "waitid", "WNOHANG", "chown", "fchown", "lchown"),
        *("chroot", "mkfifo", "mknod", "pread", "pwrite", "posix_fadvise", "posix_fallocate"),
        *("POSIX_FADV_DONTNEED", "sched_getaffinity", "sched_setaffinity", "sched_yield", "sync"),
        *("sysconf", "confstr", "pathconf", "getloadavg", "statvfs", "fstatvfs", "fdatasync"),
        *("ttyname", "openpty", "O_CLOEXEC", "O_NOFOLLOW", "O_DIRECTORY", "O_NONBLOCK", "O_SYNC"),
        *("sendfile", "register_at_fork", "fchdir", "memfd_create", "getrandom", "environb"),
    ),
    "signal": (
        *("SIGKILL", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGPIPE", "SIGCHLD"),
        *("SIGSTOP", "SIGCONT", "SIGTSTP", "alarm", "setitimer", "pause", "sigwait"),
        *("pthread_kill", "pthread_sigmask", "siginterrupt"),
    ),
}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def test_every_module_can_be_imported_without_what_windows_lacks():
    """All modules are imported twice: first to load the libraries, then as on Windows."""
    code = f"""
import builtins, importlib, os, signal, sys
names = {[module_name(path) for path in FILES]!r}
for name in names:
    importlib.import_module(name)
top = {{name.split(".")[0] for name in names}}
for name in [name for name in sys.modules if name.split(".")[0] in top]:
    del sys.modules[name]
original = builtins.__import__
def windows_import(name, globals=None, *rest):
    importer = (globals or {{}}).get("__name__", "")
    if importer.split(".")[0] in top and name in {POSIX_MODULES!r}:
        raise ModuleNotFoundError(f"No module named {{name!r}}, imported by {{importer}}")
    return original(name, globals, *rest)
builtins.__import__ = windows_import
sys.platform = "win32"
for module, attributes in {POSIX_NAMES!r}.items():
    for attribute in attributes:
        if hasattr(sys.modules[module], attribute):
            delattr(sys.modules[module], attribute)
for name in names:
    importlib.import_module(name)
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=200
    )
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_what_only_posix_has_is_used_behind_a_check_of_the_system(path):
    source = path.read_text(encoding="utf-8")
    unguarded: list[str] = []
    if "require_linux(" not in source:
        find_unguarded(ast.parse(source), False, unguarded)
    assert not unguarded, f"{path} uses {unguarded}, which Windows lacks"


def find_unguarded(node: ast.AST, guarded: bool, found: list[str]) -> None:
    """Append the POSIX-only names below `node` that no `if` about the system surrounds."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        names = [node.module] if isinstance(node, ast.ImportFrom) else [n.name for n in node.names]
        found += [str(name) for name in names if name in POSIX_MODULES and not guarded]
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and not guarded:
        module = node.value.id
        if node.attr in POSIX_NAMES.get(module, ()):
            found.append(f"{module}.{node.attr}")
    if isinstance(node, ast.If | ast.IfExp):
        test = ast.unparse(node.test)
        guarded = guarded or "sys.platform" in test or "hasattr(" in test
    for child in ast.iter_child_nodes(node):
        find_unguarded(child, guarded, found)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import fcntl", ["fcntl"]),
        ("from resource import getrusage", ["resource"]),
        ("def f():\n    return os.fork()", ["os.fork"]),
        ("if code == -signal.SIGKILL: pass", ["signal.SIGKILL"]),
        ("if sys.platform != 'win32':\n    import resource", []),
        ("x = os.getuid() if hasattr(os, 'getuid') else 0", []),
        ("os.replace(a, b)", []),
    ],
)
def test_the_search_for_what_only_posix_has(source, expected):
    found: list[str] = []
    find_unguarded(ast.parse(source), False, found)
    assert found == expected


# ---- Windows ----


def open_below(folder: Path) -> list[str]:
    """Paths of this process's open files in the folder."""
    opened = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            opened.append(os.readlink(link))
        except FileNotFoundError:  # the descriptor of this listing
            continue
    return [path for path in opened if path.startswith(f"{folder.resolve()}{os.sep}")]


@pytest.fixture
def windows(monkeypatch):
    """The file system refuses what that of Windows refuses."""
    originals = {"open": os.open, "unlink": os.unlink, "fsync": os.fsync}

    def rename(path, target):
        if open_below(path):
            raise PermissionError(errno.EACCES, "The process cannot access the file")
        os.rename(path, target)
        return Path(target)

    def unlink(path, **options):
        if str(Path(path).resolve()) in open_below(Path(path).parent):
            raise PermissionError(errno.EACCES, "The process cannot access the file")
        originals["unlink"](path, **options)

    def open_file(path, flags, *rest, **options):
        if os.path.isdir(path):
            raise PermissionError(errno.EACCES, "Permission denied")
        return originals["open"](path, flags, *rest, **options)

    def fsync(descriptor):
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        originals["fsync"](descriptor)

    sysconfig.get_config_vars()  # torch asks for them; they are in a file named after the system
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(Path, "rename", rename)
    monkeypatch.setattr(os, "unlink", unlink)
    monkeypatch.setattr(os, "open", open_file)
    monkeypatch.setattr(os, "fsync", fsync)


def test_on_windows_an_earlier_run_is_moved_aside(tmp_path, windows):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "last.pth").write_text("earlier")
    (folder / "last.pth.sha256").write_text("its hash")
    with claim_run_folder(folder):
        assert (tmp_path / "run.earlier-1" / "last.pth").read_text() == "earlier"
        assert [path.name for path in folder.iterdir()] == ["run.lock"]
        with pytest.raises(UsageError, match="another run is working"):
            RunLock(folder)
    assert not list(folder.iterdir())


def test_a_lock_whose_holder_cannot_be_read_is_still_one_line(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    with RunLock(tmp_path):
        monkeypatch.setattr(os, "read", refuse)
        with pytest.raises(UsageError, match=r"working in .* \(its process is not known\): wait"):
            RunLock(tmp_path)


def test_on_windows_a_run_trains_and_its_unknown_peak_memory_is_null(
    tiny_yaml, tmp_path, windows, capsys
):
    options = ["--config", str(tiny_yaml), "--epochs", "1", "--device", "cpu"]
    assert train_teacher.main([*options, "--dry_run"]) == 0
    assert "unknown on this system" in capsys.readouterr().out
    assert train_teacher.main(options) == 0
    assert load_checkpoint(tmp_path / "run" / "best_model.pth")
    assert json.loads((tmp_path / "run" / "result.json").read_text())["peak_memory_gb"] is None
    row = json.loads((tmp_path / "run" / "metrics.jsonl").read_text())
    assert row["peak_memory_gb"] is None and math.isfinite(row["train_loss"])


def test_on_windows_a_file_is_copied_where_it_cannot_be_linked(tmp_path, windows, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "a").write_text("content")
    assert link_as_partial(tmp_path / "a", tmp_path / "b").read_text() == "content"


# ---- macOS ----


def test_the_gpu_of_a_mac_is_named_as_not_used(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("auto") == torch.device("cpu")
    assert capsys.readouterr().out == (
        "MPS (the GPU of a Mac), for which torch has no CTC loss, is not used: "
        "computing on the CPU\n"
    )
    for name in ("mps", "mps:0"):
        with pytest.raises(UsageError) as raised:
            choose_device(name)
        assert str(raised.value) == (
            f"--device {name}: MPS (the GPU of a Mac), for which torch has no CTC loss, "
            "is not supported: use --device cpu"
        )


def test_a_machine_without_any_gpu_is_told_as_before(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    choose_device("auto")
    assert capsys.readouterr().out == "no CUDA device found: computing on the CPU\n"
