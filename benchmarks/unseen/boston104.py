"""Cross-validation inside the 161 train sentences of RWTH-BOSTON-104. Its 40 test sentences are not
used.

    python benchmarks/unseen/boston104.py --input boston104 --output boston
    python benchmarks/unseen/boston104.py --input boston104 --output boston --seeds 0 1 2

INPUT has the tables of docs/boston104.md. Each of four folds holds out every fourth train sentence
as dev. Each row of the variants file (benchmarks/variants/boston104.yaml) is trained in each fold
and evaluated with greedy decoding after its last epoch: dev chooses nothing.

Runs that OUTPUT/runs.jsonl already has are not repeated. The result is OUTPUT/table.md: the WER of
each fold, their mean and standard deviation, and a paired test against the first row.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.results import add_json_option
from benchmarks.strangers import run_folds
from benchmarks.unseen.trained_runs import add_run_options, chosen_variants
from command_line import Parser
from data.corpus import Corpus
from data.corpus_writer import CorpusWriter
from data.sources.corpora.boston104 import import_boston104
from errors import run_script

VARIANTS = Path(__file__).parents[1] / "variants" / "boston104.yaml"
FOLDS = 4


def write_fold(source: Path, fold: int, output: Path) -> None:
    """Write the corpus of a fold: the train sentences of `source`, every fourth of them as dev."""
    corpus = Corpus(source)
    train = corpus.split("train")
    made_by = {"command": "benchmarks/unseen/boston104.py", "fold": fold}
    with CorpusWriter.like(corpus, output, made_by) as writer:
        for index, sentence in enumerate(train.sentences):
            split = writer.split("dev" if index % FOLDS == fold else "train")
            motion, times = train.read(index), train.times_of(index)
            split.add(sentence.id, sentence.signer, sentence.glosses, *motion, times)


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="boston104.py", description=__doc__)
    parser.add_argument("--input", type=Path, required=True, help="folder of the tables")
    parser.add_argument("--output", type=Path, required=True, help="folder for folds and results")
    add_run_options(parser, VARIANTS)
    parser.add_argument("--folds", type=int, nargs="+", choices=range(FOLDS), default=range(FOLDS))
    add_json_option(parser)
    options = parser.parse_args(argv)
    variants = chosen_variants(options)
    whole = options.output / "all"
    if not whole.exists():
        options.output.mkdir(parents=True, exist_ok=True)
        import_boston104(options.input, whole)
    run_folds(options, variants, lambda fold, corpus: write_fold(whole, fold, corpus))
    return 0


if __name__ == "__main__":
    run_script(main)
