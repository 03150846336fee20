"""Check the clean-up of RWTH-PHOENIX-Weather 2014 against the official references.

    python benchmarks/phoenix_cleanup.py --phoenix DIR

DIR has <split>.corpus.csv and the official references <split>.stm. Prints the WER of each split's
annotations against its references, before and after the clean-up. Exit code 1 unless train is below
0.2 % after the clean-up and dev and test are equal to their references without it.
"""

import sys
from pathlib import Path

import jiwer

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.results import add_json_option, finish
from command_line import Parser
from data.sources.transcripts import normalize_phoenix2014, read_splits
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
    finish(options, figures, "train_cleaned_wer")
    return 0 if passed else 1


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
