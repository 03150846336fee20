"""transcribe.py as a script: its options, its help, and a bare machine."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import transcribe
from data.corpus import Corpus
from errors import UsageError
from inference.requests import ExportRequest

ROOT = Path(transcribe.__file__).resolve().parent


@pytest.fixture(scope="module")
def checkpoint(finished_run) -> Path:
    return finished_run / "best_model.pth"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give recordings or --camera N"),
        (["a.npy", "--camera", "0"], "give recordings or --camera N"),
        (["--camera", "-1"], "--camera -1: expected 0 to 99"),
        (["--camera", "0", "--online"], "--online has no effect on a camera"),
        (["--camera", "0", "--whole", "3"], "--whole has no effect on a camera"),
        (["--camera", "0", "--fps", "30"], "--fps has no effect on a camera"),
        (
            ["--camera", "0", "--output", "x.txt", "--skip_existing"],
            "--skip_existing has no effect on a camera",
        ),
        (["a.npy", "--skip_existing"], "--skip_existing has no effect without --output or"),
        (
            ["a.npy", "--output", "y.txt", "--skip_existing", "--overwrite"],
            "--skip_existing keeps the files that --overwrite replaces: choose one of them",
        ),
        (["a.npy", "--overwrite"], "--overwrite has no effect without --output or --overlay"),
        (["a.npy", "--model", "no.task"], "--model no.task has no effect on landmark files"),
        (["a.mp4", "a.pose", "--aspect_ratio", "1.9"], "--aspect_ratio 1.9 has no effect on thes"),
        (["--camera", "0", "--output", "out/"], "--output out/ is a folder: expected the name"),
        (
            ["--camera", "0", "--overlay", "x.avi"],
            "--overlay x.avi: expected a name that ends in .mp4",
        ),
        (["a.npy", "--window", "3", "--overlap", "3"], "--overlap 3 must be less than --window 3"),
        (["a.npy", "--lookahead", "5"], "--lookahead 5 must be less than --overlap 5"),
        (["a.npy", "--overlay", "x.mp4"], "draws on a video, and a.npy has no pictures"),
        (["a.mp4", "--overlay", "x.avi"], "--overlay x.avi: expected a name that ends in .mp4"),
        (
            ["a.npy", "b.npy", "--format", "vtt"],
            "--format vtt of several recordings needs --output FOLDER",
        ),
        (
            ["a.npy", "--format", "srt", "--output", "y.vtt"],
            "--output y.vtt ends like vtt, but --format is srt: change one of them",
        ),
        (["a.npy", "--output", "y.json"], "--output y.json ends like json, but --format is text"),
        (["a.npy", "--output", "a.npy"], "a.npy would replace the input a.npy"),
        (["a.mp4", "--overlay", "a.mp4"], "a.mp4 would replace the input a.mp4"),
        (
            ["a.npy", "--decoder", "closed", "--closed_set", "c.txt", "--output", "c.txt"],
            "c.txt would replace the input c.txt",
        ),
        (["a.mp4", "--model", "c.task", "--output", "c.task"], "replace the input c.task"),
        (
            ["a.npy", "c/a.npy", "--output", "out"],
            "a.npy and c/a.npy would both be written to out/a.txt: rename one of them",
        ),
        (["a.npy", "--fps", "0"], "--fps 0.0: expected 1 to 1000"),
        (["a.npy", "--device", "gpu"], "--device gpu: expected auto, cpu, cuda or cuda:N"),
    ],
)
def test_wrong_options(words, message, checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.npy", "b.npy", "a.mp4", "a.pose", "c/a.npy"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(b"x")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError) as raised:
        transcribe.main([*words, "--checkpoint", str(checkpoint)])
    assert message in str(raised.value)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "words",
    [
        ["--window", "x"],
        ["--decoder", "best"],
        ["--format", "ass"],
        ["--widow", "3"],
    ],
)
def test_wrong_values_are_refused_by_the_parser(words, capsys):
    with pytest.raises(SystemExit) as ended:
        transcribe.main(["a.npy", "--checkpoint", "x.pth", *words])
    assert ended.value.code == 2 and capsys.readouterr().err.startswith("error: ")


def test_help_is_fast_and_fits_eighty_columns():
    program = (
        "import sys, transcribe; transcribe.make_parser().format_help(); "
        "sys.exit('torch' in sys.modules)"
    )
    environment = {**os.environ, "COLUMNS": "80"}
    assert (
        subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, env=environment, timeout=60
        ).returncode
        == 0
    )
    shown = subprocess.run(
        [sys.executable, "transcribe.py", "--help"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert max(map(len, shown.stdout.splitlines())) <= 80


def test_a_bare_machine(checkpoint, tiny_corpus, tmp_path):
    """No locale, a read-only home, names with spaces and umlauts."""
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(stat.S_IRUSR | stat.S_IXUSR)
    named = tmp_path / "Grüße 你好.npy"
    np.save(named, Corpus(tiny_corpus).split("dev").read(0)[0])
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "OMP_NUM_THREADS": "1"}
    for locale in ({"LC_ALL": "C"}, {"PYTHONIOENCODING": "latin-1"}):
        command = [sys.executable, "transcribe.py", str(named), "--checkpoint", str(checkpoint)]
        ended = subprocess.run(
            [*command, "--format", "json"],
            cwd=ROOT,
            env=environment | locale,
            capture_output=True,
            timeout=60,
        )
        assert ended.returncode == 0, ended.stderr
        assert json.loads(ended.stdout.decode())["name"] == "Grüße 你好"
        assert b"Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("output", "format", "fits"),
    [
        ("x.onnx", "onnx", True),
        ("x", "onnx", True),
        ("x.model", "torchscript", True),
        ("x.pt", "torchscript", True),
        ("x.pt", "onnx", False),
        ("x.ONNX", "torchscript", False),
    ],
)
def test_an_exported_file_has_no_ending_of_another_format(output, format, fits):
    request = {"checkpoint": Path("a.pth"), "output": Path(output), "format": format}
    if fits:
        ExportRequest(**request)
    else:
        with pytest.raises(UsageError, match=f"ends like .*, but --format is {format}"):
            ExportRequest(**request)
