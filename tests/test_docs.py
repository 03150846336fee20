"""The pages in docs/ are right: every command in docs/phoenix2014.md runs, on a miniature of the
corpus's layout; options, files and links of all pages exist. The commands of docs/data.md and
docs/speed.md run in test_readme.py, those of other corpora in test_docs_corpora.py."""

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
from command_line import parse_request
from data.corpus import Corpus
from inference.requests import EvaluationRequest, TranscriptionRequest
from tests.mediapipe_support import why_no_tracking

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "phoenix2014.md"
MADE_BY_A_RUN = {"config.yaml"}
IDS = {
    "train": [f"01April_2010_heute-{n}" for n in range(3)],
    "dev": ["02May_2010_heute-0"],
    "test": ["03June_2010-5"],
}
ANNOTATIONS = {"train": "loc-REGEN  REGEN SONNE", "dev": "REGEN", "test": "SONNE REGEN"}
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "checkpoints" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
# Options that make a command end in seconds, by the beginning of the command. A command that is not
# listed here fails the test.
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


def page_commands(page: Path) -> list[str]:
    """The lines of the bash blocks of a page."""
    blocks = re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [line.strip() for block in blocks for line in block.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def why_no_videos() -> str | None:
    """None if videos can be read here; if not, the reason."""
    return why_no_tracking()


@pytest.fixture(scope="module")
def project(tmp_path_factory, make_corpus, why_no_videos) -> Path:
    """A folder with the configurations, changed to a small model, beside the unpacked archive.

    If MediaPipe cannot be used, the corpus that extraction would make is there already.
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
        if why_no_videos is None:
            for number, id in enumerate(ids):
                start = 5 * number + {"train": 0, "dev": 20, "test": 30}[split]
                _write_frames(
                    release / "features" / "fullFrame-210x260px" / split / id / "1", id, start
                )
    if why_no_videos is not None:
        sentences = {
            split: [ANNOTATIONS[split].replace("loc-REGEN ", "")] * len(ids)
            for split, ids in IDS.items()
        }
        make_corpus(copy / "data" / "corpora" / "phoenix2014", sentences)
    return copy


def _write_frames(folder: Path, id: str, start: int) -> None:
    """13 frames in which scikit-image's astronaut moves to the side. Size and file names are those
    of PHOENIX-2014."""
    import cv2
    from skimage.data import astronaut

    folder.mkdir(parents=True)
    for number in range(13):
        left = start + 3 * number
        picture = np.ascontiguousarray(astronaut()[:, left : left + 413, ::-1])
        cv2.imwrite(str(folder / f"{id}_fn{number:06d}-0.png"), cv2.resize(picture, (210, 260)))


def run(words: list[str]) -> int:
    """The exit code of a command. A script runs in this process, which saves the time to start
    another one."""
    if words[0] == "python":
        return importlib.import_module(words[1].removesuffix(".py")).main(words[2:])
    return subprocess.run(words, stdout=subprocess.DEVNULL, timeout=60).returncode


def test_the_page_leads_from_the_archive_to_a_test_wer(project, why_no_videos, monkeypatch):
    monkeypatch.chdir(project)
    ran = []
    for command in page_commands(PAGE):
        beginnings = [beginning for beginning in MADE_SMALL if command.startswith(beginning)]
        assert beginnings, f"a command without a test: {command}"
        reads_footage = "extract" in command or "transcribe.py" in command
        if (reads_footage and why_no_videos is not None) or (
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


def test_extraction_made_the_corpus_that_the_page_describes(project, why_no_videos):
    if why_no_videos is not None:
        pytest.skip(why_no_videos)
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


def test_a_frame_takes_as_many_bytes_as_the_pages_claim(tiny_corpus):
    """docs/phoenix2014.md and docs/scaling_calculated.md calculate disk space from it."""
    corpus = Corpus(tiny_corpus)
    size = sum(
        (tiny_corpus / f"train.{name}.npy").stat().st_size - 128
        for name in ("landmarks", "detected")
    )
    assert size == 3262 * int(corpus.split("train").offsets[-1])
    for page in (PAGE, ROOT / "docs" / "scaling_calculated.md"):
        assert "3,262 bytes" in page.read_text(encoding="utf-8").replace("\n", " ")


def test_no_wer_on_phoenix_is_claimed():
    for page in (PAGE, ROOT / "docs" / "results.md", ROOT / "README.md"):
        text = page.read_text(encoding="utf-8").replace("\n", " ")
        assert "No WER on PHOENIX-2014 is claimed" in text, page


def test_the_training_commands_of_pages_and_help_have_known_options():
    pages = [ROOT / "docs" / name for name in ("speed.md", "scaling.md", "settings.md")]
    texts = [*(page.read_text(encoding="utf-8") for page in pages), train_teacher.__doc__]
    commands = [
        line.removesuffix("…")
        for text in texts
        for line in re.findall(r"^ *(?:python|torchrun .*?) (train_teacher.py .*)$", text, re.M)
    ]
    assert len(commands) > 9
    for command in commands:
        train_teacher.make_parser().parse_args(shlex.split(command)[1:])


def test_the_job_script_continues_its_fine_tune(make_settings, execute_run, tmp_path, monkeypatch):
    """Started three times: the second and third time, the fine-tune continues."""
    execute_run(make_settings(tmp_path / "checkpoints" / "mine", epochs=1))
    text = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```bash\n(if .*?)```", text, flags=re.DOTALL)
    # The shell chooses the command, which then runs in this process
    shell = f"python() {{ printf '%s\\n' \"$@\"; }}\n{block.replace('--epochs 50', '--epochs 1')}"
    monkeypatch.chdir(tmp_path)
    starts = []
    for _ in range(3):
        done = subprocess.run(["bash", "-ec", shell], capture_output=True, text=True, check=True)
        script, *options = done.stdout.splitlines()
        assert script == "train_teacher.py" and train_teacher.main(options) == 0
        environment = json.loads(Path("checkpoints/mine_tuned/environment.json").read_text())
        starts.append(environment["sessions"][-1]["start"].split()[0])
    assert starts == ["fine-tune", "continue", "continue"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_files_that_a_page_names_exist(page):
    """Links, and paths of Python files, YAML files and shell scripts. A path may start at the
    project's folder or at the page's folder."""
    text = page.read_text(encoding="utf-8")
    if page.name == "code_map.md":  # its tables are tested below
        text = re.sub(r"^\| `[^`]+` \|", "|", text, flags=re.M)
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
    paths = re.findall(r"(?<![\w./…-])[\w/]+\.(?:py|yaml|sh)\b", text)
    assert links or paths
    for path in [*links, *paths]:
        exists = (ROOT / path).exists() or (page.parent / path).exists()
        assert exists or path in MADE_BY_A_RUN, path


def anchors_of(page: Path) -> set[str]:
    """The anchors of the headings of a page, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.*)$", text, flags=re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "CHANGELOG.md"], ids=lambda page: str(page.relative_to(ROOT))
)
def test_the_headings_that_a_page_links_to_exist(page):
    """Of the same page, and of other pages."""
    links = re.findall(r"\]\(([\w/.]*)#([^)]+)\)", page.read_text(encoding="utf-8"))
    for other, anchor in links:
        target = page.parent / other if other else page
        assert anchor in anchors_of(target), f"{other}#{anchor}"


