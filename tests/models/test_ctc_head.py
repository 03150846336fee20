import math

import pytest
import torch

from models.ctc_head import CosineHead


def test_logits_are_scaled_cosines_by_hand():
    head = CosineHead(2, 3, scale=10.0)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[5.0, 0.0], [0.0, 0.1], [-2.0, -2.0]]))
    logits = head(torch.tensor([[[3.0, 4.0]]]))
    expected = [10 * 0.6, 10 * 0.8, -10 * (0.6 + 0.8) / math.sqrt(2)]
    assert logits[0, 0].tolist() == pytest.approx(expected, abs=1e-5)


def test_logits_stay_within_the_scale_and_ignore_the_lengths_of_vectors():
    torch.manual_seed(0)
    head = CosineHead(8, 30, scale=32.0)
    x = torch.randn(4, 9, 8) * 100
    logits = head(x)
    assert logits.shape == (4, 9, 30) and logits.dtype == torch.float32
    assert logits.abs().max() <= 32.0 + 1e-4
    torch.testing.assert_close(head(x * 7), logits, atol=1e-4, rtol=1e-4)
    with torch.no_grad():
        head.weight.mul_(torch.rand(30, 1) + 0.5)
    torch.testing.assert_close(head(x), logits, atol=1e-4, rtol=1e-4)


def test_a_vector_of_zeros_gives_finite_logits_and_gradients():
    head = CosineHead(4, 3)
    x = torch.zeros(1, 2, 4, requires_grad=True)
    head(x).sum().backward()
    assert torch.isfinite(x.grad).all() and torch.isfinite(head.weight.grad).all()


def test_logits_keep_float32_under_autocast():
    head = CosineHead(64, 300)
    x = torch.randn(2, 5, 64, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = head(x)
    torch.testing.assert_close(logits, head(x), atol=0, rtol=0)
