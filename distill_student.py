"""Train a small student on what a teacher says: at most a tenth of its parameters, for real time
and for shipping.

    python distill_student.py --teacher checkpoints/teacher/best_model.pth
    python distill_student.py --teacher checkpoints/demo/best_model.pth --config configs/student_demo.yaml
    python distill_student.py --teacher checkpoints/teacher/best_model.pth --causal --output_dir checkpoints/streaming

From soft targets that export_soft_targets.py wrote; without any teacher, to compare; and on where a run was stopped:
    python distill_student.py --soft_targets soft_targets
    python distill_student.py --soft_weight 0 --data_dir data/corpora/mine --output_dir checkpoints/untaught
    python distill_student.py --resume auto --output_dir checkpoints/student

The loss is soft_weight * T^2 KL(teacher || student at temperature T, glosses without blank as in
VAC) + ctc_weight * the loss that train_teacher.py uses. evaluate.py and export_model.py read the
checkpoint like a teacher's. Settings: built-in defaults < the checkpoint's (with --resume) < YAML
(--config) < command line. Exit codes: 0 done, 2 usage, 3 data, 4 diverged, 130 / 143 stopped by
Ctrl-C / SIGTERM with a checkpoint to resume from.
"""

import argparse
from pathlib import Path

from command_line import Parser
from distillation.config import StudentConfig
from errors import run_script
from training.config import given_settings, merge_overrides, read_overrides
from training.distributed import connect_processes

HOMES = {  # settings that are not the training section's
    "dropout": ("model", "dropout"),
    "causal": ("model", "causal"),
    "augment": ("augmentation", "enabled"),
    "teacher": ("distillation", "teacher"),
    "soft_targets": ("distillation", "soft_targets"),
    "soft_weight": ("distillation", "soft_weight"),
    "ctc_weight": ("distillation", "ctc_weight"),
    "temperature": ("distillation", "temperature"),
    "soft_blank": ("distillation", "soft_blank"),
}


def make_parser() -> Parser:
    """Options; each one that is not given stays out of the namespace, so that YAML and checkpoint
    can fill it."""
    defaults = StudentConfig()
    parser = Parser(
        prog="distill_student.py", description=__doc__, argument_default=argparse.SUPPRESS
    )

    def setting(group, name: str, kind: type, text: str) -> None:
        section, key = HOMES.get(name, ("training", name))
        group.add_argument(
            f"--{name}",
            type=kind,
            help=f"{text} (default: {getattr(getattr(defaults, section), key)})",
        )

    teaching = parser.add_argument_group("who teaches, and how")
    teaching.add_argument(
        "--teacher", help="a checkpoint, run beside the student on the same augmented sentences"
    )
    teaching.add_argument("--soft_targets", help="a folder of export_soft_targets.py instead")
    setting(teaching, "soft_weight", float, "weight of the teacher's loss; 0: without a teacher")
    setting(teaching, "ctc_weight", float, "weight of the loss without a teacher")
    setting(teaching, "temperature", float, "both sides' logits are divided by this")
    teaching.add_argument(
        "--soft_blank",
        action=argparse.BooleanOptionalAction,
        help="distil the blank, too (default: glosses alone)",
    )
    files = parser.add_argument_group("files")
    files.add_argument(
        "--config",
        type=Path,
        help="YAML file with sections training, model, augmentation, distillation",
    )
    files.add_argument(
        "--data_dir", help="corpus folder (default: the one that the teacher was trained on)"
    )
    setting(files, "output_dir", str, "run folder")
    files.add_argument(
        "--resume",
        help="checkpoint to start from: a path, or last, best or auto in the output folder",
    )
    files.add_argument(
        "--skip_bad",
        action="store_true",
        help="leave out train sentences that are broken or cannot be aligned, listed (default: refuse the corpus)",
    )
    setting(
        files,
        "checkpoint_minutes",
        float,
        "save inside an epoch every so many minutes; 0: only at its end",
    )
    optimisation = parser.add_argument_group("optimisation")
    setting(optimisation, "epochs", int, "passes over the train split")
    setting(optimisation, "batch_size", int, "sentences a batch")
    setting(optimisation, "accumulation_steps", int, "batches an update")
    setting(optimisation, "learning_rate", float, "peak learning rate")
    setting(optimisation, "warmup_epochs", float, "epochs of linear warm-up")
    setting(optimisation, "weight_decay", float, "decay of weight matrices")
    setting(optimisation, "patience", int, "epochs without a better dev WER before stopping early")
    setting(optimisation, "dropout", float, "dropout")
    optimisation.add_argument(
        "--augment",
        action=argparse.BooleanOptionalAction,
        help="augment train sentences (default: on)",
    )
    rest = parser.add_argument_group("model, device, reproducibility")
    rest.add_argument(
        "--causal",
        action=argparse.BooleanOptionalAction,
        help="a student for streaming (default: whole sentences)",
    )
    setting(rest, "precision", str, "number format: auto is bf16 on CUDA, fp32 on the CPU")
    setting(rest, "device", str, "auto, cpu, cuda or cuda:N")
    setting(rest, "seed", int, "weights, order, dropout and augmentation follow from it")
    rest.add_argument(
        "--dry_run", action="store_true", help="print sizes and estimated times; write nothing"
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    options = vars(make_parser().parse_args(argv))
    config = options.pop("config", None)
    resume = options.pop("resume", None)
    dry = options.pop("dry_run", False)

    def settings() -> dict[str, dict]:
        return merge_overrides(
            read_overrides(config, StudentConfig) if config else {}, given_settings(options, HOMES)
        )

    with connect_processes() as ranks:
        with ranks.together():
            overrides = ranks.from_writer(settings)

        from distillation.student_trainer import prepare_student
        from training.resume import plan_start
        from training.run import carry_out
        from training.setup import make_ready

        run = make_ready(
            ranks,
            lambda: plan_start(resume, overrides, StudentConfig()),
            lambda start: prepare_student(start, overrides, ranks),
        )
        return ranks.leave(carry_out(run, dry, resume, "distill_student.py"))


if __name__ == "__main__":
    run_script(main)
