"""A model's reading of a split: hypotheses, WER, dev loss and how much of it is blank."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from data.batching import plan_evaluation
from data.vocabulary import Vocabulary
from decoding.greedy import greedy_decode
from decoding.length_normalization import LengthNormalization, adaptive_decode
from decoding.scoring import Score, score
from models.i3d_teacher import I3DTeacher, TeacherOutput
from training.devices import Precision
from training.losses import TeacherLoss
from training.pipeline import FeaturePipeline
from training.sentences import PreparedSplit, pad_targets

Decoder = Callable[[Tensor, Tensor], list[list[int]]]


def make_decoder(name: str, settings: LengthNormalization) -> Decoder:
    """(log_probs, lengths) -> class indices of each sentence, for 'greedy' or 'adaptive'."""
    if name == "greedy":
        return greedy_decode
    return lambda log_probs, lengths: adaptive_decode(log_probs, lengths, settings)


@dataclass(frozen=True)
class Evaluation:
    """hypotheses[i] belongs to sentence i of the split. loss: mean per sentence over those that have one, NaN if none.
    blank_share: share of steps whose best class is blank, 0 to 1."""

    hypotheses: list[list[str]]
    score: Score
    loss: float
    blank_share: float


@torch.inference_mode()
def evaluate(
    model: I3DTeacher,
    pipeline: FeaturePipeline,
    prepared: PreparedSplit,
    vocabulary: Vocabulary,
    loss: TeacherLoss,
    precision: Precision,
    decoder: Decoder = greedy_decode,
    batch_size: int = 16,
    on_batch: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Decode and score every sentence of a split. `on_batch` is called after each batch (a progress bar, a stop)."""
    split = prepared.split
    was_training = model.training
    model.eval()
    hypotheses: list[list[str]] = [[] for _ in range(len(split))]
    losses, blanks, steps = [], 0, 0
    try:
        for batch in pipeline.batches(split, plan_evaluation(split.lengths, batch_size)):
            with precision.autocast():
                output = model(batch.features, batch.lengths, batch.detected)
            for index, classes in zip(batch.indices, decoder(output.log_probs, output.lengths), strict=True):
                hypotheses[index] = vocabulary.decode(classes)
            losses += _losses(loss, output, [prepared.targets[index] for index in batch.indices])
            inside = torch.arange(output.log_probs.shape[1], device=output.lengths.device) < output.lengths[:, None]
            blanks += int(((output.log_probs.argmax(-1) == 0) & inside).sum())
            steps += int(output.lengths.sum())
            on_batch()
    finally:
        model.train(was_training)
    return Evaluation(
        hypotheses,
        score(prepared.references, hypotheses),
        float(np.mean(losses)) if losses else float("nan"),
        blanks / steps,
    )


def _losses(loss: TeacherLoss, output: TeacherOutput, targets: list[list[int] | None]) -> list[float]:
    rows = [row for row, target in enumerate(targets) if target is not None]
    if not rows:
        return []
    index = torch.tensor(rows, device=output.lengths.device)
    chosen = TeacherOutput(*(tensor.index_select(0, index) for tensor in output))
    return loss(chosen, *pad_targets([targets[row] for row in rows], output.lengths.device)).total.tolist()
