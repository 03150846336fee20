import torch

from models.fusion import GatedFusion


def test_the_gates_start_at_one_and_depend_on_all_parts():
    torch.manual_seed(0)
    fusion = GatedFusion([2, 3], 4).eval()
    parts = [torch.rand(1, 2, 5), torch.rand(1, 3, 5)]
    mask = torch.ones(1, 1, 5)
    scale = (1 + fusion.norm.eps) ** -0.5
    plain = torch.relu(fusion.project(torch.cat(parts, dim=1)) * scale)
    torch.testing.assert_close(fusion(parts, mask), plain)
    with torch.no_grad():
        # Switch the first part off, double the second
        fusion.gate.bias.copy_(torch.tensor([-100.0, 100.0]))
    gated = torch.relu(fusion.project(torch.cat([0 * parts[0], 2 * parts[1]], dim=1)) * scale)
    torch.testing.assert_close(fusion(parts, mask), gated)
    with torch.no_grad():
        fusion.gate.bias.zero_()
        fusion.gate.weight[1, 0] = 5.0  # the second gate now depends on the first part
    assert not torch.allclose(fusion(parts, mask), plain)
