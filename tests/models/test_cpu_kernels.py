import pytest
import torch
from torch import nn

from models.cpu_kernels import (
    BF16,
    ONEDNN,
    TORCH,
    Dropout,
    Linear,
    compute_linear_by,
    linear_is_computed_by,
    seconds_of_linear,
)


@pytest.fixture
def by_onednn():
    """Large linear layers are computed by oneDNN."""
    compute_linear_by(ONEDNN)
    yield
    compute_linear_by(TORCH)


@pytest.fixture
def layouts(monkeypatch, by_onednn) -> list[torch.layout]:
    """The layout of each input of torch's linear function. Products of any size use oneDNN."""
    recorded, torch_linear = [], nn.functional.linear
    monkeypatch.setattr("models.cpu_kernels.LARGE", 1)
    monkeypatch.setattr(
        "models.cpu_kernels.functional.linear",
        lambda x, *rest: (recorded.append(x.layout), torch_linear(x, *rest))[1],
    )
    return recorded


@pytest.mark.parametrize(
    ("shape", "in_onednn"),
    [((5,), False), ((0, 5), False), ((1, 5), True), ((2, 7, 5), True), ((2, 3, 4, 5), True)],
)
@pytest.mark.parametrize("bias", [True, False])
def test_linear_has_the_outputs_and_gradients_of_torch(shape, in_onednn, bias, layouts):
    torch.manual_seed(0)
    ours, theirs = Linear(5, 3, bias=bias), nn.Linear(5, 3, bias=bias)
    ours.load_state_dict(theirs.state_dict())
    x, weights = torch.randn(shape), torch.randn(*shape[:-1], 3)
    found = []
    for layer in (ours, theirs):
        given = x.clone().requires_grad_()
        out = layer(given)
        (out * weights).sum().backward()
        found.append(
            [out.detach(), given.grad, *(parameter.grad for parameter in layer.parameters())]
        )
    assert layouts == [torch._mkldnn if in_onednn else torch.strided, torch.strided]
    assert all(tensor.layout == torch.strided for tensor in found[0])
    torch.testing.assert_close(*found, atol=1e-5, rtol=1e-5)


def test_small_products_use_torchs_own_linear(layouts, monkeypatch):
    monkeypatch.setattr("models.cpu_kernels.LARGE", 7 * 5 * 3)
    layer = Linear(5, 3)
    layer(torch.randn(1, 6, 5))
    layer(torch.randn(1, 7, 5))
    assert layouts == [torch.strided, torch._mkldnn]


def test_large_products_use_torchs_own_linear_unless_onednn_was_chosen(layouts):
    for way in (TORCH, ONEDNN):
        compute_linear_by(way)
        assert linear_is_computed_by() == way
        Linear(5, 3)(torch.randn(2, 5))
    assert layouts == [torch.strided, torch._mkldnn]


def test_the_seconds_are_those_of_each_way_and_change_nothing_else(layouts, monkeypatch):
    """Three ways, and one call more of each, which is not counted."""
    monkeypatch.setattr("models.cpu_kernels.HOPELESS", 1e9)
    torch.manual_seed(0)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    seconds = seconds_of_linear(8, 4, (TORCH, ONEDNN, BF16), repeats=2)
    assert layouts == [torch.strided, torch._mkldnn, torch.strided] * 3
    assert set(seconds) == {TORCH, ONEDNN, BF16} and all(0 < one < 1 for one in seconds.values())
    assert linear_is_computed_by() == ONEDNN and torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_a_way_that_is_far_too_slow_is_tried_once(monkeypatch):
    """A clock of which each call of bfloat16 takes 41 s, and every other one 2 s."""
    clock = [0.0]
    autocast = torch.autocast

    def timed(*arguments, enabled, **options):
        clock[0] += 41 if enabled else 2
        return autocast(*arguments, enabled=enabled, **options)

    monkeypatch.setattr(torch, "autocast", timed)
    monkeypatch.setattr("models.cpu_kernels.time.thread_time", lambda: clock[0])
    found = seconds_of_linear(8, 4, (TORCH, ONEDNN, BF16), repeats=3)
    assert found == {TORCH: 2, ONEDNN: 2, BF16: 41} and clock[0] == 2 * 8 + 41


