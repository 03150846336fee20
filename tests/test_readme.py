"""Every command in the README, docs/data.md and docs/speed.md runs: in a copy of the project, at a
tiny size. The commands of the other pages are tested in test_docs.py."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.mediapipe_support import why_no_tracking
from tests.script_server import ScriptServer

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", "docs/data.md", "docs/speed.md")
MAX_README_WORDS = 1000  # all words: prose, tables, commands and the file map
MAX_PICTURE_BYTES = 200_000
# Options that make a command end in seconds, by the beginning of the command. A command that is not
# listed here fails the test.
ONE_EPOCH = "--config tiny.yaml --epochs 1"
MADE_SMALL = {
    "python overfit_test.py": "--config tiny.yaml --epochs 5",
    "python train_teacher.py --batch_size 8": ONE_EPOCH,
    "python train_teacher.py --data_dir data/corpora/mine --output_dir": ONE_EPOCH,
    "python train_teacher.py --data_dir data/corpora/mine --frames_per_batch": ONE_EPOCH,
    "python train_teacher.py --resume auto": "",
    "python train_teacher.py --resume checkpoints/teacher/best_model.pth": "--epochs 1",
    "python train_teacher.py --config configs/demo.yaml": ONE_EPOCH,
    "python train_teacher.py --config configs/small.yaml": "--epochs 1",
    "python evaluate.py --checkpoint checkpoints/mine/best_model.pth": "--device cpu",
    "python transcribe.py": "--device cpu",
    "python distill_student.py": "--config tiny_student.yaml --epochs 1",
    "python export_model.py": "",
    "python export_soft_targets.py": "--device cpu",
    "python prepare_data.py extract": "--workers 1",
    "python prepare_data.py import": "",
    "python prepare_data.py compose": (
        "--sentences 8 --dev_sentences 4 --min_glosses 2 --max_glosses 3"
    ),
    "python prepare_data.py split": "",
    "python prepare_data.py synthesize": "",
    "python prepare_data.py check": "",
    "python prepare_data.py resample": "",
    "python prepare_data.py align": "--device cpu",
}


def bash_commands(*pages: str) -> list[str]:
    """The lines of the bash blocks of the pages, without comments; each command once."""
    text = "\n".join((ROOT / page).read_text(encoding="utf-8") for page in pages)
    blocks = re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL)
    lines = [re.sub(r"\s+#.*", "", line).strip() for block in blocks for line in block.splitlines()]
    return list(dict.fromkeys(line for line in lines if line))


def commands_of_make(target: str, tmp_path: Path) -> list[str]:
    """The python commands that `make <target>` would run."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    dry = subprocess.run(["make", "-n", target], cwd=tmp_path, capture_output=True, text=True)
    # tmp_path has no requirements files. Empty ones satisfy make.
    if dry.returncode:
        (tmp_path / "requirements.txt").touch()
        (tmp_path / "requirements-dev.txt").touch()
        dry = subprocess.run(
            ["make", "-n", target], cwd=tmp_path, capture_output=True, text=True, check=True
        )
    lines = [line for line in dry.stdout.splitlines() if line.startswith(".venv/bin/")]
    return [line.removeprefix(".venv/bin/") for line in lines if " -m pip " not in line]


def left_out(folder: str, names: list[str]) -> set[str]:
    """What a copy of the project does not need: compiled files, and the corpora on this machine."""
    corpora = {"corpora"} if Path(folder) == ROOT / "data" else set()
    return {"__pycache__", *corpora}.intersection(names)


