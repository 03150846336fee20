"""The commands of docs/isharah.md, docs/other_corpora.md and docs/boston104.md run, on miniatures
of the corpora's layouts."""

import csv
import json
import shlex
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml

from data.corpus import Corpus
from data.landmarks import SUBSETS
from data.sources.corpora.isharah import POINT_INDICES
from tests.data.isharah_files import in_pixels, signer_with_lips, write_lists, write_pickle
from tests.data.sources.corpora.test_boston104 import write_tables
from tests.data.sources.test_pose_files import write_pose
from tests.mediapipe_support import why_no_tracking
from tests.test_docs import ROOT, _write_frames, page_commands, run

# Options that make a command end in seconds, by its beginning
MADE_SMALL = {
    "python prepare_data.py": "",
    "python prepare_data.py extract": "--workers 1",
    "python train_teacher.py": "--epochs 1 --device cpu",
    "python evaluate.py": "--device cpu",
    "python transcribe.py": "--device cpu",
    "python -m zipfile": "",
    "cp": "",
    "ln -s": "",
}
ISHARAH = {
    "SI": {
        "train": ["00_0001|سوال هو", "00_0002|هو معلم لغه", "01_0001|سوال هو", "03_0002|معلم هو"],
        "dev": ["02_0001|سوال هو", "02_0002|هو معلم لغه"],
        "test": ["08_0001", "08_0002", "10_0001"],
    },
    "US": {
        "train": ["00_0001|سوال هو", "02_0002|هو معلم لغه", "01_0001|سوال هو", "03_0002|معلم هو"],
        "dev": ["00_0401|هو سوال", "01_0401|هو سوال"],
    },
    "SI_pose": {"train": ["00_0001|سوال هو"], "dev": ["02_0001|سوال هو"]},
}


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """The configurations, changed to a small model, in a folder whose name has a space."""
    copy = tmp_path / "my project"
    shutil.copytree(ROOT / "configs", copy / "configs")
    widths = ("pose_width", "face_width", "hand_width", "conformer_width")
    small = dict.fromkeys(widths, 8) | {"fusion_width": 16, "inception_widths": [16, 16]}
    for path in (copy / "configs").glob("*.yaml"):
        settings = yaml.safe_load(path.read_text())
        if path.stem in ("isharah", "isharah_spliced", "phoenix2014", "demo"):
            settings["model"] |= small
            path.write_text(yaml.safe_dump(settings))
    monkeypatch.chdir(copy)
    return copy


def run_page(name: str, replaced: dict[str, str] | None = None) -> list[str]:
    """Run the commands of a page, and return them."""
    commands = page_commands(ROOT / "docs" / name)
    for command in commands:
        beginnings = [beginning for beginning in MADE_SMALL if command.startswith(beginning)]
        assert beginnings, f"a command without a test: {command}"
        for old, new in (replaced or {}).items():
            command = command.replace(old, new)
        words = shlex.split(f"{command} {MADE_SMALL[max(beginnings, key=len)]}")
        if words[:3] == ["python", "-m", "zipfile"]:
            zipfile.main(words[3:])
        else:
            assert run(words) == 0, command
    return commands


def recordings(lists, seed: int = 0) -> dict[str, np.ndarray]:
    ids = [row.split("|")[0] for rows in lists.values() for row in rows]
    return {id: in_pixels(signer_with_lips(24, seed + n)) for n, id in enumerate(ids)}


def test_isharah_from_the_download_to_a_submission(project):
    for task, lists in ISHARAH.items():
        write_lists(project / "isharah" / task, lists)
    for number, task in enumerate(("SI", "US")):
        made = recordings(ISHARAH[task], 50 * number)
        write_pickle(project / f"isharah/{task.lower()}.pkl", made, protocol=4 + number)
    for split, rows in ISHARAH["SI_pose"].items():
        (project / "isharah/poses" / split).mkdir(parents=True)
        for row in rows:
            path = project / "isharah/poses" / split / f"{row.split('|')[0]}.pose"
            write_pose(path, signer_with_lips(24, len(split)), size=(270, 480))
    run_page("isharah.md")

    corpus = Corpus("data/corpora/isharah_si")
    assert [one.signer for one in corpus.split("train").sentences] == ["00", "00", "01", "03"]
    assert [one.id for one in corpus.split("test").sentences] == ISHARAH["SI"]["test"]
    unseen = {one.glosses for one in Corpus("data/corpora/isharah_us").split("train").sentences}
    assert ("هو", "سوال") not in unseen

    run_folder = project / "checkpoints/isharah_si"
    result = json.loads((run_folder / "evaluation_dev_adaptive/result.json").read_text())
    assert (result["sentences"], result["reference_glosses"], result["scoring"]) == (2, 5, "plain")
    page = (run_folder / "evaluation_dev_adaptive/report.html").read_text(encoding="utf-8")
    assert '<div class="pairs" dir="rtl">' in page and 'dir="ltr"' not in page
    assert "<bdi>سوال هو</bdi>" in page
    with zipfile.ZipFile("test.zip") as archive:
        assert archive.namelist() == ["test.csv"]
        rows = list(csv.reader(archive.read("test.csv").decode("utf-8").splitlines()))
    assert rows[0] == ["id", "gloss"]
    assert [row[0] for row in rows[1:]] == ISHARAH["SI"]["test"]
    assert {gloss for _, text in rows[1:] for gloss in text.split()} <= {
        "سوال",
        "هو",
        "معلم",
        "لغه",
    }
    skeletons = Path("isharah_si.html").read_text(encoding="utf-8")
    assert '<p class="glosses" dir="auto">سوال هو</p>' in skeletons
    assert Path("02_0001.eaf").read_text(encoding="utf-8").startswith("<?xml")


