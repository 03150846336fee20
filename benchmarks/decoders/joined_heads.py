"""What it is worth to join the heads of a model in the way that is best on dev.

    python benchmarks/decoders/joined_heads.py --checkpoints RUN/last.pth [...] --split test

Without --split, or with --split dev, the sentences of dev are divided into two random halves: the
way is chosen on one half and decodes the other one. Otherwise it is chosen on dev and decodes the
other split. For the greedy and the adaptive decoder, which is tuned on the same sentences, the
table has the WER of the sequence head alone and of the joined heads, with the p-value of the paired
test. The last lines have all models together.

The log-probabilities of the splits are kept in memory: with 5,001 classes about 1 MB for a sentence
of 50 steps.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from torch import Tensor

from benchmarks.results import add_json_option, describe_machine, figure_name, finish
from command_line import Parser
from decoding.batches import decode_sentences
from decoding.decoders import make_decoder
from decoding.language_model import train_language_model_if_small
from decoding.length_normalization import tune
from decoding.scoring import SentenceErrors, align, paired_p_value, total
from errors import run_script
from inference.model_on_corpus import ModelOnCorpus, open_model_on_corpus
from models.devices import Precision
from models.prediction import SEQUENCE_ALONE, JoinedHeads, log_prior_of
from training.head_tuning import CANDIDATES, decode_each_way

ALONE, JOINED = "sequence head alone", "joined heads"
DECODERS = ("greedy", "adaptive")
Errors = dict[tuple[str, str], list[SentenceErrors]]  # by decoder and heads


class Split:
    """A split of a model's corpus, with the greedy errors of each way to join the heads."""

    def __init__(self, model: ModelOnCorpus, name: str, log_prior: Tensor):
        self.model, self.name, self.log_prior = model, name, log_prior
        self.prepared = model.prepared(name)
        self.references = self.prepared.references
        precision = Precision("fp32", model.device)
        found = decode_each_way(
            model.model, model.pipeline, self.prepared, model.vocabulary, precision, log_prior
        )
        self.greedy = {heads: align(self.references, rows) for heads, rows in found.items()}

    def best(self, chosen: Sequence[int]) -> JoinedHeads:
        """The way with the lowest greedy WER on the chosen sentences."""
        return min(CANDIDATES, key=lambda h: total([self.greedy[h][i] for i in chosen]).wer)

    def posteriors(self, heads: JoinedHeads) -> dict[int, Tensor]:
        """The log-probabilities of each sentence, with the heads joined in this way."""
        self.model.model.prediction.use(heads, self.log_prior)
        return dict(self.model.posteriors(self.name))


def measure(model: ModelOnCorpus, name: str, seed: int) -> tuple[Errors, list[str]]:
    """The errors of each sentence of a split, and the ways that were chosen, in words."""
    vocabulary, train = model.vocabulary, model.prepared("train")
    prior = log_prior_of(torch.from_numpy(train.class_counts(vocabulary.size)))
    dev = Split(model, "dev", prior)
    measured = dev if name == "dev" else Split(model, name, prior)
    count = len(measured.references)
    everything = range(len(dev.references))
    passes = [(list(everything), list(range(count)))]  # chosen on, decoded
    if name == "dev":
        order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
        passes = [(order[::2], order[1::2]), (order[1::2], order[::2])]
    language_model = train_language_model_if_small(train.references, vocabulary)
    expected = model.checkpoint["decoder"]["steps_per_gloss"]
    found: dict[tuple[str, str], dict[int, SentenceErrors]] = {}
    words = []
    for chosen_on, decoded in passes:
        best = dev.best(chosen_on)
        words.append(str(best))
        for label, heads in ((ALONE, SEQUENCE_ALONE), (JOINED, best)):
            of_dev = dev.posteriors(heads)
            of_measured = of_dev if measured is dev else measured.posteriors(heads)
            settings = tune(
                enumerate(of_dev[index] for index in chosen_on),
                [dev.references[index] for index in chosen_on],
                vocabulary,
                expected,
                language_model,
            )
            rows = decode_sentences(
                enumerate(of_measured[index] for index in decoded),
                len(decoded),
                {"adaptive": make_decoder("adaptive", settings, language_model)},
            ).predictions["adaptive"]
            adaptive = align(
                [measured.references[index] for index in decoded],
                [vocabulary.decode(row) for row in rows],
            )
            found.setdefault(("adaptive", label), {}).update(zip(decoded, adaptive, strict=True))
            greedy = {index: measured.greedy[heads][index] for index in decoded}
            found.setdefault(("greedy", label), {}).update(greedy)
    return {key: [by_index[i] for i in range(count)] for key, by_index in found.items()}, words


def print_rows(name: str, errors: Errors, words: str) -> dict[str, float]:
    """Print a row of the table for each decoder, and return the figures."""
    figures = {}
    for decoder in DECODERS:
        alone, joined = errors[decoder, ALONE], errors[decoder, JOINED]
        p = paired_p_value(joined, alone)
        rates = total(alone).wer, total(joined).wer
        print(
            f"| {name} | {decoder} | {rates[0]:.2f} | {rates[1]:.2f} | {p:.4f} | {words} |",
            flush=True,
        )
        for label, rate in zip((ALONE, JOINED), rates, strict=True):
            figures[figure_name(name, decoder, label)] = rate
        figures[figure_name(name, decoder, "p")] = p
    return figures


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="joined_heads.py", description=__doc__)
    parser.add_argument("--checkpoints", type=Path, nargs="+", required=True, metavar="CHECKPOINT")
    parser.add_argument(
        "--data_dir", metavar="DIR", help="corpus folder (default: the checkpoints' own)"
    )
    parser.add_argument("--split", default="dev", help="split that is decoded (default: dev)")
    parser.add_argument("--seed", type=int, default=0, help="how dev is divided (default: 0)")
    add_json_option(parser)
    options = parser.parse_args(argv)
    print(describe_machine())
    print(f"| model | decoder | {ALONE}, WER % | {JOINED}, WER % | p | chosen |")
    print("|---|---|---|---|---|---|")
    figures: dict[str, float] = {}
    together: Errors = {}
    for path in options.checkpoints:
        model = open_model_on_corpus(path, options.data_dir, "auto")
        errors, words = measure(model, options.split, options.seed)
        figures |= print_rows(path.parent.name, errors, "; ".join(words))
        for key, sentences in errors.items():
            together.setdefault(key, []).extend(sentences)
    figures |= print_rows("all", together, "")
    finish(options, figures, "all_greedy_joined_heads")
    return 0


if __name__ == "__main__":
    run_script(main)
