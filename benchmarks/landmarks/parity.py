"""Do two extractors find the same landmarks in the same videos?

    python benchmarks/landmarks/parity.py --pack holistic.task
    python benchmarks/landmarks/parity.py --first data/corpora/first --second data/corpora/second

The first command writes the models of MediaPipe 0.10.14 as a model file for MediaPipe 1.x; it needs
MediaPipe 0.10.14. The second compares two corpora that `prepare_data.py extract` made from the same
videos and annotations, each with another extractor.

Prints, for each group of points, the frames in which both extractors, or only one of them, detect
the part, and the distance of the points in percent of the shoulder width: the median, and the bound
that 95 % of them stay below. For comparison, it prints how far the points of the first corpus move
from one frame to the next.
"""

import argparse
import sys
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from benchmarks.landmarks.task_file import pack
from benchmarks.results import add_json_option, figure_name, finish
from data.corpus import Corpus
from data.extractors import extractor_of, in_words
from data.landmarks import LEFT_SHOULDER, PART_SLICES, PARTS, RIGHT_SHOULDER
from errors import DataError, UsageError, run_script

# Points 25 to 32 are the legs, which a signer's video seldom shows: MediaPipe guesses them.
GROUPS = {
    "upper body": ("pose", slice(0, 25)),
    "legs": ("pose", slice(25, 33)),
    **{part.replace("_", " "): (part, PART_SLICES[part]) for part in PARTS if part != "pose"},
}


def distances(first: np.ndarray, second: np.ndarray, aspect_ratio: float) -> np.ndarray:
    """Distance of each point in fractions of the shoulder width, (T, points).

    first, second: landmarks (T, 543, 3).
    """
    apart = (first[:, LEFT_SHOULDER] - first[:, RIGHT_SHOULDER])[:, :2]
    width = np.median(np.hypot(apart[:, 0], apart[:, 1] / aspect_ratio))
    moved = first - second
    return np.asarray(np.hypot(moved[..., 0], moved[..., 1] / aspect_ratio) / width)


def compare(first: Corpus, second: Corpus) -> dict[str, float]:
    """Compare all sentences of the train splits. Raises DataError if they differ."""
    one, other = first.split("train"), second.split("train")
    names = [[sentence.id for sentence in split.sentences] for split in (one, other)]
    if names[0] != names[1] or not np.array_equal(one.lengths, other.lengths):
        raise DataError(
            f"{first.path} and {second.path} have other sentences or frames: extract both from the "
            "same videos and annotations"
        )
    found: dict[str, list[np.ndarray]] = defaultdict(list)
    still: dict[str, list[np.ndarray]] = defaultdict(list)
    frames: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(3, int))
    for index in range(len(one)):
        (points, seen), (points_2, seen_2) = (
            (landmarks.astype(np.float64), detected)
            for landmarks, detected in (one.read(index), other.read(index))
        )
        apart = distances(points, points_2, first.aspect_ratio)
        steps = distances(points[1:], points[:-1], first.aspect_ratio)
        for name, (part, group) in GROUPS.items():
            a, b = (detected[:, PARTS.index(part)] for detected in (seen, seen_2))
            frames[name] += [(a & b).sum(), (a & ~b).sum(), (b & ~a).sum()]
            found[name].append(apart[a & b, group].ravel())
            still[name].append(steps[a[1:] & a[:-1], group].ravel())
    figures: dict[str, float] = {}
    for name in GROUPS:
        both, only_first, only_second = frames[name]
        figures[f"{name} both"] = int(both)
        figures[f"{name} only first"] = int(only_first)
        figures[f"{name} only second"] = int(only_second)
        for kind, values in (("apart", found[name]), ("frame to frame", still[name])):
            joined = 100 * np.concatenate(values)
            figures[f"{name} {kind}"] = float(np.median(joined)) if len(joined) else np.nan
            figures[f"{name} {kind} 95"] = (
                float(np.quantile(joined, 0.95)) if len(joined) else np.nan
            )
    return figures


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="landmarks/parity.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--pack", type=Path, metavar="FILE", help="the model file to write")
    for name in ("--first", "--second"):
        parser.add_argument(name, type=Path, metavar="DIR", help="a corpus folder")
    add_json_option(parser)
    options = parser.parse_args(argv)
    if options.pack is not None:
        if options.pack.exists():
            raise UsageError(f"--pack {options.pack}: the file exists already")
        pack(options.pack)
        print(f"models of MediaPipe 0.10: {options.pack}")
        return 0
    if options.first is None or options.second is None:
        raise UsageError("expected --pack FILE, or --first DIR and --second DIR")
    first, second = Corpus(options.first), Corpus(options.second)
    for corpus in (first, second):
        print(f"{corpus.path}: {in_words(extractor_of(corpus.facts) or {})}")
    figures = compare(first, second)
    print(f"{'':<12}{'frames: both':>14}{'one only':>10}{'apart':>9}{'95 %':>9}", end="")
    print(f"{'next frame':>12}{'95 %':>9}   (percent of the shoulder width)")
    for name in GROUPS:
        one_only = figures[f"{name} only first"] + figures[f"{name} only second"]
        print(f"{name:<12}{figures[f'{name} both']:>14.0f}{one_only:>10.0f}", end="")
        for kind, width in (("apart", 9), ("frame to frame", 12)):
            print(f"{figures[f'{name} {kind}']:>{width}.2f}", end="")
            print(f"{figures[f'{name} {kind} 95']:>9.2f}", end="")
        print()
    named = {figure_name(name): value for name, value in figures.items()}
    finish(options, named, "upper_body_apart")
    return 0


if __name__ == "__main__":
    run_script(main)
