"""The closed-set decoder: the most probable sentence of a list.

A phrase book, or the sentences of train, is a closed set: every recording gets one of its
sentences. For each sentence of the list, the decoder computes the exact CTC probability, summed
over all alignments, by the forward algorithm (Graves et al. 2006). Nothing is pruned.

Sentences with the same beginning share the work. The list is a tree of prefixes; a sentence is a
node of it. At step t, a node has two probabilities: of all alignments of its prefix that end in a
blank, and of those that end in its last gloss.

    gloss(node, t) = y(gloss, t) * (gloss(node, t-1) + enters(node, t-1))
    blank(node, t) = y(blank, t) * (gloss(node, t-1) + blank(node, t-1))

y is the model's output. `enters` is the probability of the parent, the prefix without the last
gloss: blank + gloss, but only blank if both last glosses are equal, because CTC needs a blank
between them. All nodes take a step together, as logarithms in float64.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from pathlib import Path

import torch
from torch import Tensor

from data.text_fields import nfc
from data.vocabulary import BLANK, Vocabulary
from errors import DataError

# Log-probabilities that differ by less are equal: the first sentence of the list is chosen
_TIE = 1e-9
# A gloss with a log-probability at or below this cannot be there. inference/presence.py gives it to
# the steps in which nobody is seen. Finite, so that no decoder has to treat infinity.
NEVER = -1e4
# The sentences of a tree, which is computed at once, have up to this many glosses: 60 bytes each
_MOST_GLOSSES = 50_000


@dataclass(frozen=True)
class _Tree:
    """A tree of prefixes. Node 0 is the empty prefix.

    gloss: int64 (N,), the last gloss of each node; the blank for node 0.
    enters_from: int64 (N,), the place of `enters` in a tensor (2N,) that holds `blank` of all
        nodes, then `blank` + `gloss` of all nodes.
    ends: int64 (S,), the node of each sentence.
    """

    gloss: Tensor
    enters_from: Tensor
    ends: Tensor

    def log_probabilities(self, log_probs: Tensor) -> Tensor:
        """float64 (S,), log P of each sentence. log_probs: float64 (T, V)."""
        nodes = len(self.gloss)
        # `total` and `blank` are parts of one tensor, so that `enters` is one look-up
        both = log_probs.new_full((2 * nodes,), -torch.inf)
        blank, total = both[:nodes], both[nodes:]
        blank[0] = total[0] = 0.0
        gloss, enters, emitted = (torch.full_like(blank, -torch.inf) for _ in range(3))
        for step in log_probs:
            torch.index_select(both, 0, self.enters_from, out=enters)
            enters[0] = -torch.inf  # nothing is before the empty prefix
            torch.index_select(step, 0, self.gloss, out=emitted)
            torch.logaddexp(gloss, enters, out=gloss).add_(emitted)
            torch.add(total, step[BLANK], out=blank)
            torch.logaddexp(blank, gloss, out=total)
        return total[self.ends]


@dataclass(frozen=True)
class ClosedSet:
    """A list of sentences, and the decoder that chooses one of them.

    sentences: the class indices of each sentence; they are distinct. source: where the list comes
    from, in words, such as 'train of demo'. left_out: sentences of that source that are not in the
    list, because a gloss is outside the vocabulary.
    """

    sentences: tuple[tuple[int, ...], ...]
    source: str
    left_out: int = 0

    def __str__(self) -> str:
        count = len(self.sentences)
        return f"closed set, {count:,} sentence{'' if count == 1 else 's'} of {self.source}"

    def __contains__(self, classes: Sequence[int]) -> bool:
        return tuple(classes) in self._known

    @cached_property
    def _known(self) -> frozenset[tuple[int, ...]]:
        return frozenset(self.sentences)

    @cached_property
    def _trees(self) -> list[tuple[Tensor, _Tree]]:
        """The places of some sentences in the list, int64 (S,), and the tree of these sentences."""
        return [
            (torch.tensor(places), _grow_tree(self.sentences[place] for place in places))
            for places in _in_parts(self.sentences, _MOST_GLOSSES)
        ]

    def log_probabilities(self, log_probs: Tensor) -> Tensor:
        """float64 (S,), log P of each sentence of the list; -inf for a sentence that is impossible,
        for example because it needs more steps.

        log_probs: float (T, V) of one recording, with the blank at class 0.
        """
        steps = log_probs.cpu().double()
        steps = steps.masked_fill(steps <= NEVER, -torch.inf)
        scores = torch.empty(len(self.sentences), dtype=torch.float64)
        for places, tree in self._trees:
            scores[places] = tree.log_probabilities(steps)
        return scores

    @torch.no_grad()
    def decode(self, log_probs: Tensor, lengths: Tensor) -> list[list[int]]:
        """The most probable sentence for each recording, as class indices; the first in the list if
        several are equally probable, and no gloss if none is possible.

        log_probs (B, T, V), lengths int (B,). Raises ValueError for log-probabilities that are NaN.
        """
        hypotheses: list[list[int]] = []
        for rows, length in zip(log_probs, lengths.tolist(), strict=True):
            scores = self.log_probabilities(rows[:length])
            best = float(scores.max())
            if math.isnan(best):
                raise ValueError("log-probabilities that are NaN")
            if best == -math.inf:
                hypotheses.append([])
                continue
            first = int((scores >= best - _TIE).to(torch.uint8).argmax())
            hypotheses.append(list(self.sentences[first]))
        return hypotheses


def _in_parts(sentences: Sequence[tuple[int, ...]], most_glosses: int) -> Iterator[tuple[int, ...]]:
    """The places of the sentences, in parts of at most `most_glosses` glosses each (one sentence
    may have more). Sentences with the same beginning follow each other."""
    part: list[int] = []
    glosses = 0
    for place in sorted(range(len(sentences)), key=lambda place: sentences[place]):
        if part and glosses + len(sentences[place]) > most_glosses:
            yield tuple(part)
            part, glosses = [], 0
        part.append(place)
        glosses += len(sentences[place])
    yield tuple(part)


def _grow_tree(sentences: Iterable[tuple[int, ...]]) -> _Tree:
    """The tree of sentences. Those with the same beginning follow each other."""
    gloss, parents, ends = [BLANK], [0], []
    path, previous = [0], tuple[int, ...]()  # the nodes and the glosses of the sentence before
    for sentence in sentences:
        pairs = zip(previous, sentence, strict=False)
        shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        path = path[: shared + 1]
        for one in sentence[shared:]:
            parents.append(path[-1])
            path.append(len(gloss))
            gloss.append(one)
        ends.append(path[-1])
        previous = sentence
    glosses, parent = torch.tensor(gloss), torch.tensor(parents)
    differs = glosses != glosses[parent]
    return _Tree(glosses, parent + len(gloss) * differs, torch.tensor(ends))


def make_closed_set(
    sentences: Iterable[Sequence[str]], vocabulary: Vocabulary, source: str
) -> ClosedSet:
    """The distinct sentences of a list, in its order, with a note on those that are left out: their
    glosses are outside the vocabulary, so the model cannot predict them.

    source: where the list comes from, in words. Raises DataError if no sentence is left.
    """
    distinct = list(dict.fromkeys(map(tuple, sentences)))
    encoded = [vocabulary.encode(sentence) for sentence in distinct]
    kept = tuple(dict.fromkeys(tuple(classes) for classes in encoded if classes is not None))
    left_out = sum(classes is None for classes in encoded)
    if not distinct:
        raise DataError(
            f"{source} has no sentence: --decoder closed expects one sentence per line, its "
            "glosses separated by spaces"
        )
    if left_out:
        (gloss, _), *_ = Counter(vocabulary.unknown(distinct)).most_common(1)
        unknown = f"have glosses outside the model's vocabulary, such as {gloss!r}"
        if not kept:
            raise DataError(
                f"{source}: all {left_out} sentences {unknown}: expected sentences of the glosses "
                "that the model knows, separated by spaces"
            )
        print(f"closed set: {left_out} of {len(distinct)} sentences {unknown}, and are left out")
    return ClosedSet(kept, source, left_out)


def read_sentence_list(path: Path) -> list[tuple[str, ...]]:
    """The sentences of a text file (UTF-8): one per line, glosses separated by white space. Empty
    lines are skipped. Raises DataError if the file cannot be read."""
    try:
        text = nfc(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(
            f"--closed_set {path} cannot be read: {error.strerror}: expected a text file with one "
            "sentence per line"
        ) from None
    except UnicodeDecodeError:
        raise DataError(
            f"--closed_set {path} is not UTF-8 text: expected one sentence per line"
        ) from None
    return [glosses for line in text.split("\n") if (glosses := tuple(line.split()))]
