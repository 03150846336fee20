"""How well a corpus's train transcripts predict its dev ones: perplexity of the bigram model that
the decoders use.

    python benchmarks/language_model.py --transcripts train.corpus.csv --dev dev.corpus.csv
    python benchmarks/language_model.py --transcripts train.corpus.csv --dev dev.corpus.csv --arpa train.arpa

Any annotation file that prepare_data.py reads will do. The ARPA file is for other tools, and for
evaluate.py --lm.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.results import add_json_option, finish
from command_line import Parser
from data.sources.transcripts import read_transcript
from data.vocabulary import Vocabulary
from decoding.language_model import perplexity, train_language_model, write_arpa
from errors import DataError, run_script


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="language_model.py", description=__doc__)
    parser.add_argument(
        "--transcripts", type=Path, required=True, help="what the model is trained on"
    )
    parser.add_argument("--dev", type=Path, required=True, help="what it has to predict")
    parser.add_argument(
        "--arpa",
        type=Path,
        metavar="PATH",
        help="write the model there, as an ARPA file of order 2",
    )
    add_json_option(parser)
    options = parser.parse_args(argv)
    train, dev = (
        [sentence.glosses for sentence in read_transcript(path)]
        for path in (options.transcripts, options.dev)
    )
    if not dev:
        raise DataError(f"{options.dev} has no sentences to predict")
    vocabulary = Vocabulary.from_sentences(train)
    model = train_language_model(train, vocabulary)
    if options.arpa:
        write_arpa(model, vocabulary, options.arpa)
    found, outside = perplexity(model, vocabulary, dev)
    said = sum(map(len, dev))
    print(
        f"train: {len(train):,} sentences, {sum(map(len, train)):,} glosses, {len(vocabulary.glosses):,} different ones"
    )
    print(f"dev: {len(dev):,} sentences, {said:,} glosses")
    print(
        f"outside the vocabulary: {outside} ({100 * outside / max(said, 1):.2f} %), not predicted"
    )
    finish(
        options,
        {"perplexity": found, "dev_glosses": said, "outside_vocabulary": outside},
        "perplexity",
    )
    return 0


if __name__ == "__main__":
    run_script(main)
