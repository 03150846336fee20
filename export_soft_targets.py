"""Write the soft targets of a teacher: its log-probabilities of every sentence and step, for a student to learn from.
They are those of its sequence head alone, as a student of distill_student.py --teacher gets them.

    python export_soft_targets.py --checkpoint checkpoints/teacher/best_model.pth --output_dir soft_targets
    python export_soft_targets.py --checkpoint checkpoints/teacher/best_model.pth --views 8 --output_dir soft_targets
    python distill_student.py --soft_targets soft_targets

The stored values are log softmax(logits / temperature) in float16, one row for every four frames.
If the command was stopped, repeat it: it continues. distill_student.py --teacher does not need
these files: it runs the teacher beside the student.

Exit codes: 0 done, 2 usage, 3 data.
"""

from collections.abc import Sequence

from command_line import Parser, add_options, parse_request
from distillation.config import SoftTargetExportRequest
from errors import run_script


def make_parser() -> Parser:
    parser = Parser(prog="export_soft_targets.py", description=__doc__).add_version()
    add_options(parser, SoftTargetExportRequest)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    request = parse_request(make_parser(), argv, SoftTargetExportRequest)

    from distillation.export import export_soft_targets

    export_soft_targets(request)
    return 0


if __name__ == "__main__":
    run_script(main, to_its_end=True)
