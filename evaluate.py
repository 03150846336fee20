"""Evaluate a checkpoint on a split of a corpus: WER with its interval, by signer and sentence length, and the errors.

    python evaluate.py --checkpoint checkpoints/mine/best_model.pth
    python evaluate.py --checkpoint checkpoints/mine/best_model.pth --split test --decoder beam --lm train
    python evaluate.py --checkpoint checkpoints/phoenix2014/best_model.pth --split test --scoring phoenix2014
    python evaluate.py --checkpoint checkpoints/mine/best_model.pth --decoder closed --closed_set phrases.txt

The checkpoint has vocabulary, feature statistics and decoder settings; the model is computed in fp32. `adaptive` uses the
checkpoint's settings. Without any, or with another --lm, it tunes them on the dev split of the corpus first. `closed` chooses
among the sentences of a list; its error rate is reported apart from an open-vocabulary WER. docs/evaluation.md explains the groups
of known and new sentences and glosses.

Writes report.html, result.json, hypotheses.csv, sentences.csv (the errors of each sentence), submission.csv (id,gloss, for
challenges), hypotheses.ctm and references.stm (for sclite) and environment.json, into evaluation_<split>_<decoder> beside the checkpoint; for another corpus than that of the
training into evaluation_<corpus>_<split>_<decoder>. A sentence in which no pose was detected has no gloss; a warning names it.
A test split without glosses is predicted alone: hypotheses.csv, submission.csv, hypotheses.ctm, environment.json.

Exit codes: 0 done, 2 usage, 3 data.
"""

from collections.abc import Sequence

from command_line import Parser, add_options, parse_request
from errors import run_script
from inference.requests import EvaluationRequest


def make_parser() -> Parser:
    parser = Parser(prog="evaluate.py", description=__doc__).add_version()
    add_options(parser, EvaluationRequest)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    request = parse_request(make_parser(), argv, EvaluationRequest)

    from inference.evaluation import evaluate_checkpoint

    evaluate_checkpoint(request)
    return 0


if __name__ == "__main__":
    run_script(main, to_its_end=True)
