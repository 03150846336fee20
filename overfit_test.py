"""Can the teacher memorise five sentences? Exit code 0 means yes: 0 % WER, held for three checks.

    python overfit_test.py
    python overfit_test.py --data_dir data/corpora/mine --num_samples 5

Run this first on any new corpus: a teacher that cannot memorise five sentences will not learn five
thousand. Settings are those of configs/overfit.yaml (no augmentation, no weight decay, one batch)
with the full-size teacher; --config and options go on top. When the check fails, it says what to
look at.

Exit codes: 0 memorised, 1 not memorised, 2 usage, 3 data, 4 diverged.
"""

import argparse
from pathlib import Path

from command_line import Parser
from errors import UsageError, run_script
from training.config import PRECISIONS, Config, merge_overrides, read_overrides

DEFAULT_CONFIG = Path(__file__).parent / "configs" / "overfit.yaml"


def make_parser() -> Parser:
    """Options; each one that is not given stays out of the namespace, so that the YAML file can
    fill it."""
    parser = Parser(prog="overfit_test.py", description=__doc__, argument_default=argparse.SUPPRESS)
    what = parser.add_argument_group("data and files")
    what.add_argument("--num_samples", type=int, default=5, help="sentences to memorise")
    what.add_argument("--data_dir", help="corpus folder (default: the built-in simulated corpus)")
    what.add_argument("--output_dir", help="run folder (default: checkpoints/overfit)")
    what.add_argument(
        "--config", type=Path, help="YAML file, on top of configs/overfit.yaml (default: none)"
    )

    how = parser.add_argument_group("training")
    how.add_argument("--epochs", type=int, help="give up after so many (default: 2000)")
    how.add_argument("--learning_rate", type=float, help="peak learning rate (default: 0.0004)")
    how.add_argument("--warmup_epochs", type=float, help="epochs of linear warm-up (default: 10)")
    how.add_argument("--precision", choices=PRECISIONS, help="number format (default: auto)")
    how.add_argument("--device", help="auto, cpu, cuda or cuda:N (default: auto)")
    how.add_argument("--seed", type=int, help="the weights and dropout follow from it (default: 0)")
    return parser


def main(argv: list[str] | None = None) -> int:
    options = vars(make_parser().parse_args(argv))
    num_samples = options.pop("num_samples")
    if num_samples < 1:
        raise UsageError(f"--num_samples {num_samples}: expected 1 or more")
    given = options.pop("config", None)
    layers = [
        read_overrides(DEFAULT_CONFIG),
        read_overrides(given) if given else {},
        {"training": options},
    ]
    config = Config().updated(merge_overrides(*layers))

    from training.overfit_check import advice, run_overfit_check

    result = run_overfit_check(config, num_samples)
    outcome = f"{result.evaluation.score.wer:.1f} % WER after {result.epochs} epochs, {result.seconds:.0f} s"
    if result.reached:
        print(f"memorised: {outcome}; run folder: {config.training.output_dir}")
        return 0
    print(f"not memorised: {outcome}; look at")
    for line in advice(result):
        print(f"  - {line}")
    return 1


if __name__ == "__main__":
    run_script(main)
