"""Every command in docs/phoenix2014.md runs, in the page's order, on a miniature of the corpus's
layout."""

import importlib
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml

import train_teacher
from data.corpus import Corpus
from data.sources.holistic import missing_library

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "phoenix2014.md"
IDS = {
    "train": [f"01April_2010_heute-{n}" for n in range(3)],
    "dev": ["02May_2010_heute-0"],
    "test": ["03June_2010-5"],
}
ANNOTATIONS = {"train": "loc-REGEN  REGEN SONNE", "dev": "REGEN", "test": "SONNE REGEN"}
# What is put behind a command, by how it begins, so that it ends in seconds. One that is not listed
# fails the test.
MADE_SMALL = {
    "python prepare_data.py extract": "--workers 1",
    "python prepare_data.py check": "",
    "python train_teacher.py --config configs/phoenix2014.yaml": "--epochs 1 --device cpu",
    "python train_teacher.py --config configs/phoenix2014.yaml --dry_run": "--device cpu",
    "python train_teacher.py --resume auto": "",
    "python train_teacher.py --config configs/finetune.yaml": "--epochs 1",
    "python evaluate.py": "--device cpu",
    "python transcribe.py": "--device cpu",
    "sctk sclite": "",
    "ln -s": "",
}


def page_commands() -> list[str]:
    """The lines of the page's bash blocks."""
    blocks = re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [line.strip() for block in blocks for line in block.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def mediapipe_is_there() -> str | None:
    """Why footage cannot be read here, None where it can."""
    try:
        import cv2  # noqa: F401
        import mediapipe  # noqa: F401
    except ImportError as error:
        return missing_library(error)
    return None


@pytest.fixture(scope="module")
def project(tmp_path_factory, make_corpus, mediapipe_is_there) -> Path:
    """A folder with the configurations, made to ask for a small model, and beside it the archive as
    it unpacks.

    Where MediaPipe cannot be used the corpus that extraction would make is put there.
    """
    root = tmp_path_factory.mktemp("phoenix")
    copy = root / "my project"
    shutil.copytree(ROOT / "configs", copy / "configs")
    small = {
        "pose_width": 8,
        "face_width": 8,
        "hand_width": 8,
        "fusion_width": 16,
        "conformer_width": 8,
    }
    config = copy / "configs" / "phoenix2014.yaml"
    settings = yaml.safe_load(config.read_text())
    settings["model"] |= {**small, "inception_widths": [16, 16]}
    config.write_text(yaml.safe_dump(settings))
    release = root / "unpacked" / "phoenix2014-release" / "phoenix-2014-multisigner"
    manual = release / "annotations" / "manual"
    manual.mkdir(parents=True)
    for split, ids in IDS.items():
        rows = [
            f"{id}|{id}/1/*.png|Signer0{n}|{ANNOTATIONS[split]}"
            for n, id in enumerate(ids, start=1)
        ]
        (manual / f"{split}.corpus.csv").write_text(
            "\n".join(["id|folder|signer|annotation", *rows, ""])
        )
        if mediapipe_is_there is None:
            for number, id in enumerate(ids):
                start = 5 * number + {"train": 0, "dev": 20, "test": 30}[split]
                _write_frames(
                    release / "features" / "fullFrame-210x260px" / split / id / "1", id, start
                )
    if mediapipe_is_there is not None:
        sentences = {
            split: [ANNOTATIONS[split].replace("loc-REGEN ", "")] * len(ids)
            for split, ids in IDS.items()
        }
        make_corpus(copy / "data" / "corpora" / "phoenix2014", sentences)
    return copy


def _write_frames(folder: Path, id: str, start: int) -> None:
    """13 frames of scikit-image's astronaut moving to the side, of the corpus's size and with its
    names."""
    import cv2
    from skimage.data import astronaut

    folder.mkdir(parents=True)
    for number in range(13):
        left = start + 3 * number
        picture = np.ascontiguousarray(astronaut()[:, left : left + 413, ::-1])
        cv2.imwrite(str(folder / f"{id}_fn{number:06d}-0.png"), cv2.resize(picture, (210, 260)))


def run(words: list[str]) -> int:
    """The exit code of a command; a script runs in this process, which saves it the start."""
    if words[0] == "python":
        return importlib.import_module(words[1].removesuffix(".py")).main(words[2:])
    return subprocess.run(words, stdout=subprocess.DEVNULL, timeout=60).returncode


def test_the_page_leads_from_the_archive_to_a_test_wer(project, mediapipe_is_there, monkeypatch):
    monkeypatch.chdir(project)
    ran = []
    for command in page_commands():
        beginnings = [beginning for beginning in MADE_SMALL if command.startswith(beginning)]
        assert beginnings, f"a command without a test: {command}"
        reads_footage = "extract" in command or "transcribe.py" in command
        if (reads_footage and mediapipe_is_there is not None) or (
            command[:4] == "sctk" and not shutil.which("sctk")
        ):
            continue
        command = command.replace("/where/you/unpacked", "../unpacked").replace(
            "SENTENCE", IDS["test"][0]
        )
        words = shlex.split(f"{command} {MADE_SMALL[max(beginnings, key=len)]}")
        assert run(words) == 0, command
        if "--dry_run" in command:
            assert not Path("checkpoints/phoenix2014").exists()
        ran.append(words[1])
    assert {"prepare_data.py", "train_teacher.py", "evaluate.py"} <= set(ran)
    result = (
        project
        / "checkpoints/phoenix2014_finetune/evaluation_test_adaptive_phoenix2014/result.json"
    )
    facts = json.loads(result.read_text())
    assert (facts["split"], facts["sentences"], facts["reference_glosses"]) == ("test", 1, 2)
    assert facts["scoring"] == "phoenix2014" and 0 <= facts["wer"] <= 1000
    assert (project / "checkpoints/phoenix2014/best_model.pth").is_file()


def test_extraction_made_the_corpus_that_the_page_describes(project, mediapipe_is_there):
    if mediapipe_is_there is not None:
        pytest.skip(mediapipe_is_there)
    corpus = Corpus(project / "data/corpora/phoenix2014")
    assert corpus.fps == 25 and corpus.aspect_ratio == 210 / 260
    assert {name: len(split) for name, split in corpus.splits.items()} == {
        "train": 3,
        "dev": 1,
        "test": 1,
    }
    assert corpus.split("train").sentences[0].glosses == ("REGEN", "SONNE")  # cleaned up
    assert corpus.split("test").lengths.tolist() == [13]
    assert (project / "phoenix2014.html").is_file()
    assert (project / "sentence.mp4").stat().st_size > 0


def test_the_bytes_a_frame_takes(tiny_corpus):
    """The page's 3,262."""
    corpus = Corpus(tiny_corpus)
    size = sum(
        (tiny_corpus / f"train.{name}.npy").stat().st_size - 128
        for name in ("landmarks", "detected")
    )
    assert size == 3262 * int(corpus.split("train").offsets[-1])
    assert "3,262 bytes" in PAGE.read_text(encoding="utf-8").replace("\n", " ")


def test_no_figure_is_claimed():
    assert "No WER on PHOENIX-2014 is claimed" in PAGE.read_text(encoding="utf-8")


def test_the_options_of_the_page_on_speed_and_of_the_script_s_help_are_known():
    texts = [(ROOT / "docs" / "speed.md").read_text(encoding="utf-8"), train_teacher.__doc__]
    commands = [
        line
        for text in texts
        for line in re.findall(r"^ *(?:python|torchrun .*?) (train_teacher.py .*)$", text, re.M)
    ]
    assert len(commands) > 6
    for command in commands:
        train_teacher.make_parser().parse_args(shlex.split(command)[1:])
