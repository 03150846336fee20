"""Soft targets are stored as float16 numbers that are all finite."""

import torch

from distillation.soft_target_writer import to_stored


def test_a_probability_of_zero_is_stored_as_a_finite_number():
    log_probs = torch.tensor([[0.0, -torch.inf, -5.0]]).log_softmax(-1)
    assert torch.from_numpy(to_stored(log_probs)).isfinite().all()


def test_the_stored_values_are_exact_to_float16():
    torch.manual_seed(0)
    log_probs = (3 * torch.randn(50, 20)).log_softmax(-1)
    stored = torch.from_numpy(to_stored(log_probs)).float()
    assert torch.allclose(stored, log_probs, rtol=1e-3)
    exact, stored = log_probs.double().log_softmax(-1), stored.double().log_softmax(-1)
    lost_nats = float((exact.exp() * (exact - stored)).sum(-1).mean())
    assert abs(lost_nats) < 1e-4
