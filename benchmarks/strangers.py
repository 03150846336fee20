"""WER on people whom the teacher has never seen, in six folds over people.

    python benchmarks/strangers.py --input strangers_36.npz --output strangers
    python benchmarks/strangers.py --input strangers_36.npz --output strangers --seeds 0 1 2
    python benchmarks/strangers.py --input strangers_36.npz --output strangers --folds 0 1

INPUT has recordings of single signs by many people, each with a camera of their own, as arrays:
`landmarks` (frames, 1662) in the MP_Data layout, `frames`, `gloss` and `person` of each recording.
A fold holds out a sixth of the people. Its train sentences are composed from the recordings of the
others, its dev sentences from those of the people held out: equally many for each person. Each row
of the variants file (benchmarks/variants/strangers.yaml) is trained in each fold and evaluated with
greedy decoding after its last epoch: dev chooses nothing.

Some people's files have the parts of the body in another order. It is found by which order fits
together, and printed.

Runs that OUTPUT/runs.jsonl already has are not repeated. The result is OUTPUT/table.md: the WER of
each fold, their mean and standard deviation, and a paired test against the first row.
"""

import argparse
import itertools
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.results import add_json_option, describe_machine, figure_name, finish
from benchmarks.unseen.trained_runs import (
    RememberedRuns,
    add_run_options,
    aligned,
    chosen_variants,
    paired,
)
from command_line import Parser
from data.corpus_writer import CorpusWriter
from data.keyed_random import generator
from data.landmarks import LEFT_HAND_WRIST, LEFT_WRIST, NOSE, RIGHT_HAND_WRIST, RIGHT_WRIST
from data.sources.composer import IsolatedRecording, join, plan_split
from data.sources.landmark_files import mp_data_landmarks
from data.sources.unseen_parts import find_unseen_parts
from decoding.scoring import SentenceErrors, total
from errors import DataError, run_script

VARIANTS = Path(__file__).parent / "variants" / "strangers.yaml"
FOLDS = 6
SENTENCES = {"train": 14, "dev": 8}  # of each person
MIN_GLOSSES, MAX_GLOSSES = 2, 7
FPS, ASPECT_RATIO = 25.0, 4 / 3
WIDTHS = {"pose": 33 * 4, "face": 468 * 3, "left_hand": 21 * 3, "right_hand": 21 * 3}
FACE_NOSE_TIP = 33 + 4
# The points of two parts that lie on one another where the order of the parts is right.
PAIRS = (
    (NOSE, FACE_NOSE_TIP),
    (LEFT_WRIST, LEFT_HAND_WRIST),
    (RIGHT_WRIST, RIGHT_HAND_WRIST),
)
Motion = tuple[np.ndarray, np.ndarray]  # landmarks (T, 543, 3), detected (T, 4)


def in_order(vectors: np.ndarray, order: Sequence[str]) -> np.ndarray:
    """Vectors (T, 1662) whose parts have the given order, as landmarks (T, 543, 3)."""
    stops = np.cumsum([WIDTHS[part] for part in order])
    parts = dict(zip(order, np.split(vectors, stops[:-1], axis=1), strict=True))
    return mp_data_landmarks(np.concatenate([parts[part] for part in WIDTHS], axis=1))


def misfit(landmarks: np.ndarray) -> float:
    """How far nose and wrists of the pose are from those of face and hands, in image widths.

    landmarks: (T, 543, 3). A pair that is never detected counts 1.
    """
    distances = []
    for first, second in PAIRS:
        points = landmarks[:, (first, second), :2].astype(np.float64)
        seen = (points != 0).all(axis=(1, 2))
        apart = np.abs(points[seen, 0] - points[seen, 1])
        distances.append(apart.mean() if seen.any() else 1.0)
    shoulders = landmarks[:, 11:13, 0].astype(np.float64)
    crossed = (shoulders[:, 0] <= shoulders[:, 1]).mean()  # left is at the right in the image
    return float(np.sum(distances) + crossed)


def part_order(vectors: np.ndarray) -> tuple[str, ...]:
    """The order of the parts in the vectors (T, 1662) of one person: the one that fits best.

    MP_Data's own order stays unless another one fits better than half as badly.
    """
    usual = tuple(WIDTHS)
    scores = {order: misfit(in_order(vectors, order)) for order in itertools.permutations(WIDTHS)}
    best = min(scores, key=lambda order: scores[order])
    return best if scores[best] < 0.5 * scores[usual] else usual


