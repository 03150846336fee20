import pytest
import torch
from torch import nn

from models.cpu_kernels import Dropout


def test_values_are_dropped_with_the_probability_and_the_others_scaled_so_that_the_mean_stays():
    torch.manual_seed(0)
    drop = Dropout(0.3)
    x = torch.full((4, 50, 1001), 2.0)
    y = drop(x)
    kept = y != 0
    assert (~kept).float().mean().item() == pytest.approx(0.3, abs=5e-3)  # five standard deviations
    torch.testing.assert_close(y[kept], torch.full_like(y[kept], 2 / 0.7), rtol=1e-4, atol=0)
    assert y.mean().item() == pytest.approx(2.0, abs=0.02)


def test_draws_are_independent_between_neighbours():
    """Four neighbours share a random number of 64 bits: no two of them may go together."""
    torch.manual_seed(0)
    kept = (Dropout(0.5)(torch.ones(100_000, 4)) != 0).double()
    assert (torch.corrcoef(kept.T) - torch.eye(4)).abs().max() < 0.016  # five standard deviations
    assert (kept.mean(0) - 0.5).abs().max() < 0.008


def test_the_gradient_is_the_mask_and_the_draws_follow_the_seed():
    drop = Dropout(0.4)
    x = torch.ones(3, 7, 5, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(3)
    y = drop(x)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())
    torch.manual_seed(3)
    assert torch.equal(drop(x), y)
    assert not torch.equal(drop(x), y)


@pytest.mark.parametrize("shape", [(0,), (1,), (5,), (2, 3, 4)])
def test_any_number_of_values_and_type(shape):
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        y = Dropout(0.5)(torch.ones(shape, dtype=dtype))
        assert y.shape == shape and y.dtype == dtype
        assert set(y.flatten().tolist()) <= {0.0, 2.0}


def test_nothing_is_dropped_in_evaluation_or_with_probability_zero():
    x = torch.randn(4, 5)
    assert torch.equal(Dropout(0.9).eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)


def test_nearly_everything_can_be_dropped_without_infinities():
    assert Dropout(1 - 1e-9)(torch.ones(1000)).isfinite().all()


def test_another_device_uses_torchs_own():
    """The meta device stands for CUDA here: the same operator is called as nn.Dropout calls."""
    x = torch.ones(3, device="meta")
    assert Dropout(0.5)(x).device == nn.Dropout(0.5)(x).device == x.device
