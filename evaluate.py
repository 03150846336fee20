"""Score a checkpoint on a split of a corpus: WER with its interval, by signer and sentence length,
and what goes wrong.

    python evaluate.py --checkpoint checkpoints/mine/best_model.pth
    python evaluate.py --checkpoint checkpoints/mine/best_model.pth --split test --decoder beam --lm train
    python evaluate.py --checkpoint checkpoints/phoenix/best_model.pth --split test --scoring phoenix2014

Vocabulary, feature statistics and decoder settings are the checkpoint's; the model is computed in
fp32. Of the adaptive decoder, what was chosen on dev is applied as it is; a checkpoint without such
settings, or another --lm, makes it choose on the corpus's dev split first.

Writes report.html to look at, result.json, hypotheses.csv, sentences.csv (each sentence's errors), hypotheses.ctm and
references.stm (for sclite) and environment.json, into evaluation_<split>_<decoder> beside the checkpoint, with --lm and
--scoring in its name if given.

Exit codes: 0 done, 2 usage, 3 data.
"""

from argparse import Namespace
from pathlib import Path

from command_line import Parser
from errors import run_script
from training.config import DECODERS


def make_parser() -> Parser:
    parser = Parser(prog="evaluate.py", description=__doc__)
    what = parser.add_argument_group("what is scored")
    what.add_argument("--checkpoint", type=Path, required=True, help="best_model.pth of a run")
    what.add_argument(
        "--data_dir", help="corpus folder (default: the one that the checkpoint was trained on)"
    )
    what.add_argument(
        "--split", choices=("train", "dev", "test"), default="dev", help="split of the corpus"
    )

    how = parser.add_argument_group("how glosses are read and scored")
    how.add_argument(
        "--decoder", choices=DECODERS, default="adaptive", help="adaptive: as dev chose it"
    )
    how.add_argument(
        "--lm",
        metavar="PATH|train|none",
        help="bigram language model: an ARPA file, the corpus's train transcripts, or none "
        "(default: the checkpoint's, if dev chose it)",
    )
    how.add_argument(
        "--scoring",
        choices=("plain", "phoenix2014"),
        default="plain",
        help="phoenix2014: hypotheses pass the corpus's official clean-up, references stay as they are",
    )
    how.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")

    files = parser.add_argument_group("results")
    files.add_argument(
        "--output_dir",
        type=Path,
        metavar="DIR",
        help="where they go (default: beside the checkpoint)",
    )
    files.add_argument(
        "--compare_with",
        type=Path,
        metavar="DIR",
        help="another evaluation, for a paired test (default: none)",
    )
    return parser


def default_folder(options: Namespace) -> str:
    """evaluation_<split>_<decoder>, with _lm_<its name> and _phoenix2014 where those were asked
    for."""
    words = ["evaluation", options.split, options.decoder]
    if options.lm is not None:
        words += ["lm", Path(options.lm).stem]
    if options.scoring != "plain":
        words.append(options.scoring)
    return "_".join(words)


def main(argv: list[str] | None = None) -> int:
    options = make_parser().parse_args(argv)
    output_dir = options.output_dir or options.checkpoint.parent / default_folder(options)

    from inference.evaluation import EvaluationRequest, evaluate_checkpoint

    evaluate_checkpoint(
        EvaluationRequest(
            checkpoint=options.checkpoint,
            data_dir=options.data_dir,
            split=options.split,
            decoder=options.decoder,
            language_model=options.lm,
            scoring=options.scoring,
            output_dir=output_dir,
            compare_with=options.compare_with,
            device=options.device,
        )
    )
    return 0


if __name__ == "__main__":
    run_script(main)
