"""What a run that diverges leaves for whoever looks into it: the batch of its last update, as the
model saw it."""

from collections.abc import Sequence
from pathlib import Path

import torch

from data.ctc_targets import PreparedSplit
from data.pipeline import FeatureBatch
from training.distributed import Ranks

DUMP = "diverged_batch.pth"


def dump_batches(
    path: Path,
    split: PreparedSplit,
    batches: Sequence[FeatureBatch],
    losses: Sequence[float],
    epoch: int,
    update: int,
    ranks: Ranks,
) -> str:
    """Let the writer write the batches of one update; returns in words where they are, or why they
    are not.

    losses: of the sentences of all processes, in the batches' order. The file is a list with one
    dict a batch (and process), for torch.load(path, weights_only=True): ids, glosses, classes,
    losses (one a sentence), features float32 (B, T, D) as the model was given them, detected bool
    (B, T, 4), lengths int64 (B,), epoch and update of it.
    """
    content, start = [], 0
    for batch in batches:
        sentences = [split.split.sentences[index] for index in batch.indices]
        content.append(
            {
                "epoch": epoch,
                "update": update,
                "ids": [sentence.id for sentence in sentences],
                "glosses": [list(sentence.glosses) for sentence in sentences],
                "classes": [split.targets[index] for index in batch.indices],
                "losses": ranks.share(list(losses[start : start + len(batch.global_indices)])),
                "features": batch.features.cpu(),
                "detected": batch.detected.cpu(),
                "lengths": batch.lengths.cpu(),
            }
        )
        start += len(batch.global_indices)
    content = [batch for part in ranks.to_writer(content) for batch in part if batch["ids"]]
    try:
        if ranks.is_writer:
            torch.save(content, path)
    except (OSError, RuntimeError) as error:  # a full disk must not hide the divergence
        return f"the last batch could not be written to {path} ({str(error).splitlines()[0]})"
    return f"the last batch is in {path}"


def describe(ids: Sequence[str], losses: Sequence[float], count: int = 3) -> list[list]:
    """[id, loss] of the sentences of an update whose losses are the highest."""
    return [
        [id, loss]
        for id, loss in sorted(zip(ids, losses, strict=True), key=lambda pair: -pair[1])[:count]
    ]