def read_people(path: Path) -> tuple[list[IsolatedRecording], list[Motion]]:
    """All recordings of the file; the index of a recording is the one of its motion."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            vectors, frames = archive["landmarks"], archive["frames"]
            glosses, people = archive["gloss"], archive["person"]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"--input {path} cannot be read: {error}; expected an .npz with landmarks, frames, "
            "gloss and person"
        ) from None
    stops = np.cumsum(frames)
    rows = defaultdict(list)
    for number, person in enumerate(people):
        rows[str(person)].append(slice(stops[number] - frames[number], stops[number]))
    orders = {  # an eighth of the frames is enough to tell
        person: part_order(np.concatenate([vectors[row][::8] for row in own]).astype(np.float32))
        for person, own in rows.items()
    }
    for person, order in orders.items():
        if order != tuple(WIDTHS):
            print(f"{person}: the file has {', '.join(order)}")
    recordings, motions = [], []
    for number, (person, gloss) in enumerate(zip(people, glosses, strict=True)):
        own = vectors[stops[number] - frames[number] : stops[number]].astype(np.float32)
        landmarks = in_order(own, orders[str(person)])
        motions.append(find_unseen_parts(landmarks, lambda frame, n=number: f"{n} frame {frame}"))
        recordings.append(IsolatedRecording(number, str(gloss).upper(), number, str(person), 0))
    return recordings, motions


def assign_folds(recordings: Sequence[IsolatedRecording], folds: int = FOLDS) -> dict[str, int]:
    """The fold in which each person is held out.

    People who share a rare gloss are spread over the folds, so that each fold's train split has all
    glosses. Ties are broken by name, so the folds are always the same.
    """
    glosses = defaultdict(set)
    for recording in recordings:
        glosses[recording.signer].add(recording.gloss)
    people_of = Counter(gloss for known in glosses.values() for gloss in known)
    fold_of: dict[str, int] = {}
    sizes = [0] * folds
    have = [Counter() for _ in range(folds)]
    for gloss in sorted(people_of, key=lambda gloss: (people_of[gloss], gloss)):
        for person in sorted(glosses):
            if gloss in glosses[person] and person not in fold_of:
                fold = min(range(folds), key=lambda fold: (have[fold][gloss], sizes[fold], fold))
                fold_of[person] = fold
                sizes[fold] += 1
                have[fold].update(glosses[person])
    return fold_of


def sentence_plans(
    recordings: Sequence[IsolatedRecording], heldout: set[str]
) -> dict[str, list[list[IsolatedRecording]]]:
    """The recordings of each sentence of train and dev.

    As in a recorded corpus, each person signs equally many sentences, of the glosses that this
    person knows. A person with a single gloss gives sentences of one gloss.
    """
    plans: dict[str, list[list[IsolatedRecording]]] = {"train": [], "dev": []}
    for person in sorted({recording.signer for recording in recordings}):
        own = [recording for recording in recordings if recording.signer == person]
        split = "dev" if person in heldout else "train"
        count = SENTENCES[split]
        if len({recording.gloss for recording in own}) < MIN_GLOSSES:
            plans[split] += [[recording] for recording in own[:count]]
        else:
            key = (0, f"{split} {person}")
            plans[split] += plan_split(own, count, MIN_GLOSSES, MAX_GLOSSES, person, key).sentences
    return plans


def write_fold(
    output: Path,
    plans: dict[str, list[list[IsolatedRecording]]],
    motions: Sequence[Motion],
    name: str,
) -> None:
    """Write the corpus of one fold."""
    made_by = {"command": "benchmarks/strangers.py"}
    facts: dict[str, Any] = {"name": name, "fps": FPS, "aspect_ratio": ASPECT_RATIO}
    with CorpusWriter(output, **facts, made_by=made_by, composed=True) as writer:
        for split, sentences in plans.items():
            for number, recordings in enumerate(sentences):
                landmarks, detected, times = join(
                    [motions[r.index] for r in recordings], generator(0, name, split, number)
                )
                writer.split(split).add(
                    f"{split}-{number:04d}",
                    recordings[0].signer,
                    [r.gloss for r in recordings],
                    landmarks,
                    detected,
                    times,
                )


def table(rows: dict[str, list[dict]]) -> str:
    """Markdown: a line per variant with the WER of each fold (mean over its seeds), their mean and
    standard deviation, WER on train, seconds a run, and the paired test against the first row."""
    folds = sorted({run["fold"] for runs in rows.values() for run in runs})
    lines = [
        f"| variant | {' | '.join(f'fold {fold}' for fold in folds)} | mean ± deviation | all "
        "sentences | train | seconds | p against the first |",
        "|---|" + "---|" * (len(folds) + 5),
    ]
    first = next(iter(rows))
    for name, runs in rows.items():
        by_fold = {
            fold: statistics.mean(total(aligned(r)).wer for r in runs if r["fold"] == fold)
            for fold in folds
            if any(r["fold"] == fold for r in runs)
        }
        cells = [f"{by_fold[fold]:.1f}" if fold in by_fold else "-" for fold in folds]
        deviation = statistics.stdev(by_fold.values()) if len(by_fold) > 1 else 0.0
        whole = total([sentence for run in runs for sentence in aligned(run)]).wer
        known = [run["train_wer"] for run in runs if run["train_wer"] is not None]
        train = f"{statistics.mean(known):.1f}" if known else "-"
        seconds = statistics.mean(run["seconds"] for run in runs)
        lines.append(
            f"| {name} | {' | '.join(cells)} | {statistics.mean(by_fold.values()):.1f} ± "
            f"{deviation:.1f} | {whole:.1f} | {train} | {seconds:.0f} "
            f"| {'-' if name == first else paired(rows[first], runs, ['fold'])} |"
        )
    return "\n".join(lines)


def finish_table(options: argparse.Namespace, rows: dict[str, list[dict]]) -> None:
    """Write the table into --output and print it, and finish with the WER of each row."""
    result = table(rows)
    (options.output / "table.md").write_text(result + "\n", encoding="utf-8")
    print(result)
    figures = {
        figure_name("wer", name): total([s for run in of_row for s in aligned(run)]).wer
        for name, of_row in rows.items()
    }
    finish(options, figures, next(iter(figures)))


def people_line(runs: Sequence[dict]) -> str:
    """The WER of each person held out, the highest first, in one line."""
    errors: dict[str, list[SentenceErrors]] = defaultdict(list)
    for run in runs:
        signers = run["splits"]["dev"]["signers"]
        for person, sentence in zip(signers, aligned(run), strict=True):
            errors[person].append(sentence)
    rates = {person: total(sentences).wer for person, sentences in errors.items()}
    worst = sorted(rates, key=lambda person: -rates[person])
    return " ".join(f"{person} {rates[person]:.0f}" for person in worst)


def run_folds(
    options: argparse.Namespace, variants: dict[str, Any], write: Callable[[int, Path], None]
) -> None:
    """Train each variant with each seed in each fold, print the WER of each person held out, and
    finish with the table.

    Args:
        options: output, folds and seeds.
        variants: of `chosen_variants`.
        write: writes the corpus of a fold that is not there yet.
    """
    options.output.mkdir(parents=True, exist_ok=True)
    runs = RememberedRuns(options.output / "runs.jsonl")
    print(describe_machine(), flush=True)
    rows: dict[str, list[dict]] = {}
    for fold in options.folds:
        corpus = options.output / f"fold{fold}"
        if not corpus.exists():
            write(fold, corpus)
        for seed, name in itertools.product(options.seeds, variants):
            overrides, _ = variants[name]
            found = runs.get({"variant": name, "fold": fold}, overrides, seed, corpus)
            rows.setdefault(name, []).append(found)
            rate = total(aligned(found)).wer
            print(f"fold {fold} seed {seed} {name}: {rate:.1f} %, {found['seconds']:.0f} s")
            print(f"  {people_line([found])}", flush=True)
    finish_table(options, rows)


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="strangers.py", description=__doc__)
    parser.add_argument("--input", type=Path, required=True, help="the .npz of recordings")
    parser.add_argument("--output", type=Path, required=True, help="folder for folds and results")
    add_run_options(parser, VARIANTS)
    folds = range(FOLDS)
    parser.add_argument("--folds", type=int, nargs="+", choices=folds, default=list(folds))
    add_json_option(parser)
    options = parser.parse_args(argv)
    variants = chosen_variants(options)
    recordings, motions = read_people(options.input)
    fold_of = assign_folds(recordings)

    def write(fold: int, corpus: Path) -> None:
        heldout = {person for person, where in fold_of.items() if where == fold}
        write_fold(corpus, sentence_plans(recordings, heldout), motions, corpus.name)

    run_folds(options, variants, write)
    return 0


if __name__ == "__main__":
    run_script(main)
