import pytest
import torch
from torch import nn

from models.cpu_kernels import Linear


@pytest.fixture
def layouts(monkeypatch) -> list[torch.layout]:
    """Of what torch's linear product is given, from the smallest size on that oneDNN takes."""
    seen, torchs = [], nn.functional.linear
    monkeypatch.setattr("models.cpu_kernels.LARGE", 1)
    monkeypatch.setattr(
        "models.cpu_kernels.functional.linear",
        lambda x, *rest: (seen.append(x.layout), torchs(x, *rest))[1],
    )
    return seen


@pytest.mark.parametrize(
    ("shape", "by_onednn"),
    [((5,), False), ((0, 5), False), ((1, 5), True), ((2, 7, 5), True), ((2, 3, 4, 5), True)],
)
@pytest.mark.parametrize("bias", [True, False])
def test_outputs_and_gradients_are_those_of_torchs_own(shape, by_onednn, bias, layouts):
    torch.manual_seed(0)
    ours, torchs = Linear(5, 3, bias=bias), nn.Linear(5, 3, bias=bias)
    ours.load_state_dict(torchs.state_dict())
    x, weights = torch.randn(shape), torch.randn(*shape[:-1], 3)
    found = []
    for layer in (ours, torchs):
        given = x.clone().requires_grad_()
        out = layer(given)
        (out * weights).sum().backward()
        found.append(
            [out.detach(), given.grad, *(parameter.grad for parameter in layer.parameters())]
        )
    assert layouts == [torch._mkldnn if by_onednn else torch.strided, torch.strided]
    assert all(tensor.layout == torch.strided for tensor in found[0])
    torch.testing.assert_close(*found, atol=1e-5, rtol=1e-5)


def test_small_products_are_torchs_own(layouts, monkeypatch):
    monkeypatch.setattr("models.cpu_kernels.LARGE", 7 * 5 * 3)
    layer = Linear(5, 3)
    layer(torch.randn(1, 6, 5))
    layer(torch.randn(1, 7, 5))
    assert layouts == [torch.strided, torch._mkldnn]


def test_it_reads_what_lies_in_memory_in_another_order(layouts):
    torch.manual_seed(0)
    layer, x = Linear(5, 3), torch.randn(2, 5, 7).transpose(1, 2)
    torch.testing.assert_close(
        layer(x), nn.functional.linear(x, layer.weight, layer.bias), atol=1e-5, rtol=1e-5
    )
    assert layouts[0] is torch._mkldnn


def test_in_other_types_it_is_torchs_own(layouts):
    torch.manual_seed(0)
    layer, x = Linear(5, 3).double(), torch.randn(2, 5, dtype=torch.float64)
    assert torch.equal(layer(x), nn.functional.linear(x, layer.weight, layer.bias))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert Linear(5, 3)(x.float()).dtype is torch.bfloat16


def test_a_traced_graph_has_a_linear_layer(layouts):
    traced = torch.jit.trace(Linear(5, 3), torch.randn(2, 5))
    assert "aten::linear" in str(traced.inlined_graph) and "mkldnn" not in str(traced.inlined_graph)


def test_a_compiled_layer_gives_the_same(monkeypatch):
    """With the backend that compiles nothing but goes the whole way there; it knows no tensors of
    oneDNN."""
    monkeypatch.setattr("models.cpu_kernels.LARGE", 1)
    torch.manual_seed(0)
    layer, x = Linear(5, 3), torch.randn(2, 7, 5)
    torch.testing.assert_close(
        torch.compile(layer, backend="aot_eager")(x), layer(x), atol=1e-5, rtol=1e-5
    )
