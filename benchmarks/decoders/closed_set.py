"""How fast is the closed-set decoder, and how much memory does it need?

    python benchmarks/decoders/closed_set.py
    python benchmarks/decoders/closed_set.py --corpus data/corpora/phoenix2014

Lists of 1,000 and 20,000 sentences. Without --corpus, a sentence has 2 to 20 random glosses out of
1,200; one gloss of two is frequent, so that sentences begin alike. With --corpus, they are train
sentences, and beyond these, the beginning of one joined with the end of another. A recording has 60
steps of random log-probabilities. The script prints sentences per second of CPU time, the time to
build the list, and the largest memory that the tensors of one recording need.
"""

import sys
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch

from benchmarks.results import add_json_option, describe_machine, finish
from command_line import Parser
from data.corpus import Corpus
from data.vocabulary import Vocabulary
from decoding.closed_set import ClosedSet
from errors import run_script

COUNTS, STEPS, RECORDINGS = (1_000, 20_000), 60, 9
GLOSSES, FREQUENT = 1_200, 30


def random_sentences(count: int, random: np.random.Generator) -> set[tuple[int, ...]]:
    """Different sentences of random class indices."""
    sentences: set[tuple[int, ...]] = set()
    while len(sentences) < count:
        highest = random.choice([FREQUENT, GLOSSES], size=random.integers(2, 21))
        sentences.add(tuple(random.integers(1, highest + 1).tolist()))
    return sentences


def train_sentences(path: Path, count: int, random: np.random.Generator) -> set[tuple[int, ...]]:
    """Sentences of a corpus, and joined ones if it has fewer than `count`."""
    glosses = [sentence.glosses for sentence in Corpus(path).split("train").sentences]
    vocabulary = Vocabulary.from_sentences(glosses)
    known = [tuple(vocabulary.encode(one) or ()) for one in glosses]
    sentences = set(known[:count])
    while len(sentences) < count:
        first, second = (known[place] for place in random.integers(0, len(known), size=2))
        cut = int(random.integers(0, len(first) + 1))
        sentences.add(first[:cut] + second[cut:])
    return sentences


def measure(sentences: set[tuple[int, ...]], random: np.random.Generator) -> dict[str, float]:
    """Sentences per second, seconds to build the list, and MB of the tensors."""
    classes = 1 + max(max(sentence, default=1) for sentence in sentences)
    started = time.process_time()
    closed = ClosedSet(tuple(sorted(sentences, key=lambda _: random.random())), "random")
    trees = closed._trees
    build = time.process_time() - started
    times = []
    for _ in range(RECORDINGS + 1):  # the first is a warm-up
        logits = 4 * random.standard_normal((STEPS, classes))
        log_probs = torch.from_numpy(logits).float().log_softmax(-1)
        started = time.process_time()
        closed.log_probabilities(log_probs)
        times.append(time.process_time() - started)
    nodes = [len(tree.gloss) for _, tree in trees]
    # Two tensors that are kept per node, and six of one tree while it is computed
    megabytes = (16 * sum(nodes) + 40 * max(nodes)) / 1e6
    return {
        "sentences_per_second": len(sentences) / median(times[1:]),
        "build_seconds": build,
        "megabytes": megabytes,
    }


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="closed_set.py", description=__doc__)
    parser.add_argument("--corpus", type=Path, help="a corpus folder (default: random sentences)")
    add_json_option(parser)
    args = parser.parse_args(argv)
    print(describe_machine())
    figures = {}
    for count in COUNTS:
        random = np.random.default_rng(0)
        sentences = (
            random_sentences(count, random)
            if args.corpus is None
            else train_sentences(args.corpus, count, random)
        )
        found = measure(sentences, random)
        glosses = sum(map(len, sentences)) / count
        print(
            f"{count:,} sentences of {glosses:.1f} glosses: "
            f"{found['sentences_per_second']:,.0f} sentences per second, "
            f"list built in {found['build_seconds']:.2f} s, {found['megabytes']:.1f} MB"
        )
        figures |= {f"{name}_{count}": value for name, value in found.items()}
    finish(args, figures, f"sentences_per_second_{COUNTS[-1]}")
    return 0


if __name__ == "__main__":
    run_script(main)
