"""Run scripts of the project in forks of one process that has imported torch and matplotlib.

Each script is run as by `python script.py …`: its own process, working folder, environment and
exit. Only the import of the large libraries, which takes most of the time of a tiny run, happens
once. This file is also the program of that process.
"""

import contextlib
import gc
import importlib
import json
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

# `torch._dynamo` is what torch's optimisers import.
LIBRARIES = ("torch", "torch._dynamo", "torch.utils.tensorboard", "matplotlib.backends.backend_svg")


class ScriptServer:
    """A process that runs the scripts of one folder. Use it as a context.

    Args:
        folder: where the scripts are; it is their working folder.
        modules: what the process imports before, beside LIBRARIES; those of the project are
            imported from `folder`.
    """

    def __init__(self, folder: Path, modules: Sequence[str] = ()):
        self.folder, self._modules = folder, [*LIBRARIES, *modules]

    def __enter__(self) -> "ScriptServer":
        command = [sys.executable, __file__, *self._modules]
        self._process = subprocess.Popen(
            command, cwd=self.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def run(self, *argv: str | Path, **environment: str) -> subprocess.CompletedProcess:
        """Run a script with its arguments. Returns exit code and output.

        environment: variables that are set for it.
        """
        with tempfile.TemporaryDirectory() as folder:
            files = [str(Path(folder) / name) for name in ("output", "errors")]
            request = [list(map(str, argv)), environment, files]
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
            assert answer, "the server has ended: see its messages above"
            printed = [Path(file).read_text(encoding="utf-8") for file in files]
        return subprocess.CompletedProcess(argv, int(answer), *printed)


def serve(modules: Sequence[str]) -> None:
    """Read requests from stdin and answer each with an exit code. Returns in a fork, which then has
    the arguments and streams of its script."""
    for name in modules:
        with contextlib.suppress(ModuleNotFoundError):  # then its tests are skipped
            importlib.import_module(name)
    gc.freeze()
    requests, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    for line in requests:
        argv, environment, files = json.loads(line)
        child = os.fork()
        if child == 0:
            os.environ.update(environment)
            for target, name in enumerate((os.devnull, *files)):
                opened = os.open(name, os.O_RDWR | os.O_CREAT)
                os.dup2(opened, target)
            sys.argv, sys.orig_argv = argv, [sys.executable, *argv]
            return
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        answers.write(f"{code}\n")
        answers.flush()
    os._exit(0)


if __name__ == "__main__":
    sys.path[0] = os.getcwd()
    serve(sys.argv[1:])
    runpy.run_path(sys.argv[0], run_name="__main__")
