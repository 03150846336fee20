"""Train the I3D teacher on a corpus folder, resume a run, or fine-tune from a checkpoint.

Full training, by default on the built-in corpus of simulated signers:
    python train_teacher.py --batch_size 8 --learning_rate 0.0003 --dropout 0.3 --epochs 150 --output_dir checkpoints/teacher_v1
    python train_teacher.py --data_dir data/corpora/mine --output_dir checkpoints/mine

Go on with an interrupted run exactly where it stopped:
    python train_teacher.py --resume auto --output_dir checkpoints/mine

Fine-tune: whenever a setting that shapes training is given and differs from the checkpoint's:
    python train_teacher.py --resume checkpoints/teacher/best_model.pth --learning_rate 0.00005 --epochs 50

On the four GPUs of a machine (docs/scaling.md: more machines, and what stays the same); --batch_size is that of all together:
    torchrun --nproc_per_node 4 train_teacher.py --data_dir data/corpora/mine --batch_size 32 --output_dir checkpoints/mine

Batches of as many sentences as fit, alike in work and memory, about as many an update as by default (docs/speed.md):
    python train_teacher.py --data_dir data/corpora/mine --frames_per_batch 2400 --accumulation_steps 1

See what a run would be, and how long an epoch would take, without writing anything:
    python train_teacher.py --config configs/teacher.yaml --dry_run

Settings: built-in defaults < the checkpoint's (with --resume) < YAML (--config) < command line. The
YAML file may also hold settings that have no option here: the weights of the losses and of hidden
parts (explained in training/config.py), the model's sizes and parts (models/config.py) and each
augmentation's range (data/augmentation_config.py). The run's config.yaml has all.

The run folder then holds best_model.pth and last.pth, report.html to look at, MODEL_CARD.md,
result.json, and what repeating the run needs: config.yaml and environment.json.

Exit codes: 0 done, 2 usage, 3 data, 4 diverged, 130 / 143 stopped by Ctrl-C / SIGTERM with a
checkpoint to resume from.
"""

import argparse
from pathlib import Path

from command_line import Parser
from errors import run_script
from training.config import (
    DECODERS,
    OPTIMIZERS,
    PRECISIONS,
    Config,
    given_settings,
    merge_overrides,
    read_overrides,
)
from training.distributed import connect_processes

# Settings that are not the training section's.
HOMES = {"dropout": ("model", "dropout"), "augment": ("augmentation", "enabled")}


def make_parser() -> Parser:
    """Options; each one that is not given stays out of the namespace, so that YAML and checkpoint
    can fill it."""
    defaults = Config().training
    parser = Parser(
        prog="train_teacher.py", description=__doc__, argument_default=argparse.SUPPRESS
    )

    def setting(group, name: str, kind: type, text: str, **options) -> None:
        group.add_argument(
            f"--{name}", type=kind, help=f"{text} (default: {getattr(defaults, name)})", **options
        )

    files = parser.add_argument_group("data and files")
    files.add_argument(
        "--config",
        type=Path,
        help="YAML file with sections training, model, augmentation; see configs/ (default: none)",
    )
    files.add_argument("--data_dir", help="corpus folder (default: the built-in simulated corpus)")
    files.add_argument(
        "--output_dir",
        help=f"run folder (default: {defaults.output_dir}; continuing: the checkpoint's folder; "
        "fine-tuning: beside it, with _finetune)",
    )
    files.add_argument(
        "--resume",
        metavar="CHECKPOINT",
        help="start from it: a path, or last, best or auto (the newest that is whole) in the output folder (default: none)",
    )
    files.add_argument(
        "--extend_vocabulary",
        action="store_true",
        help="fine-tuning: add the corpus's new glosses to the checkpoint's (default: refuse them)",
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
    setting(
        optimisation,
        "frames_per_batch",
        int,
        "in place of --batch_size, as many sentences a batch as fit into so many frames with their padding; 0: --batch_size",
    )
    setting(optimisation, "accumulation_steps", int, "batches an update")
    setting(optimisation, "learning_rate", float, "peak learning rate")
    setting(optimisation, "min_learning_rate", float, "learning rate at the end of the cosine")
    setting(optimisation, "warmup_epochs", float, "epochs of linear warm-up")
    setting(optimisation, "weight_decay", float, "decay of weight matrices")
    setting(optimisation, "optimizer", str, "optimiser", choices=OPTIMIZERS)
    setting(optimisation, "max_grad_norm", float, "gradient norm is clipped at this")
    setting(optimisation, "patience", int, "epochs without a better dev WER before stopping early")
    optimisation.add_argument(
        "--dropout", type=float, help=f"dropout (default: {Config().model.dropout})"
    )
    optimisation.add_argument(
        "--augment",
        action=argparse.BooleanOptionalAction,
        help="augment train sentences (default: on)",
    )

    rest = parser.add_argument_group("decoding, device, reproducibility")
    setting(
        rest,
        "decoder",
        str,
        "of the final evaluation; dev is read greedily after each epoch",
        choices=DECODERS,
    )
    setting(
        rest,
        "precision",
        str,
        "number format: auto is bf16 on CUDA, fp32 on the CPU",
        choices=PRECISIONS,
    )
    setting(rest, "device", str, "auto, cpu, cuda or cuda:N")
    rest.add_argument(
        "--compile",
        action="store_true",
        help="compile the convolutional front: minutes in the first epoch, not measured on GPUs (default: off)",
    )
    setting(rest, "seed", int, "weights, order, dropout and augmentation follow from it")
    rest.add_argument(
        "--deterministic",
        action="store_true",
        help="deterministic kernels where torch has them (default: off)",
    )
    rest.add_argument(
        "--dry_run",
        action="store_true",
        help="print sizes and estimated times; write nothing (default: train)",
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    options = vars(make_parser().parse_args(argv))
    config = options.pop("config", None)
    resume = options.pop("resume", None)
    extend = options.pop("extend_vocabulary", False)
    dry = options.pop("dry_run", False)

    def settings() -> dict[str, dict]:
        return merge_overrides(
            read_overrides(config) if config else {}, given_settings(options, HOMES)
        )

    with connect_processes() as ranks:
        with ranks.together():
            overrides = ranks.from_writer(settings)

        from training.resume import plan_start
        from training.run import carry_out
        from training.setup import make_ready, prepare_run

        run = make_ready(
            ranks,
            lambda: plan_start(resume, overrides),
            lambda start: prepare_run(start, extend, ranks=ranks),
        )
        return ranks.leave(carry_out(run, dry, resume, "train_teacher.py"))


if __name__ == "__main__":
    run_script(main)
