"""The gloss vocabulary. It is made from the train split only; index 0 is the CTC blank.

Glosses are compared in the Unicode form NFC. A checkpoint of an earlier version may have glosses in
another form, even two classes of one gloss in two forms: they keep their indices.
"""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import cast

from data.text_fields import nfc
from errors import DataError

BLANK = 0


class Vocabulary:
    """Maps glosses to the class indices 1 .. len(glosses)."""

    def __init__(self, glosses: Sequence[str]):
        """Make a vocabulary of distinct glosses, in the order of their classes.

        Raises DataError when a gloss repeats or there is none.
        """
        self.glosses = tuple(glosses)
        self._names = tuple(map(nfc, self.glosses))
        # Of two classes of one gloss, the first counts
        indices = range(len(self.glosses), 0, -1)
        self._index = dict(zip(reversed(self._names), indices, strict=True))
        if not self.glosses or len(set(self.glosses)) != len(self.glosses):
            raise DataError(
                f"a vocabulary needs distinct glosses, found {len(self.glosses)} with repeats "
                "or none"
            )

    @classmethod
    def from_sentences(cls, sentences: Iterable[Sequence[str]]) -> "Vocabulary":
        """The vocabulary of all glosses in the (train) sentences.

        The glosses are sorted, so the order of the sentences does not matter.
        """
        return cls(sorted(set(map(nfc, set(chain.from_iterable(sentences))))))

    @property
    def size(self) -> int:
        """Number of classes, the blank included."""
        return len(self.glosses) + 1

    def __contains__(self, gloss: str) -> bool:
        return self._class_of(gloss) is not None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self._names == other._names

    __hash__ = None  # type: ignore[assignment]

    def encode(self, glosses: Sequence[str]) -> list[int] | None:
        """Class indices of a sentence, or None when a gloss is not in the vocabulary.

        A sentence without class indices has no CTC loss. It is still evaluated: the unknown gloss
        counts as an error.
        """
        classes = list(map(self._index.get, glosses))
        if None in classes:  # unknown, or not in the form NFC, which glosses of a corpus have
            classes = list(map(self._class_of, glosses))
        return None if None in classes else cast(list[int], classes)

    def _class_of(self, gloss: str) -> int | None:
        return self._index.get(gloss) or self._index.get(nfc(gloss))

    def decode(self, indices: Iterable[int]) -> list[str]:
        """The glosses of class indices, in the form NFC; the indices must not contain the blank."""
        return [self._names[index - 1] for index in indices]

    def unknown(self, sentences: Iterable[Sequence[str]]) -> list[str]:
        """Glosses of the sentences that are not in the vocabulary, one entry per occurrence."""
        return [nfc(gloss) for sentence in sentences for gloss in sentence if gloss not in self]

    def extended(self, sentences: Iterable[Sequence[str]]) -> "Vocabulary":
        """A vocabulary that also has the new glosses of the sentences.

        New glosses are appended, so known glosses keep their class indices.
        """
        return Vocabulary([*self.glosses, *sorted(set(self.unknown(sentences)))])
