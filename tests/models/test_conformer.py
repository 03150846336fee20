import pytest
import torch

from errors import UsageError
from models.config import ModelConfig
from models.conformer import CONTEXT, HEADS, KERNEL, Conformer, ConformerBlock, _Window
from models.masking import sentence_mask


def test_padding_never_changes_a_step_of_the_sentence():
    torch.manual_seed(0)
    model = Conformer(12, 16, 2, dropout=0.0).double().eval()
    for block in model.blocks:
        torch.nn.init.normal_(block.distance_bias)
    x = torch.randn(2, 9, 12, dtype=torch.float64)
    padded = torch.cat([x, 1e3 * torch.randn(2, 5, 12, dtype=torch.float64)], dim=1)
    together = model(padded, torch.tensor([9, 4]))
    torch.testing.assert_close(
        together[0, :9], model(x[:1], torch.tensor([9]))[0], atol=1e-9, rtol=0
    )
    torch.testing.assert_close(
        together[1, :4], model(x[1:, :4], torch.tensor([4]))[0], atol=1e-9, rtol=0
    )
    assert together.isfinite().all()


def slow_attention(block: ConformerBlock, x: torch.Tensor, length: int) -> torch.Tensor:
    """The windowed attention of one sentence (T, width), one head and one step at a time."""
    width = x.shape[1]
    size = width // HEADS
    queries, keys, values = block.queries_keys_values(x).split(width, dim=1)
    rows = []
    for t in range(length):
        heads = []
        for head in range(HEADS):
            where = slice(head * size, (head + 1) * size)
            others = [s for s in range(length) if abs(s - t) <= CONTEXT]
            weights = torch.stack(
                [
                    queries[t, where] @ keys[s, where] / size**0.5
                    + block.distance_bias[head, s - t + CONTEXT]
                    for s in others
                ]
            ).softmax(0)
            heads.append(
                sum(weight * values[s, where] for weight, s in zip(weights, others, strict=True))
            )
        rows.append(torch.cat(heads))
    return block.attention_out(torch.stack(rows))


def test_attention_equals_the_slow_reference():
    torch.manual_seed(1)
    block = ConformerBlock(8, dropout=0.0).double().eval()
    torch.nn.init.normal_(block.distance_bias)
    steps = CONTEXT + 7  # the first and the last step do not attend to each other
    x = torch.randn(1, steps, 8, dtype=torch.float64)
    inside = (torch.arange(steps) < steps - 2).double()[None, None]
    found = block._attend(x, _Window(inside))[0, : steps - 2]
    torch.testing.assert_close(found, slow_attention(block, x[0], steps - 2), atol=1e-9, rtol=0)


def layer_norm(norm: torch.nn.LayerNorm, x: torch.Tensor) -> torch.Tensor:
    centred = x - x.mean(-1, keepdim=True)
    variance = (centred**2).mean(-1, keepdim=True)
    return centred / (variance + norm.eps).sqrt() * norm.weight + norm.bias


def slow_feed_forward(feed: torch.nn.Sequential, x: torch.Tensor) -> torch.Tensor:
    norm, widen, _, _, narrow, _ = feed
    inner = layer_norm(norm, x) @ widen.weight.T + widen.bias
    return (inner / (1 + (-inner).exp())) @ narrow.weight.T + narrow.bias


def slow_convolution(block: ConformerBlock, x: torch.Tensor) -> torch.Tensor:
    """The convolution module of one sentence (T, width), one step and one kernel tap at a time."""
    width, length = x.shape[1], len(x)
    both = x @ block.convolution_in.weight.T + block.convolution_in.bias
    gated = both[:, :width] / (1 + (-both[:, width:]).exp())
    rows = []
    for t in range(length):
        row = block.convolution.bias
        for tap in range(KERNEL):
            s = t + tap - KERNEL // 2
            if 0 <= s < length:
                row = row + gated[s] * block.convolution.weight[:, 0, tap]
        rows.append(row)
    convolved = layer_norm(block.convolved_norm, torch.stack(rows))
    activated = convolved / (1 + (-convolved).exp())
    return activated @ block.convolution_out.weight.T + block.convolution_out.bias


def slow_block(block: ConformerBlock, x: torch.Tensor, length: int) -> torch.Tensor:
    """One block for one sentence (T, width), as Gulati et al. write it (equation 1)."""
    x = x[:length]
    x = x + slow_feed_forward(block.feed[0], x) / 2
    x = x + slow_attention(block, layer_norm(block.attention_norm, x), length)
    x = x + slow_convolution(block, layer_norm(block.convolution_norm, x))
    x = x + slow_feed_forward(block.feed[1], x) / 2
    return layer_norm(block.norm, x)


def test_a_block_equals_the_slow_reference():
    torch.manual_seed(2)
    block = ConformerBlock(8, dropout=0.3).double().eval()
    for parameter in block.parameters():  # also the scales and shifts of the normalisations
        torch.nn.init.normal_(parameter, std=0.5)
    lengths = torch.tensor([KERNEL + 4, 2])
    x = torch.randn(2, KERNEL + 6, 8, dtype=torch.float64)
    inside = sentence_mask(lengths, x.shape[1]).double()
    found = block(x, inside, _Window(inside))
    for row, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(
            found[row, :length], slow_block(block, x[row], length), atol=1e-9, rtol=0
        )


@pytest.mark.parametrize("steps", [1, 2, 40])
def test_any_length_keeps_its_shape(steps):
    model = Conformer(6, 8, 1, dropout=0.1)
    assert model(torch.randn(3, steps, 6), torch.tensor([steps, 1, 1])).shape == (3, steps, 8)


def test_a_width_that_is_no_multiple_of_the_heads_is_refused():
    with pytest.raises(
        UsageError,
        match=r"model\.conformer_width 98: a conformer has 4 heads, expected a multiple of 4",
    ):
        ModelConfig(conformer_width=98)
