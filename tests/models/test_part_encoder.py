import pytest
import torch

from models.part_encoder import STANDARDISED_LIMIT, PartEncoder


def make_encoder(columns=(1, 4), part=2, width=3) -> PartEncoder:
    torch.manual_seed(0)
    encoder = PartEncoder(torch.tensor(columns), part, width).eval()
    with torch.no_grad():
        encoder.missing.copy_(torch.tensor([1.0, -2.0, 3.0]))
    return encoder


def all_detected(batch: int, frames: int) -> torch.Tensor:
    return torch.ones(batch, frames, 4, dtype=torch.bool)


def test_an_encoding_computed_by_hand():
    encode = make_encoder()
    features = torch.zeros(1, 2, 6)
    features[0, :, 1], features[0, :, 4] = torch.tensor([3.0, 1000.0]), 5.0
    mean, inverse_std = torch.arange(6.0), torch.full((6,), 0.5)
    detected = all_detected(1, 2)
    detected[0, 1, 2] = False
    found = encode(features, mean, inverse_std, detected, torch.ones(1, 1, 2))
    weight, bias, scale = encode.project.weight, encode.project.bias, (1 + encode.norm.eps) ** -0.5
    first = weight @ torch.tensor([1.0, 0.5]) + bias  # (3 - 1) / 2 and (5 - 4) / 2
    # The outlier is cut at the limit, and the part was not detected
    second = weight @ torch.tensor([STANDARDISED_LIMIT, 0.5]) + bias + encode.missing
    expected = torch.relu(torch.stack([first, second], dim=1)) * scale
    torch.testing.assert_close(found[0], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("part", range(4))
def test_only_the_parts_own_column_of_detected_has_an_effect(part):
    encode = make_encoder(part=part)
    features = torch.randn(1, 3, 6)
    arguments = (torch.zeros(6), torch.ones(6))
    detected = all_detected(1, 3)
    expected = encode(features, *arguments, detected, torch.ones(1, 1, 3))
    for column in range(4):
        lost = detected.clone()
        lost[0, 1, column] = False
        found = encode(features, *arguments, lost, torch.ones(1, 1, 3))
        assert torch.equal(found[0, :, [0, 2]], expected[0, :, [0, 2]])
        assert torch.equal(found, expected) == (column != part)
