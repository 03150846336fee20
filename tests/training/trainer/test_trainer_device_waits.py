"""An update never makes the CPU wait for the device."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.training.conftest import prepare_trainer, run_update


class NoWaiting(TorchDispatchMode):
    """Fail on operations that make the CPU wait for a CUDA device: they read values of tensors, or
    their output's size depends on values."""

    WAITS = (
        "_local_scalar_dense",
        "item",
        "nonzero",
        "is_nonzero",
        "equal",
        "masked_select",
        "unique",
    )

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        assert op.overloadpacket.__name__ not in self.WAITS, f"the CPU would wait in {op}"
        if op.overloadpacket.__name__ in ("index", "index_put", "index_put_"):
            masks = [index for index in args[1] if index is not None and index.dtype == torch.bool]
            assert not masks, f"a mask in {op}"
        return op(*args, **(kwargs or {}))


def forbid_reading(patch):
    """Fail when a tensor is read without the dispatcher, and when a tensor is made of a list: the
    CPU waits for that copy to the device."""

    def read(*_, **__):
        raise AssertionError("the CPU would wait")

    for name in ("tolist", "numpy", "__array__", "new_tensor"):
        patch.setattr(torch.Tensor, name, read)
    patch.setattr(torch, "tensor", read)


def test_the_checks_of_this_file_find_each_kind_of_wait(monkeypatch):
    x = torch.arange(3.0)
    for wait in (lambda: float(x[0]), lambda: bool(x.any()), lambda: x[x > 1], x.nonzero):
        with NoWaiting(), pytest.raises(AssertionError, match=r"would wait|a mask"):
            wait()
    for wait in (
        lambda: x.tolist(),
        lambda: x.numpy(),
        lambda: np.asarray(x),
        lambda: torch.tensor([1.0]),
        lambda: x.new_tensor([1.0]),
    ):
        with (
            NoWaiting(),
            monkeypatch.context() as patch,
            pytest.raises(AssertionError, match="would wait"),
        ):
            forbid_reading(patch)
            wait()
    with NoWaiting():
        x.index_select(0, x.long()).sum()


EVERYTHING = {
    "mirror": 0.5,
    "time_mask": 0.2,
    "hand_drop": 0.5,
    "finger_drop": 0.3,
    "part_shift": 0.1,
    "part_scale": [0.9, 1.1],
    "hand_drift": 0.1,
    "hand_turn": 20.0,
}


@pytest.mark.parametrize("sequence", ["bilstm", "conformer"])
def test_nothing_in_an_update_waits_for_the_device(tiny_settings, monkeypatch, sequence):
    """Use CUDA's code paths on the CPU: features and augmentation of a batch, and the update. The
    losses are read after it."""
    monkeypatch.setattr("training.losses.runs_ahead", lambda _: True)  # CTC as on CUDA
    monkeypatch.setattr("data.features.can_branch_on", lambda _: False)
    tiny_settings["augmentation"] = EVERYTHING
    tiny_settings["model"] |= {"sequence": sequence, "lstm_hidden": 16}
    trainer = prepare_trainer(tiny_settings, part_mask=0.3, label_smoothing=0.1)
    plan, read_afterwards, record = trainer.plan.begin(1)[0], [], trainer._record
    for group in range(2):  # the first update copies constants to the device
        batches = trainer.batches(plan)
        trainer.progress.group = group
        if group:
            with NoWaiting(), monkeypatch.context() as patch:
                forbid_reading(patch)
                patch.setattr(trainer, "_record", read_afterwards.append)
                trainer.update(list(batches))
        else:
            trainer.update(list(batches))
    record(*read_afterwards)
    trainer.finish_pending_update()
    assert len(trainer.progress.gradient_norms) == 2 and len(trainer.progress.hypotheses) == 10


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_nothing_in_an_update_waits_for_the_gpu(tiny_settings, precision):
    tiny_settings["augmentation"] = EVERYTHING
    trainer = prepare_trainer(tiny_settings, device="cuda", precision=precision, part_mask=0.3)
    plan = trainer.plan.begin(1)[0]
    run_update(trainer, list(trainer.batches(plan)))
    try:
        torch.cuda.set_sync_debug_mode("error")
        trainer.update(list(trainer.batches(plan)))
        trainer.update(list(trainer.batches(plan)))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    trainer.finish_pending_update()
    assert len(trainer.progress.gradient_norms) + trainer.progress.skipped_updates == 3
