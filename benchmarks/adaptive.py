"""Compare the adaptive decoder with greedy decoding and with a beam search without it.

    python benchmarks/adaptive.py --checkpoints RUN/best_model.pth [...] --split test

Models of different WER show where the decoder helps: copies of last.pth after early epochs, or runs
with few --epochs. The sentences of the split are divided into two random halves. Each decoder is
tuned on one half and decodes the other one, so every sentence is decoded with settings from
sentences that are not itself. Three decoders:

    greedy     the best class of each step
    beam       beam search; its gloss bonus and language model weight are tuned, the strength is 0
    adaptive   as `train_teacher.py` tunes it: greedy, filtered, or beam with any strength

Prints the WER of each, the number of sentences whose hypotheses differ between beam and adaptive,
and p-values of paired tests; and how well the length of a sentence predicts its number of glosses,
because the adaptive decoder relies on that.

The log-probabilities of the whole split are kept in memory: with 5,001 classes about 1 MB for a
sentence of 50 steps.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch

from benchmarks.results import add_json_option, describe_machine, figure_name, finish
from command_line import Parser
from data.ctc_lengths import ctc_steps
from decoding.batches import decode_sentences
from decoding.decoders import make_decoder
from decoding.language_model import train_language_model
from decoding.length_normalization import STRENGTHS, LengthNormalization, tune
from decoding.scoring import align, bootstrap_interval, paired_p_value, total
from errors import run_script
from inference.model_on_corpus import ModelOnCorpus, open_model_on_corpus

DECODERS = {"greedy": None, "beam": STRENGTHS[:1], "adaptive": STRENGTHS}


def decode_halves(
    model: ModelOnCorpus, split: str, seed: int, with_language_model: bool = True
) -> dict[str, list[list[str]]]:
    """The hypotheses of each decoder, for all sentences of the split."""
    posteriors, references = dict(model.posteriors(split)), model.prepared(split).references
    language_model = None
    if with_language_model:
        train = [sentence.glosses for sentence in model.corpus.split("train").sentences]
        language_model = train_language_model(train, model.vocabulary)
    expected = model.checkpoint["decoder"]["steps_per_gloss"]
    order = torch.randperm(len(posteriors), generator=torch.Generator().manual_seed(seed)).tolist()
    halves = order[::2], order[1::2]
    hypotheses: dict[str, list[list[str]]] = {name: [[]] * len(order) for name in DECODERS}
    for half, other in (halves, halves[::-1]):
        for name, strengths in DECODERS.items():
            settings = LengthNormalization(expected, "greedy")
            if strengths is not None:
                settings = tune(
                    enumerate(posteriors[index] for index in other),
                    [references[index] for index in other],
                    model.vocabulary,
                    expected,
                    language_model,
                    strengths,
                )
            print(f"  {name}, tuned on {len(other)} sentences: {settings}")
            decoder = make_decoder("adaptive", settings, language_model)
            of_half = enumerate(posteriors[index] for index in half)
            found = decode_sentences(of_half, len(half), {name: decoder})
            for index, classes in zip(half, found.predictions[name], strict=True):
                hypotheses[name][index] = model.vocabulary.decode(classes)
    return hypotheses


def compare(
    name: str, hypotheses: dict[str, list[list[str]]], references: Sequence[Sequence[str]]
) -> dict[str, float]:
    """Print the comparison of all decoders, and return its figures."""
    aligned = {decoder: align(references, found) for decoder, found in hypotheses.items()}
    figures = {}
    for decoder, errors in aligned.items():
        low, high = bootstrap_interval(errors)
        wer = figures[figure_name(name, decoder, "wer")] = total(errors).wer
        print(f"{name} {decoder}: {wer:.2f} % WER, 95 % interval {low:.2f} to {high:.2f}")
    differ = sum(
        beam != adaptive
        for beam, adaptive in zip(hypotheses["beam"], hypotheses["adaptive"], strict=True)
    )
    for other in ("greedy", "beam"):
        p = paired_p_value(aligned["adaptive"], aligned[other])
        figures[figure_name(name, "adaptive_against", other, "p")] = p
        print(f"{name} adaptive against {other}: p = {p:.4f}")
    print(f"{name}: {differ} of {len(references)} hypotheses differ between beam and adaptive")
    return figures


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="adaptive.py", description=__doc__)
    parser.add_argument("--checkpoints", type=Path, nargs="+", required=True, metavar="CHECKPOINT")
    parser.add_argument(
        "--data_dir", metavar="DIR", help="corpus folder (default: the checkpoints' own)"
    )
    parser.add_argument("--split", default="test", help="split to divide (default: test)")
    parser.add_argument(
        "--lm",
        choices=("train", "none"),
        default="train",
        help="language model: bigrams of the train split, or none (default: train)",
    )
    parser.add_argument("--seed", type=int, default=0, help="how it is divided (default: 0)")
    add_json_option(parser)
    options = parser.parse_args(argv)
    print(describe_machine())
    figures: dict[str, float] = {}
    for path in options.checkpoints:
        model = open_model_on_corpus(path, options.data_dir, "auto")
        name = f"{path.parent.name}/{path.stem}"
        with_language_model = options.lm == "train"
        found = decode_halves(model, options.split, options.seed, with_language_model)
        references = model.prepared(options.split).references
        steps = [ctc_steps(s.frames) for s in model.corpus.split(options.split).sentences]
        correlation = float(np.corrcoef(steps, [len(glosses) for glosses in references])[0, 1])
        print(f"{name}: correlation of steps and glosses {correlation:.2f}")
        figures[figure_name(name, "length_correlation")] = correlation
        figures |= compare(name, found, references)
    gains = [
        figures[key.replace("_adaptive_wer", "_beam_wer")] - wer
        for key, wer in figures.items()
        if key.endswith("_adaptive_wer")
    ]
    figures["gain_over_beam"] = sum(gains) / len(gains)
    finish(options, figures, "gain_over_beam")
    return 0


if __name__ == "__main__":
    run_script(main)