def test_the_first_call_of_a_library_does_not_count(monkeypatch):
    """A clock of which the very first call takes 300 s, and every other one 2 s."""
    clock, autocast = [0.0], torch.autocast

    def timed(*arguments, **options):
        clock[0] += 2 if clock[0] else 300
        return autocast(*arguments, **options)

    monkeypatch.setattr(torch, "autocast", timed)
    monkeypatch.setattr("models.cpu_kernels.time.thread_time", lambda: clock[0])
    assert seconds_of_linear(8, 4, (TORCH, ONEDNN)) == {TORCH: 2, ONEDNN: 2}


def test_linear_accepts_a_transposed_input(layouts):
    torch.manual_seed(0)
    layer, x = Linear(5, 3), torch.randn(2, 5, 7).transpose(1, 2)
    torch.testing.assert_close(
        layer(x), nn.functional.linear(x, layer.weight, layer.bias), atol=1e-5, rtol=1e-5
    )
    assert layouts[0] is torch._mkldnn


def test_other_types_use_torchs_own_linear(layouts):
    torch.manual_seed(0)
    layer, x = Linear(5, 3).double(), torch.randn(2, 5, dtype=torch.float64)
    assert torch.equal(layer(x), nn.functional.linear(x, layer.weight, layer.bias))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert Linear(5, 3)(x.float()).dtype is torch.bfloat16


def test_a_traced_linear_layer_is_torchs_own(layouts):
    traced = torch.jit.trace(Linear(5, 3), torch.randn(2, 5))
    assert "aten::linear" in str(traced.inlined_graph) and "mkldnn" not in str(traced.inlined_graph)


def test_a_compiled_linear_layer_gives_the_same_output(monkeypatch, by_onednn):
    """The backend aot_eager takes every step of compilation but generates no code. It does not know
    tensors of oneDNN."""
    monkeypatch.setattr("models.cpu_kernels.LARGE", 1)
    torch.manual_seed(0)
    layer, x = Linear(5, 3), torch.randn(2, 7, 5)
    torch.testing.assert_close(
        torch.compile(layer, backend="aot_eager")(x), layer(x), atol=1e-5, rtol=1e-5
    )


def test_dropout_drops_with_the_probability_and_keeps_the_mean():
    torch.manual_seed(0)
    drop = Dropout(0.3)
    x = torch.full((4, 50, 1001), 2.0)
    y = drop(x)
    kept = y != 0
    assert (~kept).float().mean().item() == pytest.approx(0.3, abs=5e-3)  # five standard deviations
    torch.testing.assert_close(y[kept], torch.full_like(y[kept], 2 / 0.7), rtol=1e-4, atol=0)
    assert y.mean().item() == pytest.approx(2.0, abs=0.02)


def test_draws_of_neighbours_are_independent():
    """Four neighbours share a random number of 64 bits. Their draws must not be correlated."""
    torch.manual_seed(0)
    kept = (Dropout(0.5)(torch.ones(100_000, 4)) != 0).double()
    assert (torch.corrcoef(kept.T) - torch.eye(4)).abs().max() < 0.016  # five standard deviations
    assert (kept.mean(0) - 0.5).abs().max() < 0.008


def test_the_gradient_of_dropout_is_its_mask_and_draws_follow_the_seed():
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
def test_dropout_accepts_any_shape_and_type(shape):
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        y = Dropout(0.5)(torch.ones(shape, dtype=dtype))
        assert y.shape == shape and y.dtype == dtype
        assert set(y.flatten().tolist()) <= {0.0, 2.0}


def test_nothing_is_dropped_in_evaluation_or_with_probability_zero():
    x = torch.randn(4, 5)
    assert torch.equal(Dropout(0.9).eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)


def test_a_probability_near_one_gives_finite_outputs_and_keeps_a_value_of_65536():
    torch.manual_seed(0)
    y = Dropout(1 - 1e-9)(torch.ones(2**21))
    assert y.isfinite().all() and 10 < (y != 0).sum() < 60, "32 are expected"


def test_another_device_uses_torchs_own_dropout():
    """The meta device stands for CUDA here: both call the same operator."""
    x = torch.ones(3, device="meta")
    assert Dropout(0.5)(x).device == nn.Dropout(0.5)(x).device == x.device