def test_the_code_map_names_every_file():
    text = (ROOT / "docs" / "code_map.md").read_text(encoding="utf-8")
    for init in ROOT.glob("[a-z]*/**/__init__.py"):
        folder = init.parent.relative_to(ROOT)
        if folder.parts[0] in ("tests", "benchmarks"):
            continue
        section = text.split(f"## `{folder}/`")[1].split("\n## ")[0]
        listed = set(re.findall(r"^\| `([\w/.]+)` \|", section, flags=re.M))
        there = {path.name for path in init.parent.glob("*.py")} - {"__init__.py"}
        assert listed == there, folder


def test_prose_wraps_at_100():
    for page in PAGES:
        if page.name == "settings.md":  # written by docs/write_settings.py
            continue
        code = False
        for line in page.read_text(encoding="utf-8").splitlines():
            code ^= line.startswith("```")
            assert code or len(line) <= 100 or line.startswith(("|", "```")), f"{page}: {line}"


def test_the_commands_of_the_evaluation_page_have_known_options():
    text = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    commands = re.findall(r"^python (evaluate|transcribe)\.py (.*)$", text, re.M)
    assert len(commands) == text.count("\npython ") == 4
    for script, words in commands:
        module = importlib.import_module(script)
        request = {"evaluate": EvaluationRequest, "transcribe": TranscriptionRequest}[script]
        parse_request(module.make_parser(), shlex.split(words), request)