@pytest.fixture
def project(tmp_path: Path, make_corpus, make_sentence) -> Path:
    """A copy of the project, in a folder whose name has a space. The inputs that the commands need
    are there, at a tiny size."""
    copy = tmp_path / "my project"
    for name in (
        "data",
        "models",
        "decoding",
        "training",
        "distillation",
        "inference",
        "reports",
        "configs",
    ):
        shutil.copytree(ROOT / name, copy / name, ignore=left_out)
    for script in ROOT.glob("*.py"):
        shutil.copy(script, copy)
    sizes = {
        "pose_width": 8,
        "face_width": 8,
        "hand_width": 8,
        "fusion_width": 16,
        "conformer_width": 8,
    }
    tiny = {"model": {**sizes, "inception_widths": [16, 16]}, "training": {"device": "cpu"}}
    (copy / "tiny.yaml").write_text(yaml.safe_dump(tiny))
    student = {
        "model": {"widths": [16, 24, 24], "conformer_width": 16, "lstm_hidden": 16},
        "training": {"device": "cpu"},
    }
    (copy / "tiny_student.yaml").write_text(yaml.safe_dump(student))
    make_corpus(
        copy / "data/corpora/builtin",
        {"train": ["SUN RAIN", "RAIN WIND"] * 3, "dev": ["SUN WIND"]},
        simulated=True,
    )
    random = np.random.default_rng(0)
    for split in ("train", "dev"):
        annotations = ["id|folder|signer|annotation"]
        (copy / "features" / split).mkdir(parents=True)
        for number in range(5):
            landmarks, _ = make_sentence(["SUN", "RAIN"], random)
            np.save(
                copy / "features" / split / f"{split}{number}.npy",
                landmarks.reshape(len(landmarks), -1),
            )
            annotations.append(f"{split}{number}|x/1/*.png|Signer01|SUN RAIN")
        (copy / "annotations").mkdir(exist_ok=True)
        (copy / "annotations" / f"{split}.corpus.csv").write_text("\n".join(annotations) + "\n")
        (copy / "phoenix2014").mkdir(exist_ok=True)
        (copy / "phoenix2014" / f"{split}.corpus.csv").write_text("\n".join(annotations) + "\n")
        frames = ["id|frames", *(f"{split}{number}|{30 + number}" for number in range(5))]
        (copy / "phoenix2014" / f"{split}.frames.csv").write_text("\n".join(frames) + "\n")
    for gloss in ("SUN", "RAIN", "WIND"):
        for repetition in range(10):
            folder = copy / "MP_Data" / gloss / str(repetition)
            folder.mkdir(parents=True)
            landmarks, _ = make_sentence([gloss], random)
            pose = np.concatenate([landmarks[:, :33], np.ones((len(landmarks), 33, 1))], axis=2)
            for index in range(6):
                np.save(
                    folder / f"{index}.npy",
                    np.concatenate([pose[index].ravel(), landmarks[index, 501:].ravel()]),
                )
    return copy


@pytest.fixture(params=[()])
def server(request, project: Path) -> Iterator[ScriptServer]:
    """Runs the scripts of the copy."""
    with ScriptServer(project, ["training.run", *request.param]) as started:
        yield started


def run(command: str, server: ScriptServer) -> subprocess.CompletedProcess:
    beginnings = [beginning for beginning in MADE_SMALL if command.startswith(beginning)]
    assert beginnings, f"a command without a test: {command}"
    words = shlex.split(f"{command} {MADE_SMALL[max(beginnings, key=len)]}")
    return server.run(*words[1:])


def test_every_command_runs(project: Path, server: ScriptServer, tmp_path: Path):
    commands = bash_commands(*PAGES)
    for command in [command for command in commands if command.startswith("make ")]:
        inner = commands_of_make(command.split()[1], tmp_path)
        assert inner, command
        commands += [line for line in inner if "pytest" not in line]
    commands = [command for command in commands if command.split()[0] not in ("make", "source")]
    # The commands that need MediaPipe are tested below.
    commands = [
        command
        for command in commands
        if not re.match(r"python (prepare_data.py extract|transcribe.py)", command)
    ]
    # The README trains before it describes data. Here the corpora come first, but `align` needs a
    # model.
    commands.sort(key=lambda command: not re.search(r"prepare_data.py (?!align)", command))
    for command in commands:
        ended = run(command, server)
        # After five epochs the overfit check may fail. It must still end without a traceback.
        allowed = (0, 1) if "overfit_test" in command else (0,)
        assert ended.returncode in allowed, f"{command}\n{ended.stdout}\n{ended.stderr}"
        assert "Traceback" not in ended.stderr, f"{command}\n{ended.stderr}"
        trained = project / "checkpoints" / "teacher_v1"
        if trained.is_dir() and not (project / "checkpoints" / "teacher").exists():
            shutil.copytree(trained, project / "checkpoints" / "teacher")
    for run_folder in ("overfit", "teacher_v1", "mine", "teacher_finetune", "by_frames"):
        assert (project / "checkpoints" / run_folder / "result.json").is_file(), run_folder


