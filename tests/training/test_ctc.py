import pytest
import torch
from torch.nn import functional

from models.i3d_teacher import TeacherOutput
from training.ctc import ctc
from training.losses import TeacherLoss


def random_batch(seed: int, dtype=torch.float64, batch=6, longest=25, classes=9, most=7):
    """logits (B, T, V) with gradient, targets with repeats, steps, target lengths from 0."""
    random = torch.Generator().manual_seed(seed)
    logits = (
        torch.randn(batch, longest, classes, generator=random, dtype=dtype).mul(3).requires_grad_()
    )
    targets = torch.randint(1, classes, (batch, most), generator=random)
    targets[:, 1] = targets[:, 0]
    steps = torch.randint(2 * most + 1, longest + 1, (batch,), generator=random)
    lengths = torch.randint(0, most + 1, (batch,), generator=random)
    lengths[0], steps[1] = most, longest
    return logits, targets, steps, lengths


def torch_ctc(log_probs, targets, steps, lengths):
    return functional.ctc_loss(log_probs.transpose(0, 1), targets, steps, lengths, reduction="none")


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 2e-4)])
@pytest.mark.parametrize("seed", range(5))
def test_losses_and_gradients_equal_those_of_torch(seed, dtype, tolerance):
    logits, *rest = random_batch(seed, dtype)
    weights = torch.linspace(0.5, 2, len(logits), dtype=dtype)
    found = []
    for loss in (torch_ctc, ctc):
        losses = loss(logits.log_softmax(-1), *rest)
        found.append((losses.detach(), torch.autograd.grad((losses * weights).sum(), logits)[0]))
    for expected, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected, atol=tolerance, rtol=tolerance)
    assert float(found[0][1].abs().max()) > 0.1


def test_autocast_changes_nothing():
    logits, *rest = random_batch(2, torch.float32)
    found = []
    for enabled in (False, True):
        log_probs = logits.log_softmax(-1)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            losses = ctc(log_probs, *rest)
        found.append((losses.detach(), torch.autograd.grad(losses.sum(), logits)[0]))
    for expected, ours in zip(*found, strict=True):
        assert ours.dtype == torch.float32 and torch.equal(ours, expected)


def test_values_beyond_the_lengths_do_not_count():
    logits, targets, steps, lengths = random_batch(7)
    expected = ctc(logits.log_softmax(-1), targets, steps, lengths)
    wild = logits.detach().clone()
    wild[torch.arange(wild.shape[1]) >= steps[:, None]] = 99.0
    targets[torch.arange(targets.shape[1]) >= lengths[:, None]] = 3
    wild.requires_grad_()
    found = ctc(wild.log_softmax(-1), targets, steps, lengths)
    assert torch.equal(found, expected)
    (gradient,) = torch.autograd.grad(found.sum(), wild)
    assert not gradient[torch.arange(wild.shape[1]) >= steps[:, None]].any()


@pytest.mark.parametrize("targets", [[[1, 1]], [[1, 2]]])
def test_the_shortest_sentences(targets):
    """As many steps as the glosses need, one step fewer, and one step."""
    targets = torch.tensor(targets)
    for steps in (1, 2, 3):
        for length in (0, 1, 2):
            log_probs = torch.randn(
                1, 3, 4, generator=torch.Generator().manual_seed(steps)
            ).log_softmax(-1)
            rest = (targets, torch.tensor([steps]), torch.tensor([length]))
            torch.testing.assert_close(ctc(log_probs, *rest), torch_ctc(log_probs, *rest))


def test_a_sentence_that_cannot_be_aligned_affects_its_own_row_only():
    logits = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    losses = ctc(
        logits.log_softmax(-1),
        torch.tensor([[1, 1, 1], [1, 2, 3]]),
        torch.tensor([3, 3]),
        torch.tensor([3, 3]),
    )
    assert losses.isinf().tolist() == [True, False]
    (gradient,) = torch.autograd.grad(losses.sum(), logits)
    assert gradient.isfinite().all((1, 2)).tolist() == [False, True], (
        "the trainer then skips the update"
    )


def test_the_teachers_loss_is_the_same_with_both_implementations(monkeypatch):
    logits, targets, steps, lengths = random_batch(3, torch.float32)
    other = torch.randn(logits.shape, generator=torch.Generator().manual_seed(9))
    found = []
    for use_own in (False, True):
        monkeypatch.setattr("training.losses.runs_ahead", lambda _, use_own=use_own: use_own)
        output = TeacherOutput(logits.log_softmax(-1), other.log_softmax(-1), steps)
        losses = TeacherLoss(0.7, 1.0, 8.0)(output, targets, lengths).total
        found.append((losses.detach(), torch.autograd.grad(losses.sum(), logits)[0]))
    for expected, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected, atol=2e-4, rtol=2e-4)
