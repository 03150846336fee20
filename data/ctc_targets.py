"""The annotations of a split as class indices, in the form that the CTC loss needs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from data.corpus import Split
from data.ctc_lengths import ctc_steps
from data.device_transfer import on_device
from data.sentences import many_objects
from data.vocabulary import Vocabulary
from errors import counted, shown_names

_MAX_GLOSSES_IN_WARNING = 8


@dataclass(frozen=True)
class PreparedSplit:
    """A split and its CTC targets.

    targets[i] holds the class indices of sentence i. It is None when the sentence has no CTC loss:
    a gloss is not in the vocabulary, the sentence has fewer output steps than its glosses need, or
    it is left out of training.
    unknown_glosses: glosses of the split that are not in the vocabulary, one entry per occurrence.
    """

    split: Split
    targets: list[list[int] | None]
    unknown_glosses: list[str]

    @property
    def trainable(self) -> np.ndarray:
        """Indices int64 of the sentences that have a CTC loss."""
        return np.array(
            [i for i, target in enumerate(self.targets) if target is not None], dtype=np.int64
        )

    def class_counts(self, classes: int) -> np.ndarray:
        """How often each class is in the targets, int64 (classes,); 0 for the blank."""
        found = [label for target in self.targets if target is not None for label in target]
        return np.bincount(np.array(found, dtype=np.int64), minlength=classes)

    @property
    def references(self) -> list[tuple[str, ...]]:
        """The annotated glosses of each sentence."""
        return [sentence.glosses for sentence in self.split.sentences]

    @property
    def without_loss(self) -> dict[str, int]:
        """How many sentences have no CTC loss, by the reason."""
        unknown = {*self.unknown_glosses}
        without = [
            sentence
            for sentence, target in zip(self.split.sentences, self.targets, strict=True)
            if target is None
        ]
        count = sum(not unknown.isdisjoint(sentence.glosses) for sentence in without)
        return {"unknown gloss": count, "too short": len(without) - count}

    def warnings(self) -> list[str]:
        """Warnings to print when a run starts, one line each: the glosses that are unknown."""
        if not self.unknown_glosses:
            return []
        distinct = sorted(set(self.unknown_glosses))
        listed = shown_names(distinct, _MAX_GLOSSES_IN_WARNING)
        return [
            f"{self.split.name}: {counted(len(self.unknown_glosses), 'occurrence')} of "
            f"{counted(len(distinct), 'gloss')} outside the vocabulary, scored as errors: {listed}"
        ]


@many_objects()
def prepare_split(split: Split, vocabulary: Vocabulary) -> PreparedSplit:
    """Encode the annotations of a split; a sentence that CTC cannot align gets no target."""
    long_enough = (ctc_steps(split.lengths) >= split.required_steps).tolist()
    targets = [
        vocabulary.encode(sentence.glosses) if long else None
        for sentence, long in zip(split.sentences, long_enough, strict=True)
    ]
    without = (
        sentence.glosses
        for sentence, target in zip(split.sentences, targets, strict=True)
        if target is None
    )
    return PreparedSplit(split, targets, vocabulary.unknown(without))


def pad_targets(targets: Sequence[list[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """The targets of a batch as tensors on `device`.

    Returns the class indices int64 (B, L), padded with 0, and their lengths int64 (B,).
    """
    lengths = [len(target) for target in targets]
    padded = np.zeros((len(targets), max([*lengths, 1])), dtype=np.int64)
    for row, target in enumerate(targets):
        padded[row, : len(target)] = target
    return on_device(padded, device), on_device(np.array(lengths, dtype=np.int64), device)
