import pytest
import torch

from models.part_encoder import (
    NODE_WIDTH,
    STANDARDISED_LIMIT,
    GatedFusion,
    GraphPartEncoder,
    PartEncoder,
)


def encoder(columns=(1, 4), part=2, width=3) -> PartEncoder:
    torch.manual_seed(0)
    made = PartEncoder(torch.tensor(columns), part, width).eval()
    with torch.no_grad():
        made.missing.copy_(torch.tensor([1.0, -2.0, 3.0]))
    return made


def everything_seen(batch: int, frames: int) -> torch.Tensor:
    return torch.ones(batch, frames, 4, dtype=torch.bool)


def test_values_by_hand():
    made = encoder()
    features = torch.zeros(1, 2, 6)
    features[0, :, 1], features[0, :, 4] = torch.tensor([3.0, 1000.0]), 5.0
    mean, inverse_std = torch.arange(6.0), torch.full((6,), 0.5)
    seen = everything_seen(1, 2)
    seen[0, 1, 2] = False
    found = made(features, mean, inverse_std, seen, torch.ones(1, 1, 2))
    weight, bias, scale = made.project.weight, made.project.bias, (1 + made.norm.eps) ** -0.5
    first = weight @ torch.tensor([1.0, 0.5]) + bias  # (3 - 1) / 2 and (5 - 4) / 2
    # The outlier is cut
    second = weight @ torch.tensor([STANDARDISED_LIMIT, 0.5]) + bias + made.missing
    expected = torch.relu(torch.stack([first, second], dim=1)) * scale
    torch.testing.assert_close(found[0], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("part", range(4))
def test_only_its_own_column_of_detected_matters(part):
    made = encoder(part=part)
    features = torch.randn(1, 3, 6)
    arguments = (torch.zeros(6), torch.ones(6))
    seen = everything_seen(1, 3)
    expected = made(features, *arguments, seen, torch.ones(1, 1, 3))
    for column in range(4):
        lost = seen.clone()
        lost[0, 1, column] = False
        found = made(features, *arguments, lost, torch.ones(1, 1, 3))
        assert torch.equal(found[0, :, [0, 2]], expected[0, :, [0, 2]])
        assert torch.equal(found, expected) == (column != part)


def test_the_gate_starts_open_and_looks_at_all_parts():
    torch.manual_seed(0)
    fusion = GatedFusion([2, 3], 4).eval()
    parts = [torch.rand(1, 2, 5), torch.rand(1, 3, 5)]
    mask = torch.ones(1, 1, 5)
    scale = (1 + fusion.norm.eps) ** -0.5
    plain = torch.relu(fusion.project(torch.cat(parts, dim=1)) * scale)
    torch.testing.assert_close(fusion(parts, mask), plain)
    with torch.no_grad():
        # The first part off, the second doubled
        fusion.gate.bias.copy_(torch.tensor([-100.0, 100.0]))
    gated = torch.relu(fusion.project(torch.cat([0 * parts[0], 2 * parts[1]], dim=1)) * scale)
    torch.testing.assert_close(fusion(parts, mask), gated)
    with torch.no_grad():
        fusion.gate.bias.zero_()
        fusion.gate.weight[1, 0] = 5.0  # the second part's gate looks at the first part
    assert not torch.allclose(fusion(parts, mask), plain)


def test_the_graph_sees_each_landmark_whole_and_follows_its_edges():
    torch.manual_seed(0)
    # Two blocks of three points, x and y
    made = GraphPartEncoder(torch.arange(12), 2, 3, landmarks=3, blocks=2).eval()
    with torch.no_grad():
        made.edges.copy_(
            torch.tensor([[0.0, 50.0, 0.0], [0.0, 0.0, 50.0], [50.0, 0.0, 0.0]])
        )  # 0 sees 1, 1 sees 2, 2 sees 0
        made.place.normal_()
    x = torch.randn(1, 1, 12)
    values = x[0, 0].view(2, 3, 2)
    nodes = [
        torch.relu(made.embed(torch.cat([values[0, n], values[1, n]])) + made.place[n])
        for n in range(3)
    ]
    joined = torch.cat([nodes[n] + torch.relu(made.exchange(nodes[(n + 1) % 3])) for n in range(3)])
    assert joined.shape == (3 * NODE_WIDTH,)
    torch.testing.assert_close(made.join(x)[0, 0], made.project(joined), atol=1e-5, rtol=1e-5)
