"""A tiny corpus that a tiny teacher learns in seconds, and short ways to run both."""

import os

# Before torch is imported: threads make small models slower on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import shutil
import signal
import subprocess
import sys
import traceback
from pathlib import Path

import numpy as np
import pytest
import yaml
from markupsafe import Markup

from data.corpus_writer import CorpusWriter
from data.keyed_random import generator
from data.landmarks import LEFT_SHOULDER, LEFT_WRIST, NOSE, PART_SLICES, RIGHT_SHOULDER, RIGHT_WRIST

# A shell ignores SIGINT in processes that it starts in the background, and Python then installs no
# handler for it. Tests of Ctrl-C need the handler.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent
GLOSSES = ("HOUSE", "RAIN", "SUN", "TOMORROW", "WIND")


def gloss_landmarks(gloss: str, frames: int, random: np.random.Generator) -> np.ndarray:
    """float32 (frames, 543, 3): the body stands still, both hands have a path and a shape that
    belong to the gloss."""
    of_gloss = generator("tiny gloss", gloss)  # the same path and shape in every sentence
    body = generator("tiny body").normal(0, 0.05, size=(543, 3)) + np.array([0.5, 0.4, 0.0])
    body[NOSE, :2], body[LEFT_SHOULDER, :2], body[RIGHT_SHOULDER, :2] = (
        (0.5, 0.25),
        (0.6, 0.45),
        (0.4, 0.45),
    )
    for head in (slice(NOSE + 1, LEFT_SHOULDER), PART_SLICES["face"]):
        body[head, 1] -= 0.15  # around the nose
    landmarks = np.repeat(body[None], frames, axis=0)
    time = np.linspace(0, 1, frames)[:, None]
    # The right hand is higher in all sentences. Else a sentence with a leading left hand would be
    # mirrored.
    for part, wrist, x, y in (
        ("left_hand", LEFT_WRIST, 0.6, 0.75),
        ("right_hand", RIGHT_WRIST, 0.4, 0.5),
    ):
        start, way = of_gloss.uniform(-0.15, 0.15, size=2), of_gloss.uniform(-0.2, 0.2, size=2)
        landmarks[:, wrist, :2] = np.array([x, y]) + start + way * np.sin(np.pi * time)
        shape = of_gloss.normal(0, 0.03, size=(21, 3))
        shape[0] = 0
        landmarks[:, PART_SLICES[part]] = shape
        landmarks[:, PART_SLICES[part], :2] += landmarks[:, wrist : wrist + 1, :2]
    return (landmarks + random.normal(0, 0.003, size=landmarks.shape)).astype(np.float32)


