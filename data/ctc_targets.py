"""A split's annotations as class indices, ready for CTC."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from data.corpus import Split
from data.ctc_lengths import ctc_steps, required_steps
from data.device_transfer import on_device
from data.vocabulary import Vocabulary


@dataclass(frozen=True)
class PreparedSplit:
    """`targets[i]` are the class indices of sentence i, None when it has no CTC loss: a gloss
    outside the vocabulary, fewer steps than the glosses need, or left out of training."""

    split: Split
    targets: list[list[int] | None]
    unknown_glosses: list[str]

    @property
    def trainable(self) -> np.ndarray:
        """Indices of the sentences that have a CTC loss."""
        return np.array(
            [i for i, target in enumerate(self.targets) if target is not None], dtype=np.int64
        )

    @property
    def references(self) -> list[tuple[str, ...]]:
        return [sentence.glosses for sentence in self.split.sentences]

    def warnings(self) -> list[str]:
        """What must be said of this split at start-up, one line each."""
        if not self.unknown_glosses:
            return []
        distinct = sorted(set(self.unknown_glosses))
        shown = ", ".join(distinct[:8]) + (", …" if len(distinct) > 8 else "")
        return [
            f"{self.split.name}: {len(self.unknown_glosses)} occurrences of {len(distinct)} glosses that are not in the "
            f"vocabulary count as errors: {shown}"
        ]


def prepare_split(split: Split, vocabulary: Vocabulary) -> PreparedSplit:
    """Encode a split's annotations with the vocabulary; a sentence that CTC cannot align has no
    target."""
    targets = [
        vocabulary.encode(sentence.glosses)
        if ctc_steps(sentence.frames) >= required_steps(sentence.glosses)
        else None
        for sentence in split.sentences
    ]
    return PreparedSplit(split, targets, vocabulary.unknown(s.glosses for s in split.sentences))


def pad_targets(targets: Sequence[list[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Class indices of a batch as int64 (B, L) padded with 0, and their lengths int64 (B,)."""
    lengths = [len(target) for target in targets]
    padded = np.zeros((len(targets), max([*lengths, 1])), dtype=np.int64)
    for row, target in enumerate(targets):
        padded[row, : len(target)] = target
    return on_device(padded, device), on_device(np.array(lengths, dtype=np.int64), device)
