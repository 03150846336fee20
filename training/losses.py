"""The teacher's loss: CTC on both heads, and distillation from the sequence head to the
convolution head."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from models.i3d_teacher import TeacherOutput
from training.config import TrainingConfig
from training.ctc import ctc


@dataclass
class SentenceLosses:
    """The loss of each sentence, float32 (B,) each.

    Attributes:
        total: the loss that is minimised.
        sequence, convolution: CTC of the two heads, in nats per gloss.
        distillation: from the sequence head to the convolution head, over the glosses.
    """

    total: Tensor
    sequence: Tensor
    convolution: Tensor
    distillation: Tensor


def ctc_per_gloss(
    log_probs: Tensor, steps: Tensor, targets: Tensor, target_lengths: Tensor
) -> Tensor:
    """CTC negative log-likelihood of each sentence, divided by its number of glosses, float32 (B,).

    Every sentence must be alignable (data/ctc_lengths.py): an infinite loss is not hidden here.

    Args:
        log_probs: (B, T', V).
        steps: output steps of each sentence, int64 (B,).
        targets: int64 (B, L), padded.
        target_lengths: int64 (B,).
    """
    log_probs = log_probs.float()
    if runs_ahead(log_probs):
        loss = ctc(log_probs, targets, steps, target_lengths)
    else:
        loss = functional.ctc_loss(
            log_probs.transpose(0, 1), targets, steps, target_lengths, reduction="none"
        )
    return loss / target_lengths.clamp(min=1)


def runs_ahead(log_probs: Tensor) -> bool:
    """Whether the tensor is on a device that computes while the CPU launches more work."""
    return log_probs.is_cuda


def _mean_over_steps(values: Tensor, steps: Tensor) -> Tensor:
    """Mean of values (B, T') over the first `steps` (B,) of each row -> (B,)."""
    inside = torch.arange(values.shape[1], device=steps.device) < steps[:, None]
    return (values * inside).sum(1) / steps


def distillation_per_step(
    student: Tensor, teacher: Tensor, steps: Tensor, temperature: float
) -> Tensor:
    """T^2 KL(teacher || student) at temperature T, mean over each sentence's steps, float32 (B,).

    Args:
        student, teacher: log-probabilities (B, T', V), up to a constant per step. No gradient
            reaches the teacher.
        steps: output steps of each sentence, int64 (B,).
        temperature: T.
    """
    student = (student / temperature).log_softmax(-1)
    teacher = (teacher.detach() / temperature).log_softmax(-1)
    divergence = (teacher.exp() * (teacher - student)).sum(-1)  # (B, T')
    return temperature**2 * _mean_over_steps(divergence, steps)


def uniform_per_step(log_probs: Tensor, steps: Tensor) -> Tensor:
    """Cross-entropy of the uniform distribution against log_probs (B, T', V), mean over the steps,
    float32 (B,).

    With a small weight it keeps every class possible: the model cannot predict blanks alone.
    """
    return _mean_over_steps(-log_probs.mean(-1), steps)


@dataclass(frozen=True)
class TeacherLoss:
    """The sum of four terms:

    CTC(sequence) + conv_weight * CTC(convolution)
    + distillation_weight * KL(sequence || convolution)
    + smoothing * (cross-entropy of the uniform distribution against both heads)

    In the distillation the sequence head teaches the convolution head, as in VAC (Min et al., ICCV
    2021). It leaves the blank out, as VAC's code does (VIPL-SLP/VAC_CSLR, `use_blank=False`): both
    distributions are renormalised over the glosses.
    """

    conv_weight: float
    distillation_weight: float
    temperature: float
    smoothing: float = 0.0

    def __call__(
        self, output: TeacherOutput, targets: Tensor, target_lengths: Tensor
    ) -> SentenceLosses:
        """The losses of a batch: targets int64 (B, L), padded, target_lengths int64 (B,)."""
        # Both heads at once: on CUDA, CTC takes the same time for twice the sentences.
        both = torch.cat([output.log_probs, output.conv_log_probs])
        twice = [
            tensor.repeat(2, *[1] * (tensor.ndim - 1))
            for tensor in (output.lengths, targets, target_lengths)
        ]
        sequence, convolution = ctc_per_gloss(both, *twice).chunk(2)
        distillation = distillation_per_step(
            output.conv_log_probs[..., 1:],
            output.log_probs[..., 1:],
            output.lengths,
            self.temperature,
        )
        total = sequence + self.conv_weight * convolution + self.distillation_weight * distillation
        if self.smoothing:
            for log_probs in (output.log_probs, output.conv_log_probs):
                total = total + self.smoothing * uniform_per_step(log_probs, output.lengths)
        return SentenceLosses(total, sequence, convolution, distillation)


def make_loss(options: TrainingConfig) -> TeacherLoss:
    """The loss with the weights of the configuration."""
    return TeacherLoss(
        options.conv_loss_weight,
        options.distillation_weight,
        options.distillation_temperature,
        options.label_smoothing,
    )
