import pytest
import torch

from data.pipeline import one_thread
from errors import UsageError
from models.devices import choose_device, peak_memory


def test_one_thread_ends_with_as_many_as_before():
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), one_thread():
        assert torch.get_num_threads() == 1
        1 / 0  # noqa: B018
    assert torch.get_num_threads() == before


def test_peak_memory_grows_with_an_allocation():
    before = peak_memory(torch.device("cpu"))
    held = torch.ones(int(before * 1e9) // 4 + 10**7)
    assert peak_memory(torch.device("cpu")) >= before + 0.03 and held.numel()


def test_a_gpu_with_a_number_becomes_the_current_one(monkeypatch):
    current = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    assert choose_device("cuda:1") == torch.device("cuda:1") and current == [torch.device("cuda:1")]
    choose_device("cuda")
    choose_device("cpu:0")
    with pytest.raises(UsageError, match="has 2 CUDA devices"):
        choose_device("cuda:2")
    assert len(current) == 1


def test_threads_are_as_many_as_the_allowed_cores_also_after_a_run_with_one(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("models.devices._TORCHS_THREADS", 8)
    monkeypatch.setattr("models.devices.cores_allowed", lambda: 2)
    before = torch.get_num_threads()
    try:
        for _ in range(2):
            choose_device("cpu")
            assert torch.get_num_threads() == 2
            torch.set_num_threads(1)
    finally:
        torch.set_num_threads(before)
