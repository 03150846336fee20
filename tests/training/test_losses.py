import itertools
import math

import pytest
import torch

from models.i3d_teacher import TeacherOutput
from training.losses import (
    TeacherLoss,
    aligned_per_step,
    ctc_per_gloss,
    distillation_per_step,
    even_alignment,
    uniform_per_step,
)


def negative_log_likelihood(log_probs: torch.Tensor, target: tuple[int, ...]) -> float:
    """Sum over all alignments of `target`, one by one; log_probs is (T, V)."""
    total = 0.0
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        if tuple(index for index, _ in itertools.groupby(path) if index != 0) == target:
            total += math.exp(sum(float(log_probs[t, index]) for t, index in enumerate(path)))
    return -math.log(total)


def random_log_probs(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).mul(2).log_softmax(-1)


CASES = [(5, (1, 2)), (3, (2, 2)), (4, (1,)), (5, (1, 1, 2)), (2, (2, 1))]


def padded_cases():
    """log_probs (B, 5, 3), steps, padded targets, their lengths."""
    log_probs = random_log_probs(len(CASES), 5, 3)
    targets = torch.zeros(len(CASES), 3, dtype=torch.int64)
    for row, (_, target) in enumerate(CASES):
        targets[row, : len(target)] = torch.tensor(target)
    steps = torch.tensor([steps for steps, _ in CASES])
    return log_probs, steps, targets, torch.tensor([len(target) for _, target in CASES])


def test_ctc_equals_the_sum_over_all_alignments_per_gloss():
    log_probs, steps, targets, lengths = padded_cases()
    found = ctc_per_gloss(log_probs, steps, targets, lengths)
    expected = [
        negative_log_likelihood(log_probs[row, :count], target) / len(target)
        for row, (count, target) in enumerate(CASES)
    ]
    assert found.tolist() == pytest.approx(expected, rel=1e-5)
    assert found.dtype == torch.float32


def test_padded_steps_and_targets_do_not_count():
    log_probs, steps, targets, lengths = padded_cases()
    expected = ctc_per_gloss(log_probs, steps, targets, lengths)
    outside = torch.arange(5) >= steps[:, None]
    log_probs[outside] = -3.0
    targets[torch.arange(3) >= lengths[:, None]] = 2
    torch.testing.assert_close(ctc_per_gloss(log_probs, steps, targets, lengths), expected)


def test_ctc_is_computed_in_float32():
    log_probs, steps, targets, lengths = padded_cases()
    half = log_probs.bfloat16()
    found = ctc_per_gloss(half, steps, targets, lengths)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, ctc_per_gloss(half.float(), steps, targets, lengths))


def test_a_sentence_without_glosses_has_the_loss_of_blanks_alone():
    log_probs = random_log_probs(1, 3, 4)
    none = torch.tensor([0])
    loss = ctc_per_gloss(log_probs, torch.tensor([3]), torch.zeros(1, 1, dtype=torch.int64), none)
    assert loss.tolist() == pytest.approx([-log_probs[0, :, 0].sum().item()], rel=1e-5)


def test_an_infinite_loss_stays_infinite():
    loss = ctc_per_gloss(
        random_log_probs(1, 2, 3), torch.tensor([2]), torch.tensor([[1, 1]]), torch.tensor([2])
    )
    assert loss.tolist() == [math.inf]


def test_distillation_by_hand():
    """At temperature 2, log-probabilities (log 4/5, log 1/5) are (2/3, 1/3)."""
    teacher = torch.tensor([[[0.8, 0.2], [0.5, 0.5]]]).log()
    student = torch.tensor([[[0.5, 0.5], [0.5, 0.5]]]).log()
    first = 2 / 3 * math.log((2 / 3) / (1 / 2)) + 1 / 3 * math.log((1 / 3) / (1 / 2))
    found = distillation_per_step(student, teacher, torch.tensor([2]), temperature=2.0)
    assert found.tolist() == pytest.approx([4 * (first + 0) / 2], rel=1e-5)
    found = distillation_per_step(student, teacher, torch.tensor([1]), temperature=2.0)
    assert found.tolist() == pytest.approx([4 * first], rel=1e-5)
    backward = distillation_per_step(teacher, student, torch.tensor([1]), temperature=2.0)
    assert backward.tolist() != pytest.approx([4 * first], rel=1e-2), "the loss is not symmetric"


def test_distillation_has_a_gradient_for_the_student_inside_the_sentence_only():
    student, teacher = (random_log_probs(2, 4, 5, seed=seed).requires_grad_() for seed in (1, 2))
    steps = torch.tensor([4, 2])
    distillation_per_step(student, teacher, steps, 8.0).sum().backward()
    assert teacher.grad is None
    assert student.grad[0].any() and student.grad[1, :2].any()
    assert not student.grad[1, 2:].any()
    same = distillation_per_step(teacher, teacher, steps, 8.0)
    torch.testing.assert_close(same, torch.zeros(2), atol=1e-6, rtol=0)


def test_the_total_is_the_weighted_sum():
    log_probs, steps, targets, lengths = padded_cases()
    convolution = random_log_probs(*log_probs.shape, seed=9)
    output = TeacherOutput(log_probs, convolution, steps)
    losses = TeacherLoss(0.5, 3.0, 8.0)(output, targets, lengths)
    torch.testing.assert_close(losses.sequence, ctc_per_gloss(log_probs, steps, targets, lengths))
    torch.testing.assert_close(
        losses.convolution, ctc_per_gloss(convolution, steps, targets, lengths)
    )
    torch.testing.assert_close(
        losses.distillation,
        distillation_per_step(convolution[..., 1:], log_probs[..., 1:], steps, 8.0),
    )
    expected = losses.sequence + 0.5 * losses.convolution + 3.0 * losses.distillation
    torch.testing.assert_close(losses.total, expected)


