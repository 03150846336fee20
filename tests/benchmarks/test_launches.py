"""The counted launches are bounded and do not depend on the lengths of the sentences."""

import pytest
import torch

import training.trainer
from benchmarks import launches
from data.device_cache import CachedSplit
from tests.training.conftest import prepare_trainer

AUGMENTATION = {
    "mirror": 0.5,
    "time_mask": 0.2,
    "hand_drop": 0.5,
    "finger_drop": 0.3,
    "part_shift": 0.1,
    "part_scale": [0.9, 1.1],
    "hand_drift": 0.1,
    "hand_turn": 20.0,
}


def test_operations_are_counted_and_views_are_not():
    x = torch.ones(3, 4, device="meta", requires_grad=True)
    with launches.Counter() as counter:
        # The copy
        y = torch.empty(12, device="meta").copy_(torch.empty(1, device="meta").expand(12))
        z = (x.t().reshape(12) * y).view(4, 3).unsqueeze(0).sum()  # one copy, the product, the sum
    assert counter.count == 4
    with launches.Counter() as counter:
        z.backward()
    assert 2 <= counter.count <= 8


def test_the_launches_of_an_update(tiny_corpus, tmp_path, read_figures):
    """CTC needs four launches per step; nothing else depends on the lengths.

    The launches of an update are bounded: a loop over sentences or landmarks fails this test.
    """
    found = []
    for batches in (1, 2):
        path = tmp_path / f"{batches}.json"
        assert (
            launches.main(
                ["--data_dir", str(tiny_corpus), "--batches", str(batches), "--json", str(path)]
            )
            == 0
        )
        found.append(read_figures(path, "launches"))
    one, two = found
    assert one["launches"] == sum(one[phase] for phase in launches.PHASES)
    assert one["forward"] == two["forward"] and one["backward"] == two["backward"]
    assert two["loss"] - one["loss"] == 4 * (two["steps"] - one["steps"])
    assert 900 < one["launches"] - 4 * one["steps"] < 1_250
    # Weights, gradients and two moments of 46.9 M parameters; per frame at least the input of the
    # inception, 512 float32 values
    assert (
        one["model_gb"] == pytest.approx(0.750, abs=0.001)
        and one["kept_gb"] > 4e-9 * 512 * 4 * one["steps"]
    )
    assert not torch.ones(2).is_meta and torch.autocast("cpu", enabled=False) is not None, (
        "no patch is left"
    )


@pytest.mark.parametrize("resident", [False, True])
def test_an_update_runs_on_a_device_without_values(tiny_settings, monkeypatch, resident):
    """Tensors on torch's device 'meta' have shapes but no values, and cannot be combined with
    tensors on the CPU. Reading a value or a tensor on the wrong device fails. This covers all from
    the landmarks to the gradient's norm. The optimiser does not support the device."""
    meta = torch.device("meta")
    tiny_settings["augmentation"] = AUGMENTATION
    trainer = prepare_trainer(tiny_settings, part_mask=0.3, label_smoothing=0.1)
    trainer.model.to(meta).train()
    trainer.device = trainer.pipeline.device = meta
    if resident:
        trainer.pipeline.resident = [
            CachedSplit(trainer.train.split, torch.device("cpu"), trainer.pipeline.selection)
        ]
        trainer.pipeline.resident[0].landmarks = trainer.pipeline.resident[0].landmarks.to(meta)
        trainer.pipeline.resident[0].detected = trainer.pipeline.resident[0].detected.to(meta)
    asked = []
    monkeypatch.setattr(training.trainer, "HostCopies", asked.append)
    monkeypatch.setattr(trainer.optimizer, "step", lambda: None)
    with launches.as_on_cuda():
        trainer.update(list(trainer.batches(trainer.plan.begin(1)[0])))
    ((losses, norm, *paths),) = asked
    assert losses.is_meta and losses.shape == (10,) and norm.shape == () and len(paths) == 4
    assert all(parameter.grad.is_meta for parameter in trainer.model.parameters())
