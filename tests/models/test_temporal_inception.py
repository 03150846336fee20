import pytest
import torch
from torch.nn import functional

from models.temporal_inception import InceptionStack, TemporalInception


@pytest.mark.parametrize("width", [8, 24, 27])
def test_the_branches_fill_the_width_and_kernel_5_has_most_of_it(width):
    block = TemporalInception(6, width)
    widths = {branch.kernel_size[0]: branch.out_channels for branch in block.branches}
    assert set(widths) == {3, 5, 9}
    assert sum(widths.values()) + block.pooled.out_channels == width
    assert widths[5] >= width / 2
    assert block(torch.rand(2, 6, 5), torch.ones(2, 1, 5)).shape == (2, width, 5)


def test_a_block_equals_its_convolutions_written_out():
    torch.manual_seed(0)
    block = TemporalInception(3, 16).double().eval()
    with torch.no_grad():
        block.norm.running_mean.normal_()
        block.norm.running_var.uniform_(0.5, 2)
        block.norm.bias.normal_()
    x = torch.rand(1, 3, 11, dtype=torch.float64)
    outputs = []
    for branch in block.branches:
        kernel = branch.kernel_size[0]
        around = functional.pad(x[0], (kernel // 2, kernel // 2))
        windows = [around[:, t : t + kernel] for t in range(11)]
        outputs.append(
            torch.stack([torch.einsum("oik,ik->o", branch.weight, w) for w in windows], dim=1)
        )
    largest = torch.stack([x[0, :, max(t - 1, 0) : t + 2].amax(1) for t in range(11)], dim=1)
    outputs.append(block.pooled.weight[:, :, 0] @ largest)
    joined = torch.cat(outputs)
    normed = (joined - block.norm.running_mean[:, None]) / (
        block.norm.running_var + block.norm.eps
    ).sqrt()[:, None]
    expected = torch.relu(normed * block.norm.weight[:, None] + block.norm.bias[:, None])
    torch.testing.assert_close(block(x, torch.ones(1, 1, 11, dtype=torch.float64))[0], expected)


def test_the_stride_is_four_and_lengths_are_rounded_up():
    stack = InceptionStack(4, (8, 16), dropout=0.0).eval()
    for frames in range(1, 14):
        x, steps = stack(torch.rand(1, 4, frames), torch.tensor([frames]))
        assert x.shape == (1, 16, -(-frames // 4))
        assert steps.tolist() == [-(-frames // 4)]
