"""Which share of the features is jitter of the tracker?

    python benchmarks/landmarks/jitter.py --corpora data/corpora/isolated data/corpora/builtin

Jitter that is independent from frame to frame has a variance s^2 of its own. In the fourth
difference of a position it has 70 s^2, and motion has hardly anything left there. In the velocity
it has s^2 / 2, in the acceleration 6 s^2. The share is that, divided by the variance of the
position or the mean square of the velocity or acceleration. Each is a mean over the landmarks of a
part, and the table has the median over the sentences. Frames count if the part was detected in them
and in three frames before and after.

Fast motion adds to the fourth difference, which makes the share too large. Jitter that a tracker
has smoothed is missing in it, which makes it too small.
"""

import sys
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch

from benchmarks.results import add_json_option, describe_machine, figure_name, finish
from command_line import Parser
from data.batching import load_batch
from data.corpus import Corpus
from data.features import body_coordinates
from data.landmarks import PARTS, subset
from errors import UsageError, run_script

GROUPS = {
    "arms": ("pose", subset("arms")),
    "face": ("face", subset("mouth_brows_eyes")),
    "left hand": ("left_hand", subset("left_hand")),
    "right hand": ("right_hand", subset("right_hand")),
}
COORDINATES = ("x", "y", "z")
FEWEST_FRAMES = 10
# The variance of jitter, in that of a position
IN_FOURTH_DIFFERENCE, IN_VELOCITY, IN_ACCELERATION = 70, 1 / 2, 6


def jitter(body: np.ndarray, detected: np.ndarray) -> dict[str, np.ndarray]:
    """The deviation of the jitter, and its shares of position, velocity and acceleration.

    body: float (T, N, 3), the landmarks of one part. detected: bool (T,). Returns (3,) each, for x,
    y and z; NaN if too few frames count.
    """
    counted = np.convolve(detected, np.ones(7), "same") == 7
    counted[:2] = counted[-2:] = False
    if counted.sum() < FEWEST_FRAMES:
        return dict.fromkeys(
            ("deviation", "position", "velocity", "acceleration"), np.full(3, np.nan)
        )
    body = body.astype(np.float64)
    inside = counted[2:-2]
    velocity = ((body[2:] - body[:-2]) / 2)[1:-1][inside]
    acceleration = (body[2:] - 2 * body[1:-1] + body[:-2])[1:-1][inside]
    fourth = np.diff(body, 4, axis=0)[inside]
    own = (fourth**2).mean(axis=(0, 1)) / IN_FOURTH_DIFFERENCE

    def share(factor: float, of: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return factor * own / of

    return {
        "deviation": np.sqrt(own),
        "position": share(1, body[counted].var(axis=0).mean(axis=0)),
        "velocity": share(IN_VELOCITY, (velocity**2).mean(axis=(0, 1))),
        "acceleration": share(IN_ACCELERATION, (acceleration**2).mean(axis=(0, 1))),
    }


def measure(corpus: Corpus, sentences: int) -> dict[tuple[str, str], np.ndarray]:
    """{(group, row of `jitter`): median over the sentences (3,)} of one corpus."""
    split = corpus.split("train")
    chosen = np.unique(np.linspace(0, len(split) - 1, min(sentences, len(split))).astype(int))
    found = defaultdict(list)
    for index in chosen:
        batch = load_batch(split, np.array([index])).to(torch.device("cpu"))
        (body,) = body_coordinates(
            batch.landmarks, batch.detected, batch.lengths, corpus.aspect_ratio
        ).numpy()
        for group, (part, points) in GROUPS.items():
            detected = batch.detected[0, :, PARTS.index(part)].numpy()
            for row, values in jitter(body[:, list(points)], detected).items():
                found[group, row].append(values)
    return {
        key: np.nanmedian(rows, axis=0) if np.isfinite(rows).any() else np.full(3, np.nan)
        for key, rows in found.items()
    }


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="jitter.py", description=__doc__)
    parser.add_argument(
        "--corpora", nargs="+", type=Path, required=True, metavar="DIR", help="corpus folders"
    )
    parser.add_argument("--sentences", type=int, default=120, help="of each (default: %(default)s)")
    add_json_option(parser)
    options = parser.parse_args(argv)
    if options.sentences < 1:
        raise UsageError(f"--sentences {options.sentences}: expected 1 or more")
    torch.set_num_threads(1)
    print(describe_machine())
    figures = {}
    for path in options.corpora:
        corpus = Corpus(path)
        print(f"\n{corpus.describe()}")
        print(
            f"{'':<12}{'deviation':>26}{'position %':>18}{'velocity %':>18}{'acceleration %':>18}"
        )
        found = measure(corpus, options.sentences)
        for group in GROUPS:
            cells = " ".join(f"{value:8.4f}" for value in found[group, "deviation"])
            for row in ("position", "velocity", "acceleration"):
                shares = 100 * found[group, row]
                cells += "   " + " ".join(f"{share:4.0f}" for share in shares)
                figures |= {
                    figure_name(path.name, group, row, axis): float(share)
                    for axis, share in zip(COORDINATES, shares, strict=True)
                }
            print(f"{group:<12}{cells}")
    finish(options, figures, figure_name(options.corpora[0].name, "right hand acceleration x"))
    return 0


if __name__ == "__main__":
    run_script(main)
