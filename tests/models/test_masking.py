import math

import pytest
import torch
from torch import nn

from models.masking import MaskedBatchNorm, sentence_mask

LENGTHS = [5, 1, 3]


def padded_input(channels: int = 4) -> torch.Tensor:
    return torch.randn(3, channels, 5, generator=torch.Generator().manual_seed(1)) * 3 + 2


def joined(x: torch.Tensor) -> torch.Tensor:
    """The sentences' frames (sum of lengths, C), one after the other."""
    return torch.cat([x[row, :, :length].T for row, length in enumerate(LENGTHS)])


def two_norms(channels: int = 4) -> tuple[MaskedBatchNorm, nn.BatchNorm1d]:
    masked, plain = MaskedBatchNorm(channels), nn.BatchNorm1d(channels)
    with torch.no_grad():
        masked.weight.uniform_(0.5, 2)
        masked.bias.uniform_(-1, 1)
    plain.load_state_dict(masked.state_dict())
    return masked, plain


def test_a_sentence_mask_is_one_inside_each_sentence():
    assert sentence_mask(torch.tensor([2, 3]), 3).tolist() == [[[1.0, 1.0, 0.0]], [[1.0, 1.0, 1.0]]]


def test_training_equals_batch_norm_of_the_joined_frames():
    masked, plain = two_norms()
    mask = sentence_mask(torch.tensor(LENGTHS), 5)
    x = padded_input()
    for step in range(3):  # several updates, for the running statistics
        ours, theirs = x.clone().add_(step).requires_grad_(), x.clone().add_(step).requires_grad_()
        found, expected = masked(ours, mask), plain(joined(theirs))
        torch.testing.assert_close(joined(found), expected, atol=1e-5, rtol=1e-5)
        assert not (found * (1 - mask)).any()
        weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(step))
        for norm, output, source in ((masked, joined(found), ours), (plain, expected, theirs)):
            norm.zero_grad()
            (output * weights).sum().backward()
            assert source.grad is not None
        torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(masked.weight.grad, plain.weight.grad, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(masked.bias.grad, plain.bias.grad, atol=1e-4, rtol=1e-4)
        assert not (ours.grad * (1 - mask)).any(), "no gradient reaches the padding"
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        torch.testing.assert_close(
            getattr(masked, name), getattr(plain, name), atol=1e-5, rtol=1e-5
        )


def test_evaluation_equals_batch_norm_followed_by_the_mask():
    masked, plain = two_norms()
    x, mask = padded_input(), sentence_mask(torch.tensor(LENGTHS), 5)
    masked(x, mask)
    plain(joined(x))
    masked.eval()
    plain.eval()
    torch.testing.assert_close(masked(x, mask), plain(x) * mask, atol=1e-5, rtol=1e-5)


def test_values_in_the_padding_have_no_effect():
    norm = MaskedBatchNorm(4)
    mask = sentence_mask(torch.tensor(LENGTHS), 5)
    x = padded_input()
    expected = norm(x, mask)
    assert torch.equal(norm(x * mask + 1e3 * (1 - mask), mask), expected)


def test_statistics_are_float32_and_the_output_has_the_inputs_type():
    norm = MaskedBatchNorm(2)
    x = torch.full((1, 2, 5000), 20.0, dtype=torch.bfloat16)
    x[:, :, ::2] = 24.0
    found = norm(x, torch.ones(1, 1, 5000))
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(norm.running_mean, torch.full((2,), 0.1 * 22.0))
    assert sorted(set(found.float().flatten().tolist())) == [-1.0, 1.0]


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_gradients_of_16_bit_inputs_are_summed_in_float32(kind):
    """Under autocast the mask has 16 bits, too, and the gradients of fp16 are scaled: their sum
    exceeds 65504, the largest number of fp16."""
    x = torch.randn(4, 3, 96, generator=torch.Generator().manual_seed(1)).to(kind)
    mask = torch.ones(4, 1, 96, dtype=kind)
    mask[3, :, 50:] = 0
    gradient = torch.rand(x.shape, generator=torch.Generator().manual_seed(2)).to(kind) * 1000
    found = []
    for given in (kind, torch.float64):
        norm, source = MaskedBatchNorm(3), x.to(given, copy=True).requires_grad_()
        norm(source, mask.to(given)).backward(gradient.to(given))
        found.append([source.grad.double(), norm.bias.grad.double(), norm.weight.grad.double()])
    assert found[1][1].min() > 65504
    for ours, exact in zip(*found, strict=True):
        torch.testing.assert_close(ours, exact, atol=4.0, rtol=1e-2)


def test_numbers_that_are_not_finite_do_not_stay_in_the_running_statistics():
    norm = MaskedBatchNorm(2)
    x = torch.randn(1, 2, 6)
    norm(x, torch.ones(1, 1, 6))
    mean, variance = norm.running_mean.clone(), norm.running_var.clone()
    for bad in (math.nan, math.inf, 1e30):  # the square of 1e30 is infinite in float32
        x[0, 0, 3] = bad
        norm(x, torch.ones(1, 1, 6))
        assert norm.running_mean[0] == mean[0] and norm.running_var[0] == variance[0]
        assert norm.running_mean[1] != mean[1], "the other channel is updated as usual"


def test_bf16_counts_frames_exactly():
    norm = MaskedBatchNorm(2)
    x = torch.randn(1, 2, 1403, generator=torch.Generator().manual_seed(0)).bfloat16()
    mask = torch.ones(1, 1, 1403, dtype=torch.bfloat16)  # bf16 rounds 1403 to 1400
    norm(x, mask)
    torch.testing.assert_close(
        norm.running_mean, 0.1 * x.float().mean((0, 2)), atol=1e-7, rtol=1e-5
    )