def test_the_model_of_isharah_reads_only_points_that_the_pickles_have():
    """So its inputs from a pickle and from complete landmarks are the same."""
    config = yaml.safe_load((ROOT / "configs/isharah.yaml").read_text())["model"]
    read = {*SUBSETS["arms"], *SUBSETS["left_hand"], *SUBSETS["right_hand"]}
    read |= {*SUBSETS[config["face_subset"]]}
    assert read <= {*POINT_INDICES.tolist()} and config["depth"] == "none"
    # Relative positions would be measured from a point of the face that the pickles lack
    assert config["face_blocks"] == "position velocity"


@pytest.fixture
def footage():
    """Skips the test where videos cannot be read."""
    if (reason := why_no_tracking()) is not None:
        pytest.skip(reason)
    pytest.importorskip("skimage")


def test_phoenix2014t_and_csl_daily(project, footage):
    phoenix = project.parent / "unpacked/PHOENIX-2014-T-release-v3/PHOENIX-2014-T"
    (phoenix / "annotations/manual").mkdir(parents=True)
    frames = phoenix / "features/fullFrame-210x260px"
    for number, (split, names) in enumerate(
        {"train": ["a-1", "a-2"], "dev": ["b-1"], "test": ["c-1"]}.items()
    ):
        rows = [
            f"{name}|{name}/1/*.png|-1|-1|Signer0{number}|REGEN  SONNE|Regen und Sonne ."
            for name in names
        ]
        (phoenix / f"annotations/manual/PHOENIX-2014-T.{split}.corpus.csv").write_text(
            "\n".join(["name|video|start|end|speaker|orth|translation", *rows, ""])
        )
        for place, name in enumerate(names):
            _write_frames(frames / split / name, "images", 5 * place + 15 * number)
    csl = project.parent / "unpacked/CSL-Daily"
    (csl / "sentence_label").mkdir(parents=True)
    splits = {"S000020_P0001_T00": "train", "S000021_P0002_T00": "dev", "S000022_P0001_T01": "test"}
    rows = [
        f"{n}|{name}|13|他 今天 高兴|他 今 天 很 高 兴 。|他 今天 很 高兴 。|r t d a w"
        for n, name in enumerate(splits)
    ]
    (csl / "sentence_label/video_map.txt").write_text(
        "\n".join(["index|name|length|gloss|char|word|postag", *rows, ""]), encoding="utf-8"
    )
    (csl / "sentence_label/split_1.txt").write_text(
        "\n".join(["name|split", *(f"{name}|{split}" for name, split in splits.items()), ""])
    )
    for number, name in enumerate(splits):
        folder = csl / "sentence_frames-512x512/frames_512x512" / name
        _write_frames(folder, "f", 7 * number)
        for path in folder.iterdir():
            path.rename(path.with_suffix(".jpg"))  # what a reader of images does not mind

    run_page("other_corpora.md", {"/where/you/unpacked": "../unpacked"})

    corpus = Corpus("data/corpora/phoenix2014t")
    assert corpus.fps == 25 and {n: len(s) for n, s in corpus.splits.items()} == {
        "train": 2,
        "dev": 1,
        "test": 1,
    }
    (sentence,) = corpus.split("test").sentences
    assert (sentence.signer, sentence.glosses, sentence.frames) == (
        "Signer02",
        ("REGEN", "SONNE"),
        13,
    )
    corpus = Corpus("data/corpora/csl_daily")
    assert corpus.fps == 30
    (sentence,) = corpus.split("test").sentences
    assert (sentence.id, sentence.signer) == ("S000022_P0001_T01", "P0001")
    assert sentence.glosses == ("他", "今天", "高兴"), "words, not characters"
    results = "checkpoints/csl_daily/evaluation_test_adaptive/result.json"
    assert json.loads(Path(results).read_text())["reference_glosses"] == 3


def test_boston104(project):
    write_tables(project / "boston104", videos=(1, 2, 10), frames=24)
    run_page("boston104.md", {"--dev 0.1": "--dev 0.5"})
    corpus = Corpus("data/corpora/boston104")
    assert {name: len(split) for name, split in corpus.splits.items()} == {
        "train": 1,
        "dev": 1,
        "test": 1,
    }
    results = "checkpoints/boston104/evaluation_test_adaptive/result.json"
    assert json.loads(Path(results).read_text())["sentences"] == 1
