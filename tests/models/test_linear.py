import pytest
import torch
from torch import nn

from models.linear import Linear


@pytest.mark.parametrize("shape", [(5,), (0, 5), (1, 5), (2, 7, 5), (2, 3, 4, 5)])
@pytest.mark.parametrize("bias", [True, False])
def test_outputs_and_gradients_are_those_of_torchs_own(shape, bias):
    torch.manual_seed(0)
    ours, torchs = Linear(5, 3, bias=bias), nn.Linear(5, 3, bias=bias)
    ours.load_state_dict(torchs.state_dict())
    x, weights = torch.randn(shape), torch.randn(*shape[:-1], 3)
    found = []
    for layer in (ours, torchs):
        given = x.clone().requires_grad_()
        out = layer(given)
        (out * weights).sum().backward()
        found.append([out.detach(), given.grad, *(parameter.grad for parameter in layer.parameters())])
    assert all(tensor.layout == torch.strided for tensor in found[0])
    torch.testing.assert_close(*found, atol=1e-5, rtol=1e-5)


def test_it_reads_what_lies_in_memory_in_another_order():
    torch.manual_seed(0)
    layer, x = Linear(5, 3), torch.randn(2, 5, 7).transpose(1, 2)
    torch.testing.assert_close(layer(x), nn.functional.linear(x, layer.weight, layer.bias), atol=1e-5, rtol=1e-5)


def test_in_other_types_it_is_torchs_own():
    torch.manual_seed(0)
    layer, x = Linear(5, 3).double(), torch.randn(2, 5, dtype=torch.float64)
    assert torch.equal(layer(x), nn.functional.linear(x, layer.weight, layer.bias))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert Linear(5, 3)(x.float()).dtype is torch.bfloat16


def test_a_traced_graph_has_a_linear_layer():
    traced = torch.jit.trace(Linear(5, 3), torch.randn(2, 5))
    assert "aten::linear" in str(traced.inlined_graph) and "mkldnn" not in str(traced.inlined_graph)
