"""A bigram model of glosses, as a dense table: interpolated Kneser-Ney smoothing of the train
transcripts.

The method is that of Kneser and Ney 1995, in the interpolated form of Chen and Goodman 1999, with
one discount D = n1 / (n1 + 2 n2) per order:

    P(w | v) = max(c(v w) - D, 0) / c(v) + D * N(v .) / c(v) * P(w)
    P(w)     = max(N(. w) - D', 0) / N(. .) + D' * |seen| / N(. .) / |all|

c counts bigrams, N counts distinct bigrams. The last term is uniform over the vocabulary, so a
gloss that train lacks has a probability above 0. Index 0 of the tables, which is the blank
elsewhere, is the start and the end of a sentence: row 0 holds the first glosses of sentences,
column 0 the probability that a sentence ends. Each row sums to 1.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data.text_fields import nfc
from data.vocabulary import Vocabulary
from errors import DataError

START = END = 0
MAX_CLASSES = 8_000  # of a language model that a training or an evaluation makes: 1.4 GiB
_LOG10 = math.log(10)
# Log10 probability of a gloss that an ARPA file lacks, if the file has no <unk> either
_UNSEEN = -7.0
_COUNT = re.compile(r"ngram\s+([0-9]{1,3})\s*=\s*([0-9]{1,15})")  # a line of \data\


@dataclass(frozen=True)
class LanguageModel:
    """Natural logarithms of probabilities, float32.

    table: (V, V), row: previous gloss, column: next gloss. unigram: (V,). backoff: (V,);
    table[v, w] = backoff[v] + unigram[w] for a bigram v w that train lacks.
    """

    table: Tensor
    unigram: Tensor
    backoff: Tensor


def train_language_model_if_small(
    sentences: Sequence[Sequence[str]], vocabulary: Vocabulary
) -> LanguageModel | None:
    """`train_language_model`, or None and a printed line if its tables would need gigabytes."""
    if vocabulary.size > MAX_CLASSES:
        needed = 24 * vocabulary.size**2 / 2**30
        print(
            f"no language model: the table of {vocabulary.size:,} classes would need {needed:.1f} "
            f"GiB (limit: {MAX_CLASSES:,} classes); the decoder is tuned without one"
        )
        return None
    return train_language_model(sentences, vocabulary)


def train_language_model(
    sentences: Sequence[Sequence[str]], vocabulary: Vocabulary
) -> LanguageModel:
    """The Kneser-Ney bigrams of the sentences, which should be those of train. Needs up to 24 bytes
    for each pair of classes. Raises DataError if there is no sentence, or a gloss is outside the
    vocabulary."""
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
        classes = vocabulary.encode(sentence)
        assert classes is not None, "all glosses are in the vocabulary"
        path = [START, *classes, END]
        np.add.at(counts, (path[:-1], path[1:]), 1)
    continuations = (counts > 0).sum(0)  # N(. w)
    kinds = continuations.sum()
    lower = _discount(continuations)
    unigram = (
        np.maximum(continuations - lower, 0) + lower * np.count_nonzero(continuations) / len(counts)
    ) / kinds
    discount = _discount(counts)
    following = counts.sum(1, keepdims=True)  # c(v)
    context = np.maximum(following, 1)
    # A gloss that train lacks has no bigrams: it falls back to P(w)
    backoff = np.where(following > 0, discount * (counts > 0).sum(1, keepdims=True) / context, 1.0)
    table = np.maximum(counts - discount, 0) / context + backoff * unigram
    return LanguageModel(_logs(table), _logs(unigram), _logs(backoff[:, 0]))


def _logs(probabilities: np.ndarray) -> Tensor:
    return torch.from_numpy(np.log(probabilities)).float()


def _discount(counts: np.ndarray) -> float:
    """n1 / (n1 + 2 n2), with n1 and n2 the numbers of counts that are 1 and 2; one half if one of
    them is zero."""
    once, twice = np.count_nonzero(counts == 1), np.count_nonzero(counts == 2)
    return once / (once + 2 * twice) if once and twice else 0.5


def read_arpa(path: Path, vocabulary: Vocabulary) -> LanguageModel:
    """The unigrams and bigrams of an ARPA file (log10) over the vocabulary.

    Higher orders are ignored. Words outside the vocabulary are left out: rows then sum to less than
    1, which does not change the best hypothesis. A gloss that the file lacks gets the probability
    of <unk>. Raises DataError, which names the line, also for a file that is cut short.
    """
    lines = _lines(path)
    glosses = vocabulary.decode(range(1, vocabulary.size))
    index = {gloss: number for number, gloss in enumerate(glosses, start=1)}
    left, right = index | {"<s>": START}, index | {"</s>": END}
    size = vocabulary.size
    unigram, backoff = np.full(size, np.nan), np.zeros(size)
    bigrams: dict[tuple[int, int], float] = {}
    unseen = _UNSEEN
    order: int | None = None  # of the section that the line is in; None: another section
    found: Counter[int] = Counter()  # lines of each order
    for number, line in enumerate(lines, start=1):
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
        found[order] += 1
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
    _check_counts(path, lines, found)
    if not np.isfinite(unigram[1:]).any():
        raise DataError(
            f"{path} has no unigram for any of the {len(index)} glosses of the vocabulary: "
            "is it a model of other glosses?"
        )
    unigram[np.isnan(unigram)] = unseen
    table = backoff[:, None] + unigram
    for pair, value in bigrams.items():
        table[pair] = value
    natural = [torch.from_numpy(values * _LOG10).float() for values in (table, unigram, backoff)]
    return LanguageModel(table=natural[0], unigram=natural[1], backoff=natural[2])


def _lines(path: Path) -> list[str]:
    try:
        lines = [line.strip() for line in nfc(path.read_text(encoding="utf-8")).split("\n")]
    except OSError as error:
        raise DataError(
            f"language model {path} cannot be read: {error.strerror}: expected an ARPA file"
        ) from None
    except UnicodeDecodeError:
        raise DataError(
            f"language model {path} is not UTF-8 text; an ARPA file is expected"
        ) from None
    if "\\data\\" not in lines or "\\1-grams:" not in lines:
        raise DataError(
            f"language model {path} is not an ARPA file: no \\data\\ with \\1-grams: in it"
        )
    if "\\end\\" not in lines:
        raise DataError(
            f"language model {path} is cut short: found no \\end\\, expected it as the last line: "
            "copy it again"
        )
    return lines


def _check_counts(path: Path, lines: Sequence[str], found: Mapping[int, int]) -> None:
    """Raise DataError unless the file has as many unigrams and bigrams as its \\data\\ says."""
    header = lines[lines.index("\\data\\") : lines.index("\\1-grams:")]
    counts = [match for line in header if (match := _COUNT.fullmatch(line))]
    declared = {int(match[1]): int(match[2]) for match in counts}
    for order in (1, 2):
        if found[order] != declared.get(order, 0):
            raise DataError(
                f"language model {path} is damaged: it has {found[order]} {order}-grams, expected "
                f"{declared.get(order, 0)} by its \\data\\: copy it again"
            )
