import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from models.bilstm import BiLSTM, flip_index

LENGTHS = torch.tensor([7, 1, 4])


def reference_lstm(ours: BiLSTM, in_width: int, hidden: int, layers: int) -> nn.LSTM:
    lstm = nn.LSTM(in_width, hidden, layers, batch_first=True, bidirectional=True)
    state = {}
    for layer in range(layers):
        for suffix, source in (
            ("", ours.forward_layers[layer]),
            ("_reverse", ours.backward_layers[layer]),
        ):
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                state[f"{name}_l{layer}{suffix}"] = getattr(source, f"{name}_l0")
    lstm.load_state_dict(state)
    return lstm


@pytest.mark.parametrize("layers", [1, 2])
def test_equals_a_packed_bidirectional_lstm(layers):
    torch.manual_seed(0)
    ours = BiLSTM(6, 5, layers, dropout=0.5).double().eval()
    lstm = reference_lstm(ours, 6, 5, layers).double()
    x = torch.randn(3, 7, 6, dtype=torch.float64)
    mine, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    found = ours(mine, LENGTHS)
    packed = lstm(pack_padded_sequence(theirs, LENGTHS, batch_first=True, enforce_sorted=False))[0]
    expected = pad_packed_sequence(packed, batch_first=True)[0]
    inside = (torch.arange(7) < LENGTHS[:, None])[..., None]
    torch.testing.assert_close(found * inside, expected, atol=1e-6, rtol=0)
    weights = torch.randn(expected.shape, dtype=torch.float64)
    (found * inside * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(mine.grad, theirs.grad, atol=1e-6, rtol=0)
    pairs = [(ours.forward_layers[i], f"l{i}") for i in range(layers)]
    pairs += [(ours.backward_layers[i], f"l{i}_reverse") for i in range(layers)]
    for layer, suffix in pairs:
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            gradient = getattr(lstm, f"{name}_{suffix}").grad
            torch.testing.assert_close(
                getattr(layer, f"{name}_l0").grad, gradient, atol=1e-6, rtol=0
            )


def test_padding_has_no_effect():
    torch.manual_seed(0)
    lstm = BiLSTM(3, 4, 2, dropout=0.0)
    x = torch.randn(3, 7, 3)
    inside = (torch.arange(7) < LENGTHS[:, None])[..., None]
    expected = lstm(x, LENGTHS) * inside
    assert torch.equal(lstm(torch.where(inside, x, 99.0), LENGTHS) * inside, expected)


def test_dropout_is_only_between_layers():
    torch.manual_seed(0)
    one, two = BiLSTM(3, 4, 1, dropout=0.9), BiLSTM(3, 4, 2, dropout=0.9)
    x = torch.randn(3, 7, 3)
    assert torch.equal(one(x, LENGTHS), one(x, LENGTHS))
    assert not torch.equal(two(x, LENGTHS), two(x, LENGTHS))


def test_flip_index_reverses_inside_the_length():
    assert flip_index(torch.tensor([4, 2, 1]), 4).tolist() == [
        [3, 2, 1, 0],
        [1, 0, 2, 3],
        [0, 1, 2, 3],
    ]
