"""Write what a teacher says of each sentence, step by step, for a student to learn from: its soft
targets.

    python export_soft_targets.py --checkpoint checkpoints/teacher/best_model.pth --output_dir soft_targets
    python export_soft_targets.py --checkpoint checkpoints/teacher/best_model.pth --views 8 --top_k 32 --output_dir soft_targets
    python distill_student.py --soft_targets soft_targets

Stored are log softmax(logits / temperature) in float16, one row every four frames. Killed, the same
command goes on where it was. distill_student.py --teacher needs no such files: it runs the teacher
beside the student. Exit codes: 0 done, 2 usage, 3 data.
"""

from pathlib import Path

from command_line import Parser
from errors import run_script


def make_parser() -> Parser:
    parser = Parser(prog="export_soft_targets.py", description=__doc__)
    source = parser.add_argument_group("what is read")
    source.add_argument(
        "--checkpoint", type=Path, required=True, help="best_model.pth of the teacher"
    )
    source.add_argument(
        "--data_dir", help="corpus folder (default: the one that the checkpoint was trained on)"
    )
    source.add_argument(
        "--splits",
        nargs="+",
        choices=("train", "dev", "test"),
        default=("train", "dev"),
        help="(default: train dev)",
    )
    source.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    kept = parser.add_argument_group("what is written")
    kept.add_argument(
        "--output_dir",
        type=Path,
        required=True,
        help="folder of the soft targets; must not exist yet",
    )
    kept.add_argument("--temperature", type=float, default=3.0, help="logits are divided by this")
    kept.add_argument(
        "--top_k",
        type=int,
        help="keep the k most probable classes and the sum of the others (default: all classes)",
    )
    kept.add_argument(
        "--views",
        type=int,
        default=0,
        help="augmented views of each train sentence; 0 is the sentence as it is",
    )
    kept.add_argument(
        "--seed", type=int, default=0, help="the augmentation of the views follows from it"
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    options = make_parser().parse_args(argv)

    from distillation.export import SoftTargetExportRequest, export_soft_targets

    export_soft_targets(
        SoftTargetExportRequest(**{**vars(options), "splits": tuple(options.splits)})
    )
    return 0


if __name__ == "__main__":
    run_script(main)
