"""The teacher's loss: CTC on the sequence, CTC on the convolution, and distillation from the first
to the second."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from models.i3d_teacher import TeacherOutput
from training.config import TrainingConfig
from training.ctc import ctc


@dataclass
class SentenceLosses:
    """float32 (B,) each: `total` is what is trained on, `sequence` and `convolution` are CTC in
    nats per gloss."""

    total: Tensor
    sequence: Tensor
    convolution: Tensor
    distillation: Tensor


def ctc_per_gloss(
    log_probs: Tensor, steps: Tensor, targets: Tensor, target_lengths: Tensor
) -> Tensor:
    """CTC negative log-likelihood of each sentence over its number of glosses, float32 (B,).

    log_probs (B, T', V); steps, target_lengths int64 (B,); targets int64 (B, L) padded. The caller
    sees to it that every sentence can be aligned; an infinite loss is not hidden here. On CUDA
    torch's own CTC would make the host wait.
    """
    log_probs = log_probs.float()
    if on_its_own(log_probs):
        loss = ctc(log_probs, targets, steps, target_lengths)
    else:
        loss = functional.ctc_loss(
            log_probs.transpose(0, 1), targets, steps, target_lengths, reduction="none"
        )
    return loss / target_lengths.clamp(min=1)


def on_its_own(log_probs: Tensor) -> bool:
    """Whether the tensor is on a device that works while the host goes on."""
    return log_probs.is_cuda


def _mean_over_steps(values: Tensor, steps: Tensor) -> Tensor:
    """values (B, T'), of which only the first `steps` (B,) of each row count -> (B,)."""
    inside = torch.arange(values.shape[1], device=steps.device) < steps[:, None]
    return (values * inside).sum(1) / steps


def distillation_per_step(
    student: Tensor, teacher: Tensor, steps: Tensor, temperature: float
) -> Tensor:
    """T^2 KL(teacher || student) of the classes at temperature T, mean over each sentence's steps,
    float32 (B,).

    Both are log-probabilities (B, T', V); no gradient reaches the teacher. As in VAC
    (Min et al., ICCV 2021), where the sequence head teaches the convolution head.
    """
    student = (student / temperature).log_softmax(-1)
    teacher = (teacher.detach() / temperature).log_softmax(-1)
    divergence = (teacher.exp() * (teacher - student)).sum(-1)  # (B, T')
    return temperature**2 * _mean_over_steps(divergence, steps)


def uniform_per_step(log_probs: Tensor, steps: Tensor) -> Tensor:
    """Cross-entropy of the uniform distribution over the classes against (B, T', V), mean over the
    steps, float32 (B,).

    Added with a small weight it keeps every class, and so the glosses beside the blank, from
    becoming impossible.
    """
    return _mean_over_steps(-log_probs.mean(-1), steps)


def consistency_per_step(one: Tensor, other: Tensor, steps: Tensor) -> Tensor:
    """Symmetric KL of two views' log-probabilities (B, T', V), mean over each sentence's steps,
    float32 (B,).

    As between the part-masked views of CoSign (Jiao et al., ICCV 2023).
    """
    return _mean_over_steps(0.5 * ((one.exp() - other.exp()) * (one - other)).sum(-1), steps)


@dataclass(frozen=True)
class TeacherLoss:
    """total = CTC(sequence) + conv_weight * CTC(convolution) + distillation_weight *
    KL(sequence || convolution) + smoothing * (cross-entropy of the uniform distribution against
    both)."""

    conv_weight: float
    distillation_weight: float
    temperature: float
    smoothing: float = 0.0

    def __call__(
        self, output: TeacherOutput, targets: Tensor, target_lengths: Tensor
    ) -> SentenceLosses:
        """targets int64 (B, L) padded, target_lengths int64 (B,)."""
        # Both heads at once: on CUDA CTC takes as long for twice the sentences.
        both = torch.cat([output.log_probs, output.conv_log_probs])
        twice = [
            tensor.repeat(2, *[1] * (tensor.ndim - 1))
            for tensor in (output.lengths, targets, target_lengths)
        ]
        sequence, convolution = ctc_per_gloss(both, *twice).chunk(2)
        distillation = distillation_per_step(
            output.conv_log_probs, output.log_probs, output.lengths, self.temperature
        )
        total = sequence + self.conv_weight * convolution + self.distillation_weight * distillation
        if self.smoothing:
            for log_probs in (output.log_probs, output.conv_log_probs):
                total = total + self.smoothing * uniform_per_step(log_probs, output.lengths)
        return SentenceLosses(total, sequence, convolution, distillation)


def make_loss(options: TrainingConfig) -> TeacherLoss:
    """The loss that the configuration names."""
    return TeacherLoss(
        options.conv_loss_weight,
        options.distillation_weight,
        options.distillation_temperature,
        options.label_smoothing,
    )
