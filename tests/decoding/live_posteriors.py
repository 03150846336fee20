"""How many log-probabilities are in memory at a time."""

import weakref
from collections.abc import Iterable, Iterator

from torch import Tensor

import decoding.batches


class LivePosteriors:
    """Counts the sentences and the batches of log-probabilities that somebody holds.

    made: how many there were. most: the largest number at a time.
    """

    def __init__(self, monkeypatch):
        self._known: list[weakref.ref] = []
        self.most = 0
        make_batch = decoding.batches._batch

        def batch(indices, rows):
            made = make_batch(indices, rows)
            self._add(made.log_probs)
            return made

        monkeypatch.setattr(decoding.batches, "_batch", batch)

    @property
    def made(self) -> int:
        return len(self._known)

    def watched(self, posteriors: Iterable[tuple[int, Tensor]]) -> Iterator[tuple[int, Tensor]]:
        """The same, counted."""
        for index, log_probs in posteriors:
            copy = log_probs.clone()
            self._add(copy)
            yield index, copy
            del copy

    def _add(self, log_probs: Tensor) -> None:
        self._known.append(weakref.ref(log_probs))
        self.most = max(self.most, sum(one() is not None for one in self._known))
