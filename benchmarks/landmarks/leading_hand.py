"""How often is the leading hand found?

    python benchmarks/landmarks/leading_hand.py --data_dir CORPUS ...

Counts sentences in which only one hand was detected: in half of the frames or more, and the other
hand in less than a tenth. In them the leading hand is known. "missed" are sentences of the left
hand that are not mirrored, "flipped" are sentences of the right hand that are. The rules:

    earlier   the rule of version 0.2: a hand is higher and moves more
    wrists    the wrists alone: a hand is higher and moves more, or is much higher
    alone     the rule of today, each sentence by itself
    signer    the rule of today, with the votes of known signers
"""

import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from benchmarks.results import add_json_option, figure_name, finish
from command_line import Parser
from data.batching import load_batch, plan_evaluation
from data.corpus import Corpus, Split
from data.features import body_coordinates, frame_mask
from data.handedness.leading_hand import (
    hand_evidence,
    hand_totals,
    left_hand_higher_and_moving,
    left_hand_leads,
)
from data.handedness.signer_votes import signer_votes
from data.landmarks import PARTS, LandmarkSelection
from errors import run_script

RULES = ("earlier", "wrists", "alone", "signer")
POINTS = LandmarkSelection(())


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="leading_hand.py", description=__doc__)
    parser.add_argument(
        "--data_dir", type=Path, nargs="+", required=True, metavar="DIR", help="corpus folders"
    )
    add_json_option(parser)
    options = parser.parse_args(argv)
    figures: dict[str, float] = {}
    total: Counter[str] = Counter()
    for path in options.data_dir:
        corpus = Corpus(path)
        for name, split in corpus.splits.items():
            counts = count(split, corpus.aspect_ratio)
            total.update(counts)
            show(f"{corpus.name} {name}", counts)
            figures |= {figure_name(corpus.name, name, key): n for key, n in counts.items()}
    show("all", total)
    figures |= {figure_name("all", key): n for key, n in total.items()}
    finish(options, figures, "all_signer_missed")
    return 0


def count(split: Split, aspect_ratio: float) -> Counter[str]:
    """Sentences of the left and the right hand alone, and how many of them each rule gets wrong."""
    counts: Counter[str] = Counter({"sentences": len(split), "left": 0, "right": 0})
    votes = signer_votes(split, aspect_ratio)
    for indices in plan_evaluation(split.lengths, 64):
        batch = load_batch(split, indices, POINTS)
        body = body_coordinates(
            batch.landmarks, batch.detected, batch.lengths, aspect_ratio, False, POINTS
        )
        inside = frame_mask(batch.lengths, body.shape[1])
        seen = batch.detected.sum(1) / batch.lengths[:, None]
        left, right = (seen[:, PARTS.index(f"{side}_hand")] for side in ("left", "right"))
        only_left, only_right = (left >= 0.5) & (right < 0.1), (right >= 0.5) & (left < 0.1)
        totals = hand_totals(body, batch.detected, inside, POINTS)
        wrists_alone = totals * torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 1.0])
        own = None if votes is None else torch.from_numpy(votes[indices])
        mirrored = {
            "earlier": left_hand_higher_and_moving(body, inside, POINTS),
            "wrists": hand_evidence(wrists_alone) > 0,
            "alone": hand_evidence(totals) > 0,
            "signer": left_hand_leads(body, batch.detected, inside, POINTS, own),
        }
        counts.update(left=int(only_left.sum()), right=int(only_right.sum()))
        for rule, flip in mirrored.items():
            counts[f"{rule}_missed"] += int((only_left & ~flip).sum())
            counts[f"{rule}_flipped"] += int((only_right & flip).sum())
            counts[f"{rule}_mirrored"] += int(flip.sum())
    return counts


def show(name: str, counts: Counter[str]) -> None:
    print(
        f"{name}: {counts['sentences']} sentences, {counts['left']} of the left hand alone, "
        f"{counts['right']} of the right hand alone"
    )
    for rule in RULES:
        print(
            f"  {rule:8} missed {counts[f'{rule}_missed']:4}   "
            f"flipped {counts[f'{rule}_flipped']:4}   mirrored {counts[f'{rule}_mirrored']:5}"
        )


if __name__ == "__main__":
    run_script(main)
