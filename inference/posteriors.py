"""Log-probabilities of the sentences of a split, one sentence after the other.

They are large: 50 steps of 5,000 classes take 1 MB. Never keep those of a whole split. Compute what
you need while they come, see `decoding/batches.py`.
"""

from collections.abc import Generator, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from data.corpus import Split
from data.pipeline import FeaturePipeline
from errors import DataError
from inference.presence import blank_without_pose
from models.devices import Precision
from models.i3d_teacher import TeacherOutput
from models.part_encoder import PartEncoderModel
from progress_bar import ProgressBar


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


def split_posteriors(
    model: PartEncoderModel, pipeline: FeaturePipeline, split: Split, precision: Precision
) -> Iterator[tuple[int, Tensor]]:
    """Index and log-probabilities float32 (T', V) of each sentence of a split, on the CPU. The
    shortest sentences come first, so that sentences of similar length follow each other.

    The arguments, the values and the errors are those of `sentence_posteriors`. A bar shows the
    progress.
    """
    order = np.argsort(split.lengths, kind="stable")
    bar = ProgressBar(split.name, len(order), "sentence", leave=False)
    yield from bar.over(_one_by_one(model, pipeline, split, precision, order))


def sentence_posteriors(
    model: PartEncoderModel,
    pipeline: FeaturePipeline,
    split: Split,
    precision: Precision,
    index: int,
) -> Tensor:
    """Log-probabilities float32 (T', V) of one sentence of a split, on the CPU.

    Steps in which nobody is seen have the blank (`blank_without_pose`).

    Args:
        model: teacher or student, on the pipeline's device.
        index: of the sentence in the split.

    Raises DataError with the sentence's id if its log-probabilities are NaN or infinite.
    """
    ((_, log_probs),) = _one_by_one(model, pipeline, split, precision, np.array([index]))
    return log_probs


def _one_by_one(
    model: PartEncoderModel,
    pipeline: FeaturePipeline,
    split: Split,
    precision: Precision,
    indices: np.ndarray,
) -> Iterator[tuple[int, Tensor]]:
    """The same of some sentences.

    Each is a batch by itself. In a batch, the last bits depend on the batch's shape, because a
    matrix product then sums in another order; a hypothesis must not depend on the other sentences.
    """
    plan = [np.array([index]) for index in indices]
    for (index,), output, detected in model_outputs(model, pipeline, split, precision, plan):
        log_probs = model.predict(output).cpu()
        check_finite(log_probs, f"{split.name} sentence {split.sentences[index].id}")
        yield int(index), blank_without_pose(log_probs, detected.cpu())[0]


class NotFiniteError(DataError):
    """A model predicts values that are NaN or infinite."""


def check_finite(log_probs: Tensor, where: str) -> None:
    """Raise NotFiniteError if a value is NaN or infinite. where: names the input in the message."""
    if not log_probs.isfinite().all():
        raise NotFiniteError(
            f"{where}: the model's log-probabilities are not finite: its weights are damaged or "
            "its training diverged; use another checkpoint"
        )
