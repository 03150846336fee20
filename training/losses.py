"""The teacher's loss: CTC on both heads, and distillation from the sequence head to the
convolution head. At the start of a training, a loss on evenly spread glosses is added."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from data.features import frame_mask
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
    inside = frame_mask(steps, values.shape[1])
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


def even_alignment(targets: Tensor, target_lengths: Tensor, steps: Tensor, longest: int) -> Tensor:
    """The class of each output step if the glosses of a sentence share its steps evenly, int64
    (B, T'). A sentence without glosses has the blank, class 0.

    Args:
        targets: int64 (B, L), padded with any class.
        target_lengths: int64 (B,).
        steps: output steps of each sentence, int64 (B,).
        longest: T'. What padding steps get has no meaning.
    """
    # The middle of step t is t + 1/2 steps behind the start; doubled, it is a whole number.
    middles = 2 * torch.arange(longest, device=steps.device) + 1
    places = middles * target_lengths[:, None] // (2 * steps[:, None])
    # Padding steps are behind the last gloss; L can be 0.
    classes = functional.pad(targets, (0, 1)).gather(1, places.clamp(max=targets.shape[1]))
    return classes.masked_fill((target_lengths == 0)[:, None], 0)


def aligned_per_step(log_probs: Tensor, classes: Tensor, steps: Tensor) -> Tensor:
    """Cross-entropy of the classes (B, T') against log_probs (B, T', V), mean over each sentence's
    steps, float32 (B,)."""
    chosen = log_probs.float().gather(2, classes[:, :, None])[:, :, 0]
    return _mean_over_steps(-chosen, steps)


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

    def flat_start(self, output: TeacherOutput, targets: Tensor, target_lengths: Tensor) -> Tensor:
        """The loss that is added at the start of a training, with a falling weight: the
        cross-entropy of glosses that are spread evenly over the sentence, float32 (B,).

        CTC alone first learns to predict blanks everywhere, and then needs many updates to find out
        which gloss is where. An even spread is wrong in detail and right enough to begin with, as
        in the flat start of hidden Markov models in speech recognition. Both heads have it; the
        convolution head is weighted as in its CTC.
        """
        steps = output.lengths
        classes = even_alignment(targets, target_lengths, steps, output.log_probs.shape[1])
        sequence = aligned_per_step(output.log_probs, classes, steps)
        return sequence + self.conv_weight * aligned_per_step(output.conv_log_probs, classes, steps)


def make_loss(options: TrainingConfig) -> TeacherLoss:
    """The loss with the weights of the configuration."""
    return TeacherLoss(
        options.conv_loss_weight,
        options.distillation_weight,
        options.distillation_temperature,
        options.label_smoothing,
    )
