"""Train the I3D teacher on a corpus folder, continue a run, or fine-tune from a checkpoint.

Full training, by default on the built-in corpus of simulated signers:
    python train_teacher.py --batch_size 8 --learning_rate 0.0003 --dropout 0.3 --epochs 150 --output_dir checkpoints/teacher_v1
    python train_teacher.py --data_dir data/corpora/mine --output_dir checkpoints/mine

Continue an interrupted run exactly where it stopped:
    python train_teacher.py --resume auto --output_dir checkpoints/mine

Fine-tune: --resume with a setting that shapes training and differs from the checkpoint's. This is a new run, in
checkpoints/teacher_finetune:
    python train_teacher.py --resume checkpoints/teacher/best_model.pth --learning_rate 0.00005 --epochs 50

On the four GPUs of a machine, with --batch_size for all of them together (docs/scaling.md):
    torchrun --nproc_per_node 4 train_teacher.py --data_dir data/corpora/mine --batch_size 32 --output_dir checkpoints/mine

Batches of similar memory, filled up to a number of frames (docs/speed.md):
    python train_teacher.py --data_dir data/corpora/mine --frames_per_batch 2400 --accumulation_steps 1

Show the sizes of a run and the time of an epoch, without a run folder:
    python train_teacher.py --config configs/teacher.yaml --dry_run

Settings: default < checkpoint (with --resume) < YAML (--config) < command line. docs/settings.md lists all of them, also those
that only a YAML file can set. The run's config.yaml has the values of all settings.

The run folder has best_model.pth, last.pth, report.html, MODEL_CARD.md, result.json, and what is needed to repeat the run:
config.yaml and environment.json.

Exit codes: 0 done, 2 usage, 3 data, 4 diverged, 130 / 143 / 129 stopped by Ctrl-C / SIGTERM / a closed
terminal, with a checkpoint to resume from.
"""

from collections.abc import Sequence

from command_line import Parser, add_config_options, add_options, parse_training_command
from errors import run_script
from training.config import Config, TrainingCommand

TEXTS = {"data_dir": {"default_text": "the built-in simulated corpus"}}


def make_parser() -> Parser:
    parser = Parser(prog="train_teacher.py", description=__doc__).add_version()
    add_options(parser, TrainingCommand)
    add_config_options(parser, Config(), texts=TEXTS)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    command, given = parse_training_command(make_parser(), argv, TrainingCommand, Config)

    from training.run import train_teacher

    return train_teacher(command, given)


if __name__ == "__main__":
    run_script(main, to_its_end=True)
