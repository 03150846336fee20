"""The parts of the requirements: each package is pinned once, and training needs one part alone."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
# The modules of requirements/video.txt and requirements/export.txt. protobuf and fonttools are not
# listed: TensorBoard and matplotlib, which training uses, bring them along.
NOT_FOR_TRAINING = (
    "mediapipe",
    "cv2",
    "pose_format",
    "pyarrow",
    "pympi",
    "onnx",
    "onnxruntime",
)


def pinned_packages(path: Path) -> list[str]:
    """The lines `package==version` of a requirements file and of the files it includes."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        line = line.split("#")[0].strip()
        if line.startswith("-r "):
            lines += pinned_packages(path.parent / line.removeprefix("-r "))
        elif line:
            lines.append(line)
    return lines


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
def test_every_package_is_pinned_once(python):
    lines = [Requirement(line) for line in pinned_packages(ROOT / "requirements-dev.txt")]
    of_python = [
        line
        for line in lines
        if line.marker is None or line.marker.evaluate({"python_version": python})
    ]
    pinned = {line.name.lower(): str(line.specifier) for line in of_python}
    assert len(pinned) == len(of_python)
    assert all(re.fullmatch(r"==[\w.]+", version) for version in pinned.values()), pinned
    assert {"torch", "mediapipe", "onnxruntime", "pytest"} <= set(pinned)
    old = python in ("3.11", "3.12")
    assert pinned["mediapipe"] == ("==0.10.14" if old else "==1.2.3")
    assert ("flashlight-text" in pinned) == old


def test_requirements_txt_is_made_of_all_parts():
    parts = sorted((ROOT / "requirements").glob("*.txt"))
    assert len(parts) == 3
    packages = [line for part in parts for line in pinned_packages(part)]
    assert sorted(packages) == sorted(pinned_packages(ROOT / "requirements.txt"))


def test_training_and_evaluation_load_nothing_of_the_other_parts(tiny_settings, tmp_path):
    """A cluster that trains from landmarks installs requirements/train.txt alone. Here the modules
    of the other parts cannot be imported; a training and an evaluation still pass."""
    config = tmp_path / "tiny.yaml"
    tiny_settings["training"]["epochs"] = 1
    config.write_text(yaml.safe_dump(tiny_settings), encoding="utf-8")
    code = f"""
import json, sys
blocked = {NOT_FOR_TRAINING!r}
for name in blocked:
    sys.modules[name] = None  # an import of it raises ImportError
import evaluate, train_teacher
assert train_teacher.main(["--config", {str(config)!r}]) == 0
checkpoint = {str(tmp_path / "run" / "best_model.pth")!r}
assert evaluate.main(["--checkpoint", checkpoint, "--device", "cpu"]) == 0
loaded = [name for name, module in sys.modules.items() if module and name.split(".")[0] in blocked]
print(json.dumps(loaded))
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout.splitlines()[-1]) == []
    assert (tmp_path / "run" / "evaluation_dev_adaptive" / "result.json").is_file()
