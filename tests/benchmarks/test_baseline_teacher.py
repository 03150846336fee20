"""The baseline of the training speed has the sizes of its description, and it learns."""

import numpy as np
import torch

from benchmarks import training
from benchmarks.baseline_teacher import BaselineTeacher, baseline_update, plain_adamw
from models.config import ModelConfig
from models.i3d_teacher import count_parameters


def test_it_has_27_million_parameters_and_uses_every_feature_once():
    with torch.device("meta"):
        baseline = BaselineTeacher(ModelConfig(), 1232)
    assert count_parameters(baseline) == 27_179_856
    widths = [stage.norm.num_features for stage in baseline.stages]
    assert widths == list(ModelConfig().inception_widths)
    assert (baseline.lstm.hidden_size, baseline.lstm.num_layers, baseline.lstm.bidirectional) == (
        512,
        3,
        True,
    )
    columns = torch.cat(baseline.columns)
    assert sorted(columns.tolist()) == list(range(6516))


def small_sizes() -> ModelConfig:
    return ModelConfig(**training.SMALL, dropout=0.0)


def test_it_interpolates_back_to_the_full_rate():
    torch.manual_seed(0)
    model = BaselineTeacher(small_sizes(), 5, lstm_hidden=4).eval()
    steps = []
    model.stages[1].register_forward_hook(lambda *hooked: steps.append(hooked[2].shape[2]))
    lstm_inputs = []
    model.lstm.register_forward_pre_hook(lambda _, inputs: lstm_inputs.append(inputs[0].data.shape))
    found = model(torch.randn(2, 37, 6516), torch.tensor([37, 20]))
    assert found.shape == (2, 37, 5) and steps == [10]  # ceil(37 / 4); a second pooling follows
    assert lstm_inputs == [(57, 16)], "the LSTM runs over all frames, without padding"
    torch.testing.assert_close(found[0].exp().sum(1), torch.ones(37))


def test_it_learns_from_files(tmp_path):
    torch.manual_seed(0)
    model = BaselineTeacher(small_sizes(), 4, lstm_hidden=8)
    optimizer = plain_adamw(model)
    assert not optimizer.defaults["fused"] and not optimizer.defaults["foreach"]
    optimizer.param_groups[0]["lr"] = 0.01
    files = [tmp_path / "0.npy", tmp_path / "1.npy"]
    for number, file in enumerate(files):
        random = np.random.default_rng(number)
        np.save(file, random.normal(size=(20 + number, 6516)).astype(np.float32))
    losses = [baseline_update(model, optimizer, files, [[1, 2], [3]]) for _ in range(15)]
    assert losses[-1] < 0.8 * losses[0]
