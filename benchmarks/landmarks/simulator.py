"""Compare simulated signers with recorded signers: jitter, lost hands, speed, body sizes.

    python benchmarks/landmarks/simulator.py \
        --corpora data/corpora/recorded_one data/corpora/recorded_two data/corpora/builtin

Prints one column per corpus, for up to --sentences sentences of its train split. The units are
shoulder widths, and frames at the frame rate of the corpus.

    body jitter       median size of the second difference of the shoulders. Shoulders hardly move,
                      so this is the noise of the tracker
    finger jitter     the same for the fingertips relative to their wrist, in the slower half of the
                      frames
    wrist speed       median and 90th percentile of the leading wrist's speed per frame
    hand lost         share of frames without the leading hand, among those with its wrist above the
                      hips
    gap               median length of such a loss inside a sentence
    hand size         wrist to middle knuckle: median, and coefficient of variation of the signers'
                      medians
    head height       height of the nose above the shoulders: median, and coefficient of variation
                      of the signers' medians
    frames per gloss  median

The signers of an isolated corpus are its recorders. With one signer there is no variation (-).
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
from data.features import body_coordinates, frame_mask, mirror_left_handed
from data.handedness.leading_hand import HIPS_Y, left_hand_leads
from data.landmarks import LEFT_SHOULDER, NOSE, RIGHT_HAND_WRIST, RIGHT_SHOULDER, RIGHT_WRIST
from errors import run_script

FINGERTIPS = [RIGHT_HAND_WRIST + point for point in (4, 8, 12, 16, 20)]
MIDDLE_KNUCKLE = RIGHT_HAND_WRIST + 9


def gap_lengths(lost: np.ndarray) -> list[int]:
    """Lengths of the runs of True that do not touch the ends of the sentence. lost: bool (T,)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], lost, [False]]).astype(int)))
    return [
        int(stop - start) for start, stop in edges.reshape(-1, 2) if start > 0 and stop < len(lost)
    ]


def second_difference(x: torch.Tensor) -> torch.Tensor:
    """Size of x[t+1] - 2 x[t] + x[t-1] in the image plane: x (T, N, 3) -> (T - 2, N)."""
    return torch.linalg.vector_norm((x[2:] - 2 * x[1:-1] + x[:-2])[..., :2], dim=-1)


# The rows of the table: their figures and formats.
ROWS = {
    "signers": {"signers": "{:.0f}"},
    "body jitter": {"body_jitter": "{:.4f}"},
    "finger jitter": {"finger_jitter": "{:.4f}"},
    "wrist speed": {"wrist_speed_median": "{:.3f}", "wrist_speed_90": "{:.3f}"},
    "hand lost": {"hand_lost_percent": "{:.1f} %"},
    "gap": {"gap": "{:.0f}"},
    "hand size": {"hand_size": "{:.2f}", "hand_size_spread_percent": "{:.0f} %"},
    "head height": {"head_height": "{:.2f}", "head_height_spread_percent": "{:.0f} %"},
    "frames per gloss": {"frames_a_gloss": "{:.0f}"},
}


def measure(corpus: Corpus, sentences: int) -> dict[str, float]:
    """The figures of ROWS for one corpus; NaN where a figure does not exist."""
    split = corpus.split("train")
    chosen = np.unique(np.linspace(0, len(split) - 1, min(sentences, len(split))).astype(int))
    values, by_signer = defaultdict(list), defaultdict(lambda: defaultdict(list))
    lost_frames = raised_frames = 0
    for index in chosen:
        batch = load_batch(split, np.array([index])).to(torch.device("cpu"))
        body = body_coordinates(batch.landmarks, batch.detected, batch.lengths, corpus.aspect_ratio)
        inside = frame_mask(batch.lengths, body.shape[1])
        left = left_hand_leads(body, batch.detected, inside)
        body, detected = (tensor[0] for tensor in mirror_left_handed(body, batch.detected, left))
        sentence, hand = split.sentences[index], detected[:, 3].numpy()
        values["frames"].append(len(body) / len(sentence.glosses))
        if len(body) < 5:
            continue
        values["body"].append(
            second_difference(body[:, [LEFT_SHOULDER, RIGHT_SHOULDER]]).median().item()
        )
        speed = torch.linalg.vector_norm((body[1:] - body[:-1])[:, RIGHT_WRIST, :2], dim=-1).numpy()
        values["speed"] += speed.tolist()
        raised = (body[:, RIGHT_WRIST, 1] < HIPS_Y).numpy()
        raised_frames += int(raised.sum())
        lost_frames += int((raised & ~hand).sum())
        values["gaps"] += gap_lengths(raised & ~hand)
        by_signer["head"][sentence.signer].append(-body[:, NOSE, 1].median().item())
        visible = hand[2:] & hand[1:-1] & hand[:-2]
        slow = visible & (speed[1:] <= np.median(speed))
        fingers = body[:, FINGERTIPS] - body[:, RIGHT_HAND_WRIST, None]
        values["fingers"] += second_difference(fingers)[torch.from_numpy(slow)].flatten().tolist()
        if hand.any():
            size = torch.linalg.vector_norm(
                (body[:, MIDDLE_KNUCKLE] - body[:, RIGHT_HAND_WRIST])[:, :2], dim=-1
            )
            by_signer["hand"][sentence.signer].append(
                size[torch.from_numpy(hand)].quantile(0.9).item()
            )

    def median_and_variation(name: str) -> tuple[float, float]:
        medians = [np.median(sizes) for sizes in by_signer[name].values()]
        variation = 100 * np.std(medians) / np.mean(medians) if len(medians) > 1 else np.nan
        return float(np.median(medians)), float(variation)

    figures = [
        len(by_signer["head"]),
        np.median(values["body"]),
        np.median(values["fingers"]),
        *np.quantile(values["speed"], [0.5, 0.9]),
        100 * lost_frames / max(raised_frames, 1),
        np.median(values["gaps"]) if values["gaps"] else np.nan,
        *median_and_variation("hand"),
        *median_and_variation("head"),
        np.median(values["frames"]),
    ]
    names = [name for row in ROWS.values() for name in row]
    return dict(zip(names, map(float, figures), strict=True))


def cell(row: str, figures: dict[str, float]) -> str:
    """The text of one row for one corpus."""
    return ", ".join(
        template.format(figures[name]) if np.isfinite(figures[name]) else "-"
        for name, template in ROWS[row].items()
    )


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="simulator.py", description=__doc__)
    parser.add_argument(
        "--corpora", type=Path, nargs="+", required=True, help="corpus folders, one column each"
    )
    parser.add_argument(
        "--sentences",
        type=int,
        default=300,
        help="sentences per corpus, spread evenly over train (default: 300)",
    )
    add_json_option(parser)
    options = parser.parse_args(argv)
    print(describe_machine())
    columns = {}
    for path in options.corpora:
        corpus = Corpus(path)
        columns[corpus.name + (" (simulated)" if corpus.simulated else "")] = measure(
            corpus, options.sentences
        )
    print(f"| | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for row in ROWS:
        print(f"| {row} | {' | '.join(cell(row, column) for column in columns.values())} |")
    figures = {
        figure_name(corpus, name): value
        for corpus, column in columns.items()
        for name, value in column.items()
    }
    finish(options, figures, next(name for name in figures if name.endswith("finger_jitter")))
    return 0


if __name__ == "__main__":
    run_script(main)
