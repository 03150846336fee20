"""One checkpoint read by every decoder, side by side: WER with its interval, substitutions,
deletions and insertions apart.

    python benchmarks/decoders.py --checkpoint checkpoints/mine/best_model.pth --data_dir data/corpora/mine --split dev

The model runs once; all decoders read the same log-probabilities. `adaptive` has the settings that
the checkpoint was given on dev, or chooses them there: on dev its rate is thus that of what it was
fitted to. The language model is the bigram of train.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.machine import describe_machine
from benchmarks.results import add_json_option, figure_name, finish
from command_line import Parser
from decoding.batches import decode_split
from decoding.length_normalization import filtered_decode
from decoding.scoring import align, bootstrap_interval, total
from errors import DataError, run_script
from inference.model_on_corpus import open_model_on_corpus


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="decoders.py", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True, help="best_model.pth of a run")
    parser.add_argument(
        "--data_dir", help="corpus folder (default: the one that the checkpoint was trained on)"
    )
    parser.add_argument(
        "--split", choices=("train", "dev", "test"), default="dev", help="what is scored"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    add_json_option(parser)
    options = parser.parse_args(argv)
    judged = open_model_on_corpus(options.checkpoint, options.data_dir, options.device)
    references = judged.prepared(options.split).references
    if not any(references):
        raise DataError(f"{judged.corpus.path}: the {options.split} split has no glosses to score")
    decoders = {
        "greedy": judged.decoder("greedy", None),
        "filtered": (filtered_decode, "greedy with confidence filter"),
        "beam": judged.decoder("beam", "none"),
        "beam + LM": judged.decoder("beam", "train"),
        "adaptive": judged.decoder("adaptive", None),
        "adaptive, LM": judged.decoder("adaptive", "train"),
    }
    print(describe_machine())
    print(f"{options.checkpoint}, {options.split} of {judged.corpus.describe()}")
    print(
        f"{'decoder':<12}  {'WER %':>7}  {'95 % interval':>16}  {'sub':>5}  {'del':>5}  {'ins':>5}  settings"
    )
    figures = {}
    for name, (decoder, described) in decoders.items():
        readings = decode_split(judged.posteriors(options.split), decoder)
        aligned = align(references, [judged.vocabulary.decode(reading) for reading in readings])
        found, (low, high) = total(aligned), bootstrap_interval(aligned)
        counts = f"{found.substitutions:>5}  {found.deletions:>5}  {found.insertions:>5}"
        print(f"{name:<12}  {found.wer:>7.2f}  {low:>7.2f}–{high:<8.2f}  {counts}  {described}")
        figures[figure_name(name, "wer")] = found.wer
    finish(options, figures, "adaptive_wer")
    return 0


if __name__ == "__main__":
    run_script(main)
