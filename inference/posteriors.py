"""Log-probabilities of every sentence of a split."""

from collections.abc import Generator, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from data.corpus import Split
from data.pipeline import FeaturePipeline
from errors import DataError
from inference.presence import blank_without_pose
from models.devices import Precision
from models.i3d_teacher import TeacherOutput


@torch.inference_mode()
def model_outputs(
    model: nn.Module,
    pipeline: FeaturePipeline,
    split: Split,
    precision: Precision,
    plan: Sequence[np.ndarray],
) -> Generator[tuple[np.ndarray, TeacherOutput, Tensor], None, None]:
    """Sentence indices, model output, and the detected parts bool (B, T, 4) of each batch of the
    plan, in evaluation mode. The model's mode is restored at the end.

    Args:
        model: teacher or student, on the pipeline's device.
        plan: the sentence indices of each batch, int (B,).
    """
    was_training = model.training
    model.eval()
    try:
        for batch in pipeline.batches(split, plan):
            with precision.autocast():
                output = model(batch.features, batch.lengths, batch.detected)
            yield batch.indices, output, batch.detected
    finally:
        model.train(was_training)


def compute_posteriors(
    model: nn.Module,
    pipeline: FeaturePipeline,
    split: Split,
    precision: Precision,
    progress: bool = True,
) -> list[Tensor]:
    """Log-probabilities float32 (T', V) of each sentence of a split, on the CPU.

    Steps in which nobody is seen have the blank (`blank_without_pose`).

    One sentence at a time. In a batch, the last bits depend on the batch's shape, because a matrix
    product then sums in another order; a hypothesis must not depend on the other sentences.

    Args:
        model: teacher or student, on the pipeline's device.
        progress: show a progress bar in a terminal.

    Raises DataError with the sentence's id if its log-probabilities are NaN or infinite.
    """
    posteriors = []
    plan = [np.array([index]) for index in range(len(split))]
    bar = tqdm(
        model_outputs(model, pipeline, split, precision, plan),
        split.name,
        len(split),
        leave=False,
        unit="sentence",
        disable=None if progress else True,  # None: no bar in a pipe
    )
    for (index,), output, detected in bar:
        log_probs = output.log_probs.float().cpu()
        check_finite(log_probs, f"{split.name} sentence {split.sentences[index].id}")
        posteriors.append(blank_without_pose(log_probs, detected.cpu())[0])
    return posteriors


def check_finite(log_probs: Tensor, where: str) -> None:
    """Raise DataError if a value is NaN or infinite. where: names the input in the message."""
    if not log_probs.isfinite().all():
        raise DataError(
            f"{where}: the model's log-probabilities are not finite: its weights are damaged or "
            "its training diverged; use another checkpoint"
        )