def sentence_landmarks(
    glosses: list[str], random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Landmarks (T, 543, 3) of the glosses one after the other, 8 to 12 frames each, and detected
    (T, 4) with lost hands."""
    landmarks = np.concatenate(
        [gloss_landmarks(gloss, int(random.integers(8, 13)), random) for gloss in glosses]
    )
    detected = np.ones((len(landmarks), 4), dtype=bool)
    detected[:, 2:] = random.random((len(landmarks), 2)) >= 0.1
    return landmarks, detected


def write_corpus(
    path: Path, splits: dict[str, list[str | tuple[str, int]]], seed: int = 0, **facts
) -> Path:
    """Write a corpus folder with the given annotations in its splits and return `path`.

    splits: annotations, or (annotation, frames) to cut a sentence short. seed: of the recordings.
    facts: arguments of `CorpusWriter`.
    """
    options = {
        "fps": 25,
        "aspect_ratio": 0.8,
        "made_by": {"tool": "tests"},
        "name": path.name,
        **facts,
    }
    with CorpusWriter(path, **options) as writer:
        for split, annotations in splits.items():
            part = writer.split(split)
            for number, annotation in enumerate(annotations):
                annotation, frames = (
                    annotation if isinstance(annotation, tuple) else (annotation, None)
                )
                landmarks, detected = sentence_landmarks(
                    annotation.split(), generator(seed, split, number)
                )
                part.add(
                    f"{split}-{number:02d}",
                    "anna",
                    annotation,
                    landmarks[:frames],
                    detected[:frames],
                )
    return path


def random_annotations(count: int, *names) -> list[str]:
    random = generator(*names)
    return [" ".join(random.choice(GLOSSES, size=random.integers(2, 5))) for _ in range(count)]


@pytest.fixture(scope="session")
def make_corpus():
    """write_corpus(path, {split: annotations}, seed=0, **facts of CorpusWriter) -> path."""
    return write_corpus


@pytest.fixture(scope="session")
def make_sentence():
    """sentence_landmarks(glosses, random) -> landmarks (T, 543, 3), detected (T, 4)."""
    return sentence_landmarks


@pytest.fixture(scope="session")
def tiny_corpus(tmp_path_factory) -> Path:
    """12 train and 4 dev sentences with 2 to 4 of 5 glosses. Tests must not change it."""
    train = [*random_annotations(11, "tiny train"), " ".join(GLOSSES[:4])]
    train[0] = f"{GLOSSES[4]} {GLOSSES[4]}"  # so that train has every gloss, and a repeat
    path = tmp_path_factory.mktemp("corpora") / "tiny"
    return write_corpus(path, {"train": train, "dev": random_annotations(4, "tiny dev")})


@pytest.fixture(scope="session")
def make_settings(tiny_corpus):
    """make_settings(output_dir, **training) -> {section: {key: value}} of a short run on the tiny
    corpus.

    12 sentences in batches of 5, 5 and 2 make two updates per epoch. The second update has the
    short batch only.
    """

    def make(output_dir: Path, **training) -> dict[str, dict]:
        options = {
            "data_dir": str(tiny_corpus),
            "output_dir": str(output_dir),
            "epochs": 3,
            "batch_size": 5,
            "accumulation_steps": 2,
            "learning_rate": 0.01,
            "warmup_epochs": 1.0,
            "device": "cpu",
            "decoder": "greedy",
        }
        model = {
            "pose_width": 8,
            "face_width": 8,
            "hand_width": 16,
            "fusion_width": 24,
            "inception_widths": [24, 24],
            "conformer_width": 16,
            "conformer_blocks": 1,
            "dropout": 0.1,
        }
        return {"training": {**options, **training}, "model": model}

    return make


class NoFigure:
    """A figure that accepts every call and draws nothing."""

    def __init__(self, *_, **__):
        pass

    def __getattr__(self, _):
        return self

    def __call__(self, *_, **__):
        return self

    def __getitem__(self, _):
        return self


@pytest.fixture(autouse=True)
def without_drawing(request, monkeypatch):
    """Do not draw figures, unless the test is marked `figures`: drawing takes longer than a tiny
    run. Reports have empty pictures then. (`finished_run` and other fixtures with a wider scope
    are made before this one. They have figures.)"""
    if "figures" not in request.keywords:
        monkeypatch.setattr("reports.figures.new_figure", NoFigure)
        monkeypatch.setattr("reports.figures.svg", lambda *_: Markup("<svg></svg>"))


@pytest.fixture(autouse=True)
def without_waiting_for_the_disk(monkeypatch):
    """Do not wait until files are on the disk: no test cuts the power."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def tiny_settings(make_settings, tmp_path) -> dict[str, dict]:
    """Settings of a tiny run with the output folder tmp_path / "run"."""
    return make_settings(tmp_path / "run")


@pytest.fixture
def tiny_yaml(tiny_settings, tmp_path) -> Path:
    """The tiny settings in a file for --config."""
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny_settings), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def run_script():
    """run_script("train_teacher.py", "--epochs", 3) -> CompletedProcess with text output."""

    def run(*arguments, **options) -> subprocess.CompletedProcess:
        command = [sys.executable, *map(str, arguments)]
        return subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=120, **options
        )

    return run


@pytest.fixture
def sclite(tmp_path):
    """() -> sclite's totals for h.ctm and r.stm of the test's folder: sentences, glosses, then
    percent correct, sub, del, ins, errors. The test is skipped without sclite."""
    if shutil.which("sctk") is None:
        pytest.skip("sclite is not installed (Debian: apt-get install sctk)")

    def totals() -> list[str]:
        files = ["-r", "r.stm", "stm", "-h", "h.ctm", "ctm"]
        command = ["sctk", "sclite", "-s", *files, "-o", "sum", "stdout"]
        printed = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout
        (line,) = [line for line in printed.splitlines() if "Sum/Avg" in line]
        return line.split("Sum/Avg")[1].replace("|", " ").split()

    return totals


@pytest.fixture
def run_main(capsys):
    """run_main(main, *arguments) -> CompletedProcess with exit code and output of a script's
    `main`. It runs in this process, which saves a start of Python and torch."""
    from errors import run_script as run_and_exit

    def run(main, *arguments) -> subprocess.CompletedProcess:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            run_and_exit(lambda: main(list(map(str, arguments))))
        output, errors = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, ended.value.code or 0, output, errors)

    return run


def run_in_child(act) -> str:
    """Call `act` in a forked child and return the string that it returns. Limits, user and working
    folder of this process stay as they are."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, act().encode())
        except BaseException:
            os.write(writer, traceback.format_exc().encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, encoding="utf-8") as pipe:
        written = pipe.read()
    os.waitpid(child, 0)
    return written


@pytest.fixture(scope="session")
def execute_run():
    """execute_run(overrides, resume=None, extend=False) -> (Run, content of result.json). The run
    takes place in this process."""
    from training.resume import plan_start
    from training.run import execute
    from training.setup import prepare_run

    def run(overrides: dict, resume: Path | str | None = None, extend: bool = False):
        prepared = prepare_run(
            plan_start(None if resume is None else str(resume), overrides), extend
        )
        return prepared, execute(prepared)

    return run


@pytest.fixture(scope="session")
def finished_run(make_settings, execute_run, tmp_path_factory) -> Path:
    """The folder of a run that has ended after 3 epochs. Tests must not change it."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    execute_run(make_settings(folder))
    return folder


@pytest.fixture
def run_copy(finished_run, tmp_path) -> Path:
    """A copy of the finished run's folder, which tests may change."""
    return Path(shutil.copytree(finished_run, tmp_path / "copy"))