@pytest.mark.parametrize("server", [("mediapipe",)], ids=["videos"], indirect=True)
def test_the_commands_that_use_videos_run(project: Path, server: ScriptServer):
    if (reason := why_no_tracking()) is not None:
        pytest.skip(reason)
    import cv2
    from skimage.data import astronaut

    (project / "transcripts").mkdir()
    for split in ("train", "dev"):
        (project / "videos" / split).mkdir(parents=True)
        for number in range(2):
            picture = astronaut()[:, 20 * number :, ::-1]
            cv2.imwrite(str(project / "videos" / split / f"frame{number}.png"), picture[:, :400])
        rows = f"id|video|signer|annotation\n{split}1|{split}|anna|SUN\n"
        (project / "transcripts" / f"{split}.csv").write_text(rows)
    commands = [
        command for command in bash_commands(*PAGES) if "prepare_data.py extract" in command
    ]
    assert commands
    for command in commands:
        ended = run(command, server)
        assert ended.returncode == 0, f"{command}\n{ended.stdout}\n{ended.stderr}"
        assert (project / shlex.split(command)[-1] / "corpus.json").is_file()

    clip = cv2.VideoWriter(
        str(project / "videos/clip.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 25, (400, 512)
    )
    for number in range(8):
        clip.write(np.ascontiguousarray(astronaut()[:, 4 * number : 4 * number + 400, ::-1]))
    clip.release()
    for needed in (
        "prepare_data.py import --format npy",
        "train_teacher.py --data_dir data/corpora/mine --output_dir",
    ):
        (command,) = (command for command in bash_commands(*PAGES) if needed in command)
        assert run(command, server).returncode == 0, command
    commands = [command for command in bash_commands(*PAGES) if "transcribe.py" in command]
    assert len(commands) == 2
    for command in commands:
        ended = run(command, server)
        assert ended.returncode == 0, f"{command}\n{ended.stdout}\n{ended.stderr}"
    assert (project / "drawn.mp4").stat().st_size > 1000
    assert {path.name for path in (project / "elan").iterdir()} == {
        "clip.eaf",
        "dev.eaf",
        "train.eaf",
    }


def test_the_readme_has_the_two_training_commands_unchanged():
    commands = bash_commands("README.md")
    assert (
        "python train_teacher.py --batch_size 8 --learning_rate 0.0003 --dropout 0.3 --epochs 150 "
        "--output_dir checkpoints/teacher_v1" in commands
    )
    assert (
        "python train_teacher.py --resume checkpoints/teacher/best_model.pth "
        "--learning_rate 0.00005 --epochs 50" in commands
    )


def test_the_readme_is_short():
    words = len((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert words <= MAX_README_WORDS


def test_the_picture_of_the_readme_is_small():
    (picture,) = re.findall(
        r"!\[[^]]+\]\(([^)]+)\)", (ROOT / "README.md").read_text(encoding="utf-8")
    )
    assert picture == "docs/report.png"
    assert (ROOT / picture).stat().st_size < MAX_PICTURE_BYTES


def test_the_file_map_of_the_readme_names_every_folder_and_every_shared_file():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for init in [*ROOT.glob("*/__init__.py"), *ROOT.glob("data/*/__init__.py")]:
        assert f"{init.parent.name}/" in text, init.parent
    for file in ROOT.glob("*.py"):
        assert file.name in text, file.name


def test_no_figure_is_left_to_be_filled_in():
    assert "@@" not in (ROOT / "README.md").read_text(encoding="utf-8")


def test_ci_runs_what_the_readme_says():
    text = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "make test" in text and "make lint" in text
    assert "make test" in bash_commands("README.md")
