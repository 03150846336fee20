"""The counted multiply-adds are right."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import training
from benchmarks.baseline_teacher import BaselineTeacher
from benchmarks.multiply_adds import count_multiply_adds
from models.config import ModelConfig
from models.ctc_head import CosineHead
from models.i3d_teacher import I3DTeacher


def test_multiply_adds_by_hand():
    linear, head, convolution = nn.Linear(6, 5), CosineHead(6, 7), nn.Conv1d(3, 4, 5, padding=2)
    lstm = nn.LSTM(3, 2, num_layers=2, bidirectional=True, batch_first=True)
    assert count_multiply_adds(linear, lambda: linear(torch.rand(2, 3, 6))) == 2 * 3 * 6 * 5
    assert count_multiply_adds(head, lambda: head(torch.rand(2, 3, 6))) == 2 * 3 * 6 * 7
    assert (
        count_multiply_adds(convolution, lambda: convolution(torch.rand(2, 3, 10)))
        == 2 * 10 * 3 * 4 * 5
    )
    # One step in both directions: four gates of 2 units. The inputs are 3 (layer 2: 4) values and
    # the 2 values of the step before.
    step = 2 * (4 * 2 * (3 + 2)) + 2 * (4 * 2 * (4 + 2))
    x = torch.rand(2, 7, 3)
    assert count_multiply_adds(lstm, lambda: lstm(x)) == 2 * 7 * step
    packed = pack_padded_sequence(x, torch.tensor([7, 4]), batch_first=True)
    assert count_multiply_adds(lstm, lambda: lstm(packed)) == (7 + 4) * step


@pytest.mark.parametrize("kind", ["conformer", "bilstm", "baseline"])
def test_without_lstm_and_attention_the_count_is_that_of_torch(kind, monkeypatch):
    torch.manual_seed(0)
    sizes = ModelConfig(
        **training.SMALL,
        dropout=0.0,
        lstm_hidden=16,
        sequence="bilstm" if kind == "bilstm" else "conformer",
    )
    model = (
        BaselineTeacher(sizes, 5, lstm_hidden=16) if kind == "baseline" else I3DTeacher(sizes, 5)
    )
    model.eval()
    x, lengths = torch.rand(2, 16, 6516), torch.tensor([16, 16])
    steps = 2 * (16 if kind == "baseline" else 4)
    lstm_count = steps * sum(
        weight.numel()
        for layer in model.modules()
        if isinstance(layer, nn.LSTM)
        for name, weight in layer.named_parameters()
        if "weight" in name
    )

    # Zeros in place of the LSTM: torch counts LSTMs on some devices only
    def zeros(layer: nn.LSTM, x: torch.Tensor, *_):
        width = layer.hidden_size * (1 + layer.bidirectional)
        if isinstance(x, torch.Tensor):
            return x.new_zeros(*x.shape[:2], width), None
        return x._replace(data=x.data.new_zeros(len(x.data), width)), None

    monkeypatch.setattr(nn.LSTM, "forward", zeros)
    # torch does not count oneDNN's products
    monkeypatch.setattr("models.cpu_kernels._by_onednn", lambda *_: False)
    monkeypatch.setattr(
        nn.functional, "scaled_dot_product_attention", lambda queries, keys, values, **_: values
    )
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(x, lengths)
    assert (
        count_multiply_adds(model, lambda: model(x, lengths)) - lstm_count
        == counter.get_total_flops() // 2
    )
