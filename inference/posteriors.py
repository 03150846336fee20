"""Log-probabilities of every sentence of a split."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from data.corpus import Split
from data.pipeline import FeaturePipeline
from errors import DataError
from models.devices import Precision
from models.i3d_teacher import I3DTeacher, TeacherOutput


@torch.inference_mode()
def model_outputs(
    model: I3DTeacher,
    pipeline: FeaturePipeline,
    split: Split,
    precision: Precision,
    plan: Sequence[np.ndarray],
) -> Iterator[tuple[np.ndarray, TeacherOutput]]:
    """Indices and output of each of the plan's batches, with the model's dropout off."""
    was_training = model.training
    model.eval()
    try:
        for batch in pipeline.batches(split, plan):
            with precision.autocast():
                output = model(batch.features, batch.lengths, batch.detected)
            yield batch.indices, output
    finally:
        model.train(was_training)


def compute_posteriors(
    model: I3DTeacher,
    pipeline: FeaturePipeline,
    split: Split,
    precision: Precision,
    progress: bool = True,
) -> list[Tensor]:
    """Log-probabilities float32 (T', V) of each sentence of a split, on the CPU.

    One sentence at a time: in a batch their last bits depend on its shape (a matrix product adds up
    in another order), and a hypothesis must not depend on its neighbours. Raises DataError naming a
    sentence whose values are NaN or infinite.
    """
    posteriors = []
    outputs = model_outputs(
        model, pipeline, split, precision, [np.array([index]) for index in range(len(split))]
    )
    # None: no bar in a pipe.
    bar = tqdm(
        outputs,
        split.name,
        len(split),
        leave=False,
        unit="sentence",
        disable=None if progress else True,
    )
    for (index,), output in bar:
        posteriors.append(output.log_probs[0].float().cpu())
        if not posteriors[-1].isfinite().all():
            raise DataError(
                f"{split.name} sentence {split.sentences[index].id}: the model's log-probabilities are not finite: "
                "its weights are damaged or its training diverged; use another checkpoint"
            )
    return posteriors
