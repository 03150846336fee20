"""Train a small student to imitate a teacher, for real time and small devices. By default it has 3.4 M parameters, less than a
tenth of the default teacher's; for smaller teachers, configs/student_demo.yaml has 0.3 M.

    python distill_student.py --teacher checkpoints/teacher/best_model.pth
    python distill_student.py --teacher checkpoints/demo/best_model.pth --config configs/student_demo.yaml
    python distill_student.py --teacher checkpoints/teacher/best_model.pth --causal --output_dir checkpoints/streaming

Learn from the files of export_soft_targets.py; learn without a teacher, to compare; continue an
interrupted run:
    python distill_student.py --soft_targets soft_targets
    python distill_student.py --soft_weight 0 --data_dir data/corpora/mine --output_dir checkpoints/untaught
    python distill_student.py --resume auto --output_dir checkpoints/student

The loss is soft_weight * T^2 KL(teacher || student at temperature T, glosses without blank as in VAC) + ctc_weight * the loss
of train_teacher.py. evaluate.py, transcribe.py and export_model.py also accept a student's
checkpoint.
Settings: default < checkpoint (with --resume) < YAML (--config) < command line. docs/settings.md lists all of them.
Exit codes: 0 done, 2 usage, 3 data, 4 diverged, 130 / 143 / 129 stopped by Ctrl-C / SIGTERM / a closed
terminal, with a checkpoint to resume from.
"""

from collections.abc import Sequence

from command_line import Parser, add_config_options, add_options, parse_training_command
from distillation.config import StudentConfig
from errors import run_script
from settings import options_of
from training.config import TrainingCommand

# --compile is for teachers.
OPTIONS = {option for option, *_ in options_of(StudentConfig)} - {"compile"}

TEXTS = {"data_dir": {"default_text": "that of the teacher; without a teacher, the built-in one"}}


def make_parser() -> Parser:
    parser = Parser(prog="distill_student.py", description=__doc__).add_version()
    add_config_options(parser, StudentConfig(), OPTIONS, TEXTS)
    add_options(parser, TrainingCommand)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    command, given = parse_training_command(make_parser(), argv, TrainingCommand, StudentConfig)

    from distillation.run import train_student

    return train_student(command, given)


if __name__ == "__main__":
    run_script(main, to_its_end=True)
