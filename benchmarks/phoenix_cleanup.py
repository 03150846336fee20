"""Check the clean-up of RWTH-PHOENIX-Weather 2014 against the official references.

    python benchmarks/phoenix_cleanup.py --phoenix DIR

DIR has <split>.corpus.csv and the official references <split>.stm. Prints the WER of each split's
annotations against its references, before and after the clean-up. Exit code 1 unless train is below
0.2 % after the clean-up and dev and test are equal to their references without it.

Also prints what each way of cleaning hypotheses makes of doubled glosses. The hypotheses are the
dev references with random errors (about 16.6 % WER), and with 0, 1 and 3 % of their glosses
doubled. The official clean-up of a ctm file counts a doubled gloss as an error. The clean-up of
whole sentences, and merging all repeats, do not.
"""

import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import jiwer
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.results import add_json_option, figure_name, finish
from command_line import Parser
from data.sources.annotations.phoenix_cleanup import (
    normalize_gloss_phoenix2014,
    normalize_phoenix2014,
)
from data.sources.annotations.transcripts import read_splits
from errors import DataError, run_script


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="phoenix_cleanup.py", description=__doc__)
    parser.add_argument(
        "--phoenix", type=Path, required=True, metavar="DIR", help="folder of the csv and stm files"
    )
    add_json_option(parser)
    options = parser.parse_args(argv)
    folder, passed, figures = options.phoenix, True, {}
    for split, sentences in read_splits(folder).items():
        references = read_stm(folder / f"{split}.stm")
        ids = [sentence.id for sentence in sentences]
        if set(ids) != set(references):
            raise DataError(
                f"{folder / f'{split}.stm'} has other sentences than the annotations of {split}"
            )
        expected = [references[id] for id in ids]
        raw = jiwer.wer(expected, [" ".join(sentence.glosses) for sentence in sentences])
        cleaned = jiwer.wer(
            expected, [" ".join(normalize_phoenix2014(sentence.glosses)) for sentence in sentences]
        )
        print(
            f"{split:5} {len(ids):5} sentences   raw {100 * raw:6.3f} %   "
            f"cleaned {100 * cleaned:6.3f} %"
        )
        figures |= {f"{split}_raw_wer": 100 * raw, f"{split}_cleaned_wer": 100 * cleaned}
        passed &= cleaned < 0.002 if split == "train" else raw == 0
        if split == "dev":
            figures |= score_doubled_glosses([reference.split() for reference in expected])
    finish(options, figures, "train_cleaned_wer")
    return 0 if passed else 1


def score_doubled_glosses(references: list[list[str]]) -> dict[str, float]:
    """Print the WER of hypotheses with doubled glosses, by each way of cleaning them."""
    ways = {
        "gloss by gloss": lambda glosses: filter(None, map(normalize_gloss_phoenix2014, glosses)),
        "whole sentence": normalize_phoenix2014,
        "repeats merged": lambda glosses: [gloss for gloss, _ in groupby(glosses)],
    }
    figures = {}
    for percent in (0, 1, 3):
        hypotheses = with_errors(references, percent / 100)
        for way, clean in ways.items():
            wer = jiwer.wer(
                [" ".join(glosses) for glosses in references],
                [" ".join(clean(glosses)) for glosses in hypotheses],
            )
            figures[figure_name("doubled", str(percent), way)] = 100 * wer
            print(f"dev with errors, {percent} % doubled   {way}: {100 * wer:6.2f} %")
    return figures


def with_errors(references: Sequence[Sequence[str]], doubled: float) -> list[list[str]]:
    """The references with 6 % deletions, 8 % substitutions and 3 % insertions, and with this share
    of their glosses doubled. The other errors do not depend on `doubled`."""
    random = np.random.default_rng(0)
    glosses = sorted({gloss for reference in references for gloss in reference})
    hypotheses = []
    for reference in references:
        hypotheses.append(hypothesis := [])
        for gloss in reference:
            kind, twice = random.random(2)
            other = glosses[random.integers(len(glosses))]
            if kind < 0.06:
                continue
            kept = other if kind < 0.14 else gloss
            hypothesis += [kept, kept] if twice < doubled else [kept]
            if kind > 0.97:
                hypothesis.append(other)
    return hypotheses


def read_stm(path: Path) -> dict[str, str]:
    """References by sentence id: `id channel speaker start end gloss gloss ...`."""
    lines = [
        line.split()
        for line in path.read_text(encoding="utf-8").splitlines()
        if not line.startswith(";;")
    ]
    return {fields[0]: " ".join(fields[5:]) for fields in lines if fields}


if __name__ == "__main__":
    run_script(main)