def test_a_sentences_loss_does_not_depend_on_its_neighbours_in_the_batch():
    log_probs, steps, targets, lengths = padded_cases()
    heads = log_probs, random_log_probs(*log_probs.shape, seed=9)
    loss = TeacherLoss(0.5, 3.0, 8.0, 0.2)
    together = loss(TeacherOutput(*heads, steps), targets, lengths).total
    for row, (count, target) in enumerate(CASES):
        alone = [head[row : row + 1, :count] for head in heads]
        one = slice(row, row + 1)
        found = loss(
            TeacherOutput(*alone, steps[one]), targets[one, : len(target)], lengths[one]
        ).total
        torch.testing.assert_close(found, together[one])


def test_the_distillation_is_over_the_glosses_and_leaves_the_blank_out():
    """Of one step: blank, A, B. At temperature 1 the glosses are (3/4, 1/4) and (1/2, 1/2)."""
    sequence = torch.tensor([[[0.6, 0.3, 0.1]]]).log()
    expected = 3 / 4 * math.log((3 / 4) / (1 / 2)) + 1 / 4 * math.log((1 / 4) / (1 / 2))
    step, targets = torch.tensor([1]), torch.tensor([[1]])
    for blank in (0.1, 0.6, 0.98):
        gloss = (1 - blank) / 2
        convolution = torch.tensor([[[blank, gloss, gloss]]]).log()
        output = TeacherOutput(sequence, convolution, step)
        found = TeacherLoss(1.0, 1.0, 1.0)(output, targets, step).distillation
        assert found.tolist() == pytest.approx([expected], rel=1e-5)


def test_the_uniform_term_by_hand():
    """Two classes at (0.8, 0.2) give -(log 0.8 + log 0.2) / 2. The padded step does not count."""
    log_probs = torch.tensor([[[0.8, 0.2], [0.5, 0.5], [0.01, 0.99]]]).log()
    first, second = -(math.log(0.8) + math.log(0.2)) / 2, math.log(2)
    assert uniform_per_step(log_probs, torch.tensor([2])).tolist() == pytest.approx(
        [(first + second) / 2], rel=1e-5
    )
    steps, targets, lengths = torch.tensor([3]), torch.tensor([[1]]), torch.tensor([1])
    output = TeacherOutput(log_probs, random_log_probs(1, 3, 2), steps)
    plain, smoothed = (
        TeacherLoss(1.0, 1.0, 8.0, s)(output, targets, lengths).total for s in (0.0, 0.5)
    )
    both = sum(uniform_per_step(log_probs, steps) for log_probs in output[:2])
    torch.testing.assert_close(smoothed - plain, 0.5 * both)


@pytest.mark.parametrize(
    ("target", "steps", "expected"),
    [
        ([4, 5, 6], 6, [4, 4, 5, 5, 6, 6]),
        ([4, 5, 6], 7, [4, 4, 5, 5, 5, 6, 6]),  # 2 1/3 steps each: step 2 is mostly of the second
        ([4, 5], 5, [4, 4, 5, 5, 5]),  # the middle of step 2 is the border
        ([4, 4, 5], 3, [4, 4, 5]),
        ([4], 3, [4, 4, 4]),
        ([], 3, [0, 0, 0]),
    ],
)
def test_glosses_share_the_steps_evenly(target, steps, expected):
    """Each sentence is padded beside a longer one: neither its padded targets nor steps count."""
    targets = torch.tensor([target + [9] * (5 - len(target)), [1, 2, 3, 4, 5]])
    lengths, counts = torch.tensor([len(target), 5]), torch.tensor([steps, 10])
    found = even_alignment(targets, lengths, counts, 10)
    assert found[0, :steps].tolist() == expected
    assert found[1].tolist() == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    alone = even_alignment(targets[:1, : len(target)], lengths[:1], counts[:1], steps)
    assert alone.tolist() == [expected]


def test_the_aligned_term_is_the_cross_entropy_over_the_steps_of_the_sentence():
    log_probs = random_log_probs(2, 4, 5)
    classes, steps = torch.tensor([[1, 1, 2, 2], [3, 4, 4, 4]]), torch.tensor([4, 2])
    expected = [
        torch.nn.functional.cross_entropy(log_probs[row, :count], classes[row, :count]).item()
        for row, count in enumerate((4, 2))
    ]
    found = aligned_per_step(log_probs.bfloat16(), classes, steps)
    assert found.dtype == torch.float32 and found.tolist() == pytest.approx(expected, rel=1e-2)
    assert aligned_per_step(log_probs, classes, steps).tolist() == pytest.approx(expected)


def test_the_flat_start_is_on_both_heads():
    log_probs, steps, targets, lengths = padded_cases()
    convolution = random_log_probs(*log_probs.shape, seed=9)
    output = TeacherOutput(log_probs, convolution, steps)
    classes = even_alignment(targets, lengths, steps, 5)
    both = aligned_per_step(log_probs, classes, steps)
    both = both + 0.5 * aligned_per_step(convolution, classes, steps)
    found = TeacherLoss(0.5, 3.0, 8.0).flat_start(output, targets, lengths)
    torch.testing.assert_close(found, both)


def test_a_flat_start_of_no_sentences_is_empty():
    """A rank whose share of a batch is empty takes part in an update."""
    nothing = torch.zeros(0, dtype=torch.int64)
    output = TeacherOutput(torch.zeros(0, 5, 3), torch.zeros(0, 5, 3), nothing)
    targets = torch.zeros(0, 0, dtype=torch.int64)
    assert TeacherLoss(0.5, 3.0, 8.0).flat_start(output, targets, nothing).shape == (0,)
