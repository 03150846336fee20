import pytest
import torch

from errors import DivergenceError
from training.config import Config
from training.overfit_check import run_overfit_check


def test_the_overfit_check_stops_when_a_gradient_is_nan(tiny_settings, monkeypatch):
    tiny_settings["training"]["epochs"] = 10
    monkeypatch.setattr("torch.nn.utils.clip_grad_norm_", lambda *_: torch.tensor(float("nan")))
    with pytest.raises(DivergenceError, match="gradient of epoch 1 is not finite"):
        run_overfit_check(Config().updated(tiny_settings), 2)
