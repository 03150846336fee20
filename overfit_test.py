"""Can the teacher memorise five sentences? Exit code 0 means yes: 0 % WER in three checks in a row.

    python overfit_test.py
    python overfit_test.py --data_dir data/corpora/mine --num_samples 5
    python overfit_test.py --num_samples 5 --batch_size 5 --dropout 0.1 --weight_decay 0.0 --learning_rate 0.001 --warmup_epochs 50

Run this first on any new corpus: a teacher that cannot memorise five sentences will not learn five
thousand. The settings are those of configs/overfit.yaml (no augmentation, no weight decay, batches
of five) with the full-size teacher; the last command gives the main ones. --config and options change
these settings; a note names those of --config that have no effect here, such as augmentation. If the
check fails, it prints what to check.

Exit codes: 0 memorised, 1 not memorised, 2 usage, 3 data, 4 diverged.
"""

from collections.abc import Sequence
from pathlib import Path

from command_line import Parser, add_config_options, add_options, parse_training_command
from errors import counted, run_script
from settings import merge_overrides, read_overrides
from training.config import Config, OverfitCommand

DEFAULT_CONFIG = Path(__file__).parent / "configs" / "overfit.yaml"
OPTIONS = (
    "data_dir",
    "output_dir",
    "epochs",
    "batch_size",
    "learning_rate",
    "warmup_epochs",
    "weight_decay",
    "dropout",
    "precision",
    "device",
    "seed",
)

TEXTS = {
    "data_dir": {"default_text": "the built-in simulated corpus"},
    "output_dir": {"help": "folder of the results; an earlier check in it is moved aside"},
    "epochs": {"help": "give up after this many passes over the sentences"},
}


def make_parser() -> Parser:
    parser = Parser(prog="overfit_test.py", description=__doc__).add_version()
    add_options(parser, OverfitCommand)
    defaults = Config().updated(read_overrides(DEFAULT_CONFIG, Config))
    add_config_options(parser, defaults, OPTIONS, TEXTS)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    command, given = parse_training_command(make_parser(), argv, OverfitCommand, Config)
    yaml = read_overrides(command.config, Config) if command.config else {}
    layers = [read_overrides(DEFAULT_CONFIG, Config), yaml, given]
    config = Config().updated(merge_overrides(*layers))

    from training.overfit_check import advice, run_overfit_check, unused_settings

    if unused := unused_settings(yaml):
        print(f"note: --config {command.config}: no effect in this check: {', '.join(unused)}")
    result = run_overfit_check(config, command.num_samples)
    wer, epochs = result.validation.score.wer, result.epochs
    outcome = f"{wer:.1f} % WER after {counted(epochs, 'epoch')}, {result.seconds:.0f} s"
    if result.reached:
        print(f"memorised: {outcome}; run folder: {config.training.output_dir}")
        return 0
    print(f"not memorised: {outcome}; check:")
    for line in advice(result):
        print(f"  - {line}")
    return 1


if __name__ == "__main__":
    run_script(main, to_its_end=True)
