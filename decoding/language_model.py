"""A bigram model of glosses: interpolated Kneser–Ney smoothing of the train transcripts, as a dense
table.

Kneser and Ney 1995, in the interpolated form of Chen and Goodman 1999 with one discount D = n1 /
(n1 + 2 n2) an order:

    P(w | v) = max(c(v w) - D, 0) / c(v) + D * N(v .) / c(v) * P(w)
    P(w)     = max(N(. w) - D', 0) / N(. .) + D' * |seen| / N(. .) / |all|

c counts bigrams, N counts distinct ones. The uniform last term gives glosses of the vocabulary that
train never says a chance. Sentence start and end are the tables' index 0, the class that is the
blank elsewhere: row 0 is what begins a sentence, column 0 what ends one, so every row sums to 1.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data.vocabulary import Vocabulary
from errors import DataError

START = END = 0
_LOG10 = math.log(10)
# Log10 probability of a vocabulary gloss that an ARPA file has neither itself nor as <unk>
_UNSEEN = -7.0


@dataclass(frozen=True)
class LanguageModel:
    """Natural logarithms, float32: table (V, V), row the previous gloss, column the next; unigram
    (V,); backoff (V,), with table[v, w] = backoff[v] + unigram[w] where the bigram v w is not
    listed."""

    table: Tensor
    unigram: Tensor
    backoff: Tensor


def train_language_model(
    sentences: Sequence[Sequence[str]], vocabulary: Vocabulary
) -> LanguageModel:
    """Kneser–Ney bigrams of the (train) sentences. Raises DataError when there is no sentence, or a
    gloss is unknown."""
    unknown = vocabulary.unknown(sentences)
    if unknown or not sentences:
        found = (
            f"{len(unknown)} glosses outside the vocabulary, first {unknown[0]!r}"
            if unknown
            else "no sentences"
        )
        raise DataError(f"cannot train a language model on transcripts with {found}")
    counts = np.zeros((vocabulary.size, vocabulary.size))
    for sentence in sentences:
        path = [START, *vocabulary.encode(sentence), END]
        np.add.at(counts, (path[:-1], path[1:]), 1)
    continuations = (counts > 0).sum(0)  # N(. w)
    kinds = continuations.sum()
    lower = _discount(continuations)
    unigram = (
        np.maximum(continuations - lower, 0) + lower * np.count_nonzero(continuations) / len(counts)
    ) / kinds
    discount = _discount(counts)
    # C(v); 0 for a gloss that train never says: it falls back to P(w)
    following = counts.sum(1, keepdims=True)
    heard = np.maximum(following, 1)
    backoff = np.where(following > 0, discount * (counts > 0).sum(1, keepdims=True) / heard, 1.0)
    table = np.maximum(counts - discount, 0) / heard + backoff * unigram
    return LanguageModel(
        *(torch.from_numpy(np.log(values)).float() for values in (table, unigram, backoff[:, 0]))
    )


def _discount(counts: np.ndarray) -> float:
    """n1 / (n1 + 2 n2); one half where the counts are too few to tell."""
    once, twice = np.count_nonzero(counts == 1), np.count_nonzero(counts == 2)
    return once / (once + 2 * twice) if once and twice else 0.5


def perplexity(
    model: LanguageModel, vocabulary: Vocabulary, sentences: Sequence[Sequence[str]]
) -> tuple[float, int]:
    """Perplexity a token, sentence ends included, and the number of glosses left out as outside the
    vocabulary.

    Those cannot be predicted and are not counted; what follows one is predicted by its unigram.
    """
    total, tokens, outside = 0.0, 0, 0
    for sentence in sentences:
        previous: int | None = START
        for gloss in [*sentence, None]:
            if gloss is not None and gloss not in vocabulary:
                outside, previous = outside + 1, None
                continue
            index = END if gloss is None else vocabulary.encode([gloss])[0]
            total += float(
                model.unigram[index] if previous is None else model.table[previous, index]
            )
            tokens, previous = tokens + 1, index
    return math.exp(-total / tokens), outside


def write_arpa(model: LanguageModel, vocabulary: Vocabulary, path: Path) -> None:
    """As an ARPA file of order 2 (log10), for other tools: kenlm, SRILM, flashlight. Raises
    DataError."""
    listed = (model.table - (model.backoff[:, None] + model.unigram)) > 1e-6
    listed[START, END] = False  # an empty sentence; kenlm does not expect one
    unigram, backoff, table = (
        (values.double() / _LOG10).tolist()
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
    try:
        path.write_text("\n".join([*lines, "", "\\end\\", ""]), encoding="utf-8")
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}") from error


def read_arpa(path: Path, vocabulary: Vocabulary) -> LanguageModel:
    """The unigrams and bigrams of an ARPA file (log10) over the vocabulary; higher orders are
    passed over.

    Words outside the vocabulary are left out (rows then sum to less than 1, which does not change
    what wins). A gloss that the file lacks has the probability of its <unk>. Raises DataError
    naming the line.
    """
    index = {gloss: number for number, gloss in enumerate(vocabulary.glosses, start=1)}
    left, right = index | {"<s>": START}, index | {"</s>": END}
    size = vocabulary.size
    unigram, backoff = np.full(size, np.nan), np.zeros(size)
    bigrams: dict[tuple[int, int], float] = {}
    unseen, order = _UNSEEN, None
    for number, line in enumerate(_lines(path), start=1):
        if line.startswith("\\"):
            order = {"\\1-grams:": 1, "\\2-grams:": 2}.get(line)
            continue
        if order is None or not line:
            continue
        fields = line.split()
        try:
            value, words = float(fields[0]), fields[1 : 1 + order]
            weight = float(fields[1 + order]) if len(fields) > 1 + order else 0.0
            if len(words) < order or len(fields) > 2 + order or not math.isfinite(value + weight):
                raise ValueError
        except ValueError:
            raise DataError(
                f"{path} line {number}: expected '<log10> <{order} words> [<backoff>]': {line!r}"
            ) from None
        if order == 2:
            if words[0] in left and words[1] in right:
                bigrams[left[words[0]], right[words[1]]] = value
            continue
        if words[0] == "<unk>":
            unseen = value
        if words[0] in right:
            unigram[right[words[0]]] = value
        if words[0] in left:
            backoff[left[words[0]]] = weight
    known = np.isfinite(unigram[1:]).sum()
    if not known:
        raise DataError(
            f"{path} has no unigram for any of the {len(index)} glosses of the vocabulary: not their model?"
        )
    unigram[np.isnan(unigram)] = unseen
    table = backoff[:, None] + unigram
    for pair, value in bigrams.items():
        table[pair] = value
    return LanguageModel(
        *(torch.from_numpy(values * _LOG10).float() for values in (table, unigram, backoff))
    )


def _lines(path: Path) -> list[str]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").split("\n")]
    except OSError as error:
        raise DataError(f"language model {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(
            f"language model {path} is not UTF-8 text; an ARPA file is expected"
        ) from None
    if "\\data\\" not in lines or "\\1-grams:" not in lines:
        raise DataError(
            f"language model {path} is not an ARPA file: no \\data\\ with \\1-grams: in it"
        )
    return lines
