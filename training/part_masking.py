"""Which parts of the body are hidden from the model during training."""

from collections.abc import Sequence

import numpy as np

from data.keyed_random import generator
from data.landmarks import PARTS
from training.config import TrainingConfig


def draw_part_masks(options: TrainingConfig, epoch: int, ids: Sequence[str]) -> np.ndarray | None:
    """Draw which parts each sentence shows to the model, keyed by (seed, epoch, sentence id).

    Each part is hidden for the whole sentence with the probability `part_mask`, as in CoSign (Jiao
    et al., ICCV 2023). A sentence that would show nothing shows all parts.

    Returns bool (B, 4), False where a part is hidden, or None when `part_mask` is 0.
    """
    if not options.part_mask:
        return None
    visible = np.ones((len(ids), len(PARTS)), dtype=bool)
    for row, id in enumerate(ids):
        hidden = generator(options.seed, epoch, id, "view").random(len(PARTS)) < options.part_mask
        if not hidden.all():
            visible[row] = ~hidden
    return visible
