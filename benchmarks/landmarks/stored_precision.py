"""How much noise does the storage of landmarks add to the features?

    python benchmarks/landmarks/stored_precision.py --corpora data/corpora/isolated

Takes recordings of corpora and scales them, so that the shoulders are 0.44, 0.22 and 0.11 of the
image's width apart. Each copy is stored in three ways and read back:

    float16     fractions of the image in float16: corpora of format 1
    person      float16 relative to the middle of the shoulders, in shoulder widths
    int16       corpora of format 2

The table has the noise of the features as a share of their own deviation in the same recording, in
percent: the median over landmarks, and then over recordings. Position, velocity and acceleration
are x and y, depth is the position along z.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch

from benchmarks.results import add_json_option, describe_machine, figure_name, finish
from data.corpus import Corpus
from data.features import compute_features
from data.landmarks import LEFT_SHOULDER, PART_SLICES, PARTS, RIGHT_SHOULDER, SUBSETS
from data.stored_landmarks import decode, encode
from errors import UsageError, run_script

WIDTHS = (0.44, 0.22, 0.11)
GROUPS = {
    "mouth": SUBSETS["mouth"],
    "arms": SUBSETS["arms"][3:],
    "hands": SUBSETS["left_hand"] + SUBSETS["right_hand"],
}
XY, Z = slice(0, 2), slice(2, 3)
ROWS = {"position": (0, XY), "velocity": (1, XY), "acceleration": (2, XY), "depth": (0, Z)}
Storage = Callable[[np.ndarray, np.ndarray, float], np.ndarray]


def shoulder_width(landmarks: np.ndarray, aspect_ratio: float) -> float:
    """The median distance of the shoulders, in fractions of the image's width."""
    apart = (landmarks[:, LEFT_SHOULDER] - landmarks[:, RIGHT_SHOULDER])[:, :2]
    return float(np.median(np.hypot(apart[:, 0], apart[:, 1] / aspect_ratio)))


def centre(landmarks: np.ndarray) -> np.ndarray:
    """The middle between the shoulders (T, 3)."""
    return (landmarks[:, LEFT_SHOULDER] + landmarks[:, RIGHT_SHOULDER]) / 2


def scaled(
    landmarks: np.ndarray, detected: np.ndarray, width: float, aspect_ratio: float
) -> np.ndarray:
    """The same person with another shoulder width, in the middle of the image. float64."""
    factor = width / shoulder_width(landmarks, aspect_ratio)
    moved = landmarks * factor
    place = np.median(centre(landmarks), axis=0)[:2]
    moved[..., :2] = (landmarks[..., :2] - place) * factor + [0.5, 0.55]
    return without_undetected(moved, detected)


def without_undetected(landmarks: np.ndarray, detected: np.ndarray) -> np.ndarray:
    landmarks = landmarks.copy()
    for column, part in enumerate(PARTS):
        landmarks[~detected[:, column], PART_SLICES[part]] = 0
    return landmarks


def as_float16(landmarks: np.ndarray, detected: np.ndarray, _: float) -> np.ndarray:
    return decode(encode(landmarks, detected, np.dtype("<f2")), detected)


def as_int16(landmarks: np.ndarray, detected: np.ndarray, _: float) -> np.ndarray:
    return decode(encode(landmarks, detected, np.dtype("<i2")), detected)


def relative_to_the_person(
    landmarks: np.ndarray, detected: np.ndarray, aspect_ratio: float
) -> np.ndarray:
    """The middle of the shoulders itself is kept exactly. z of face and hands has its own root."""
    origin = centre(landmarks)[:, None] * np.ones((landmarks.shape[1], 1))
    origin[:, PART_SLICES["face"].start :, 2] = 0
    width = shoulder_width(landmarks, aspect_ratio)
    person = ((landmarks - origin) / width).astype(np.float16)
    return without_undetected(person * width + origin, detected)


STORAGES: dict[str, Storage] = {
    "float16": as_float16,
    "person": relative_to_the_person,
    "int16": as_int16,
}


def features(landmarks: np.ndarray, detected: np.ndarray, aspect_ratio: float) -> np.ndarray:
    """float32 (T, 4, 543, 3)."""
    found = compute_features(
        torch.from_numpy(np.ascontiguousarray(landmarks, np.float32))[None],
        torch.from_numpy(detected)[None],
        torch.tensor([len(landmarks)]),
        aspect_ratio,
    )
    return found[0].view(len(landmarks), 4, -1, 3).numpy()


def shares(noise: np.ndarray, values: np.ndarray) -> Iterator[tuple[str, float]]:
    """The share of noise of each group and row, where the values change at all."""
    for group, points in GROUPS.items():
        for row, (block, coordinates) in ROWS.items():
            deviation = values[:, block, list(points), coordinates].std(axis=0)
            error = np.sqrt((noise[:, block, list(points), coordinates] ** 2).mean(axis=0))
            moving = deviation > 1e-5
            if moving.any():
                yield f"{group} {row}", 100 * float(np.median(error[moving] / deviation[moving]))


def recordings(corpus: Corpus, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Recordings in which a pose is always and each other part sometimes detected."""
    split = corpus.split("train")
    found = 0
    for index in np.random.default_rng(0).permutation(len(split)):
        landmarks, detected = split.read(index)
        if detected[:, 0].all() and detected[:, 1].any() and detected[:, 2:].any():
            yield landmarks.astype(np.float64), np.array(detected)
            found += 1
            if found == count:
                return


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="stored_precision.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--corpora", nargs="+", type=Path, required=True, metavar="DIR", help="corpus folders"
    )
    parser.add_argument(
        "--recordings", type=int, default=40, help="of each corpus (default: %(default)s)"
    )
    add_json_option(parser)
    args = parser.parse_args(argv)
    found: dict[tuple[str, str, float], list[float]] = defaultdict(list)
    for path in args.corpora:
        corpus = Corpus(path)
        for landmarks, detected in recordings(corpus, args.recordings):
            for width in WIDTHS:
                exact = scaled(landmarks, detected, width, corpus.aspect_ratio)
                values = features(exact, detected, corpus.aspect_ratio)
                for storage, store in STORAGES.items():
                    read = store(exact, detected, corpus.aspect_ratio)
                    noise = features(read, detected, corpus.aspect_ratio) - values
                    for row, share in shares(noise, values):
                        found[storage, row, width].append(share)
    if not found:
        raise UsageError("--corpora: no recording has a pose, a face and a hand")
    print(describe_machine())
    print(f"{'':<20}" + "".join(f"{storage:>24}" for storage in STORAGES))
    print(f"{'shoulder width':<20}" + "".join(f"{width:>8}" for width in WIDTHS) * len(STORAGES))
    figures = {}
    for row in (f"{group} {row}" for group in GROUPS for row in ROWS):
        medians = {
            (storage, width): float(np.median(found[storage, row, width]))
            for storage in STORAGES
            for width in WIDTHS
        }
        print(f"{row:<20}" + "".join(f"{share:>8.2f}" for share in medians.values()))
        figures |= {
            figure_name(row, storage, str(width)): share
            for (storage, width), share in medians.items()
        }
    finish(args, figures, figure_name("mouth position int16 0.11"))
    return 0


if __name__ == "__main__":
    run_script(main)
