"""Choose on dev how the predictions of both heads are joined."""

from typing import NamedTuple

import torch
from torch import Tensor

from data.batching import plan_evaluation
from data.ctc_targets import PreparedSplit
from data.pipeline import FeaturePipeline
from data.vocabulary import Vocabulary
from decoding.greedy import greedy_decode
from decoding.scoring import score
from inference.posteriors import model_outputs
from inference.presence import blank_without_pose
from models.devices import Precision
from models.part_encoder import PartEncoderModel
from models.prediction import JoinedHeads, join_heads

# What is tried, the simplest first: of equally good ways the first one is taken.
CANDIDATES = tuple(
    JoinedHeads(share, scale) for share in (0.0, 0.3, 0.5, 0.7) for scale in (0.0, 0.25, 0.5)
)
_BATCH_SIZE = 16  # sentences


class TunedHeads(NamedTuple):
    """heads: the best way on dev. wer, wer_alone: greedy WER on dev with it, and with the sequence
    head alone."""

    heads: JoinedHeads
    wer: float
    wer_alone: float


@torch.inference_mode()
def decode_each_way(
    model: PartEncoderModel,
    pipeline: FeaturePipeline,
    prepared: PreparedSplit,
    vocabulary: Vocabulary,
    precision: Precision,
    log_prior: Tensor,
) -> dict[JoinedHeads, list[list[str]]]:
    """The greedy hypotheses of all sentences of a split, for each of the CANDIDATES in their order.

    Args:
        model: a teacher or a student.
        log_prior: float32 (classes,), see `models.prediction.log_prior_of`.
    """
    split = prepared.split
    found: dict[JoinedHeads, list[list[str]]] = {
        heads: [[] for _ in range(len(split))] for heads in CANDIDATES
    }
    plan = plan_evaluation(split.lengths, _BATCH_SIZE)
    for indices, output, detected in model_outputs(model, pipeline, split, precision, plan):
        log_prior = log_prior.to(output.log_probs.device)
        for heads, hypotheses in found.items():
            joined = join_heads(output.log_probs, output.conv_log_probs, heads, log_prior)
            decoded = greedy_decode(blank_without_pose(joined, detected), output.lengths)
            for index, classes in zip(indices, decoded, strict=True):
                hypotheses[index] = vocabulary.decode(classes)
    return found


def tune_heads(
    model: PartEncoderModel,
    pipeline: FeaturePipeline,
    dev: PreparedSplit,
    vocabulary: Vocabulary,
    precision: Precision,
    log_prior: Tensor,
) -> TunedHeads:
    """Choose the way with the lowest greedy WER on dev. The arguments are those of
    `decode_each_way`.

    A dev split of new sentences by known signers chooses the convolution head for a large part. New
    signers are recognised better with the whole sentence, by the sequence head.
    """
    found = decode_each_way(model, pipeline, dev, vocabulary, precision, log_prior)
    rates = {heads: score(dev.references, rows).wer for heads, rows in found.items()}
    best = min(rates, key=lambda heads: rates[heads])
    return TunedHeads(best, rates[best], rates[CANDIDATES[0]])
