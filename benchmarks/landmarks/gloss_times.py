"""How well the gloss times of a model agree with annotated ones.

    python benchmarks/landmarks/gloss_times.py --annotated boston104 --aligned boston104_aligned

ANNOTATED is a corpus with gloss times, such as RWTH-BOSTON-104 as `import` makes it. ALIGNED is the
corpus that `prepare_data.py align` makes of it. For each split that has times in both, the table
has the length of the glosses, the deviation between the middles of the two times of a gloss, and
how much the two times overlap: the frames that they share, of all that they cover together.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.results import add_json_option, describe_machine, figure_name, finish
from command_line import Parser
from data.corpus import Corpus
from data.gloss_times import UNKNOWN
from errors import DataError, run_script


def agreement(annotated: np.ndarray, aligned: np.ndarray) -> dict[str, float]:
    """The figures of a split. annotated, aligned: int (G, 2), gloss times in frames."""
    known = (annotated[:, 0] != UNKNOWN) & (aligned[:, 0] != UNKNOWN)
    first, second = annotated[known].astype(float), aligned[known].astype(float)
    shift = second.mean(1) - first.mean(1)
    starts, ends = np.stack([first[:, 0], second[:, 0]]), np.stack([first[:, 1], second[:, 1]])
    shared = np.clip(ends.min(0) - starts.max(0), 0, None)
    union = np.diff(first).sum(1) + np.diff(second).sum(1) - shared
    return {
        "glosses": float(known.sum()),
        "frames": float(np.diff(first).mean()),
        "mean shift": float(shift.mean()),
        "deviation": float(shift.std()),
        "overlap": float((shared / union).mean()),
    }


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="gloss_times.py", description=__doc__)
    parser.add_argument("--annotated", type=Path, required=True, help="corpus with annotated times")
    parser.add_argument("--aligned", type=Path, required=True, help="the same, made by align")
    add_json_option(parser)
    options = parser.parse_args(argv)
    first, second = Corpus(options.annotated), Corpus(options.aligned)
    figures: dict[str, float] = {}
    print(describe_machine())
    for name, split in first.splits.items():
        other = second.splits.get(name)
        if other is None or split.times is None or other.times is None:
            continue
        if other.sentences != split.sentences:
            raise DataError(
                f"{options.aligned} has other {name} sentences than {options.annotated}"
            )
        found = agreement(split.times, other.times)
        print(name + "".join(f"  {figure} {value:.2f}" for figure, value in found.items()))
        figures |= {figure_name(name, figure): value for figure, value in found.items()}
    if not figures:
        raise DataError(
            f"{options.annotated} and {options.aligned} share no split with gloss times"
        )
    finish(options, figures, next(one for one in figures if one.endswith("deviation")))
    return 0


if __name__ == "__main__":
    run_script(main)
