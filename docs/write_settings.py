"""Write docs/settings.md: every setting of a training, from its declaration.

python docs/write_settings.py
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from distillation.config import StudentConfig  # noqa: E402
from settings import SettingsFile, declarations, sections_of  # noqa: E402
from training.config import Config  # noqa: E402

PAGE = ROOT / "docs" / "settings.md"
HEAD = """# Settings

Every setting of `train_teacher.py` and `distill_student.py`. A setting with an option can be given
on the command line; all can be given in a YAML file (`--config`, see `configs/`). Precedence:
default < checkpoint (with `--resume`) < YAML < command line. The `config.yaml` of a run has the
values of all.

A YAML file names only what it changes. A part of `configs/finetune.yaml`:

```yaml
training:
  epochs: 50
  learning_rate: 0.00005
augmentation:
  mix: 0.0
```

```
python train_teacher.py --config configs/finetune.yaml --resume checkpoints/mine/best_model.pth
```

This page is made from the declarations by `python docs/write_settings.py`; a test compares them.
"""
TITLES = {
    "training": "How a run trains (training/config.py).",
    "model": "Sizes of the teacher (models/config.py).",
    "augmentation": "What is drawn for each train sentence (data/augmentation/config.py). Lengths "
    "are in shoulder widths, angles in degrees.",
    "distillation": "What a student learns from (distillation/config.py).",
}


def section_lines(config: SettingsFile, section: str, title: str) -> list[str]:
    """The table of one section of a configuration."""
    lines = [f"\n## `{section}`\n", f"{title}\n", "| key | option | default | allowed | meaning |"]
    lines.append("|---|---|---|---|---|")
    settings = getattr(config, section)
    for key, declared in declarations(sections_of(type(config))[section]).items():
        option = f"`--{declared.option or key}`" if declared.group else ""
        value = getattr(settings, key)
        default = list(value) if isinstance(value, tuple) else "none" if value is None else value
        limited = declared.choices or any(
            limit is not None
            for limit in (declared.low, declared.high, declared.above, declared.below)
        )
        allowed = declared.expected if limited else ""
        meaning = declared.help
        lines.append(f"| `{key}` | {option} | {default} | {allowed} | {meaning} |")
    return lines


def page() -> str:
    """The whole page."""
    teacher, student = Config(), StudentConfig()
    lines = [HEAD.rstrip()]
    for section in ("training", "model", "augmentation"):
        lines += section_lines(teacher, section, TITLES[section])
    lines += section_lines(student, "distillation", TITLES["distillation"])
    lines += section_lines(student, "model", "Sizes of the student (models/student_config.py).")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
