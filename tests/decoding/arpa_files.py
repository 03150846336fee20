"""ARPA files of language models, for tests that read them."""

import math
from pathlib import Path

from data.vocabulary import Vocabulary
from decoding.language_model import END, START, LanguageModel


def write_arpa(model: LanguageModel, vocabulary: Vocabulary, path: Path) -> None:
    """Write an ARPA file of order 2 (log10), as kenlm and SRILM make it."""
    listed = (model.table - (model.backoff[:, None] + model.unigram)) > 1e-6
    listed[START, END] = False  # an empty sentence; kenlm does not expect one
    unigram, backoff, table = (
        (values.double() / math.log(10)).tolist()
        for values in (model.unigram, model.backoff, model.table)
    )
    pairs = listed.nonzero().tolist()
    lines = [
        "\\data\\",
        f"ngram 1={vocabulary.size + 1}",
        f"ngram 2={len(pairs)}",
        "",
        "\\1-grams:",
    ]
    lines += [f"-99\t<s>\t{backoff[START]:.6f}", f"{unigram[END]:.6f}\t</s>"]
    for index, gloss in enumerate(vocabulary.glosses, start=1):
        lines.append(f"{unigram[index]:.6f}\t{gloss}\t{backoff[index]:.6f}")
    lines += ["", "\\2-grams:"]
    for previous, following in pairs:
        left = vocabulary.glosses[previous - 1] if previous else "<s>"
        right = vocabulary.glosses[following - 1] if following else "</s>"
        lines.append(f"{table[previous][following]:.6f}\t{left} {right}")
    path.write_text("\n".join([*lines, "", "\\end\\", ""]), encoding="utf-8")
