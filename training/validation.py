"""WER and loss of a split during training: greedy decoding, in batches."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from data.batching import plan_evaluation
from data.ctc_targets import PreparedSplit, pad_targets
from data.pipeline import FeaturePipeline
from data.vocabulary import Vocabulary
from decoding.batches import Decoder
from decoding.greedy import greedy_decode
from decoding.scoring import Score, score
from inference.posteriors import model_outputs
from inference.presence import blank_without_pose
from models.devices import Precision
from models.i3d_teacher import I3DTeacher, TeacherOutput
from models.student import Student
from training.distributed import Ranks
from training.losses import TeacherLoss

_ONE_PROCESS = Ranks()


@dataclass(frozen=True)
class ValidationResult:
    """What an evaluation during training found.

    Attributes:
        hypotheses: of each sentence of the split, in its order.
        score: WER and counts of errors.
        loss: mean over the sentences that have a CTC loss; NaN without any.
        blank_share: share of output steps whose best class is blank, 0 to 1.
        with_targets: how many sentences CTC can align with their glosses.
        without_loss: how many sentences have no finite loss, by the reason.
    """

    hypotheses: list[list[str]]
    score: Score
    loss: float
    blank_share: float
    with_targets: int = 0
    without_loss: dict[str, int] = field(default_factory=dict)


@torch.inference_mode()
def validate(
    model: I3DTeacher | Student,
    pipeline: FeaturePipeline,
    prepared: PreparedSplit,
    vocabulary: Vocabulary,
    loss: TeacherLoss,
    precision: Precision,
    decoder: Decoder = greedy_decode,
    batch_size: int = 16,
    on_batch: Callable[[], None] = lambda: None,
    ranks: Ranks = _ONE_PROCESS,
) -> ValidationResult:
    """Decode and score every sentence of a split.

    Args:
        model: a teacher or a student.
        pipeline: makes the features.
        prepared: the split and its targets.
        vocabulary: of the model.
        loss: for the mean loss.
        precision: of the forward pass.
        decoder: log-probabilities to class indices.
        batch_size: sentences per batch.
        on_batch: called after each batch.
        ranks: share the batches. Every rank computes a batch as a single process would, and all
            return the same result.
    """
    split = prepared.split
    plan = plan_evaluation(split.lengths, batch_size)
    own = ranks.share(plan)
    results = []
    outputs = model_outputs(model, pipeline, split, precision, own)
    with contextlib.closing(outputs):
        for indices, output, detected in outputs:
            inside = (
                torch.arange(output.log_probs.shape[1], device=output.lengths.device)
                < output.lengths[:, None]
            )
            results.append(
                (
                    decoder(blank_without_pose(output.log_probs, detected), output.lengths),
                    _losses(loss, output, [prepared.targets[index] for index in indices]),
                    int(((output.log_probs.argmax(-1) == 0) & inside).sum()),
                    int(output.lengths.sum()),
                )
            )
            on_batch()
    if len(own) < -(-len(plan) // ranks.world):
        on_batch()  # as often as on the other ranks
    shares = ranks.gather(results)
    hypotheses: list[list[str]] = [[] for _ in range(len(split))]
    losses, blanks, steps = [], 0, 0
    for number, indices in enumerate(plan):
        classes, own_losses, own_blanks, own_steps = shares[number % ranks.world][
            number // ranks.world
        ]
        for index, row in zip(indices, classes, strict=True):
            hypotheses[index] = vocabulary.decode(row)
        losses += own_losses
        blanks += own_blanks
        steps += own_steps
    return ValidationResult(
        hypotheses,
        score(prepared.references, hypotheses),
        float(np.mean(losses)) if losses else float("nan"),
        blanks / steps,
        len(losses),
        {**prepared.without_loss, "not finite": int((~np.isfinite(losses)).sum())},
    )


def _losses(
    loss: TeacherLoss, output: TeacherOutput, targets: list[list[int] | None]
) -> list[float]:
    """The losses of the sentences that have targets."""
    known = {row: target for row, target in enumerate(targets) if target is not None}
    if not known:
        return []
    device = output.lengths.device
    index = torch.tensor(list(known), device=device)
    chosen = TeacherOutput(*(tensor.index_select(0, index) for tensor in output))
    return loss(chosen, *pad_targets(list(known.values()), device)).total.tolist()
