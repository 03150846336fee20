"""Which parts of the body a training view hides: whole parts, for whole sentences, keyed like all
randomness."""

from collections.abc import Sequence

import numpy as np

from data.keyed_random import generator
from data.landmarks import PARTS
from training.config import TrainingConfig


def draw_part_masks(options: TrainingConfig, epoch: int, names: Sequence[str]) -> np.ndarray | None:
    """bool (views, B, 4) for the sentences of those ids: False where a part is hidden; None when
    nothing ever is.

    Each part is hidden with the probability `part_mask`; with a consistency weight there are two
    views, and what the first hides the second shows, so that together they see everything
    (CoSign, Jiao et al., ICCV 2023). A view that would see nothing sees all.
    """
    if not options.part_mask:
        return None
    views = 2 if options.consistency_weight else 1
    shown = np.ones((views, len(names), len(PARTS)), dtype=bool)
    for row, name in enumerate(names):
        random = generator(options.seed, epoch, name, "view")
        hidden = random.random((views, len(PARTS))) < options.part_mask
        if views == 2:
            hidden[1] &= ~hidden[0]
        hidden[hidden.all(axis=1)] = False
        shown[:, row] = ~hidden
    return shown
