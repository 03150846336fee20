import pytest
import torch

from data.device_transfer import HostCopies


class FakeGpuTensor:
    """Looks like a tensor on the second of two GPUs. The calls can be tested with it without a GPU;
    the last test needs one and compares values."""

    is_cuda, device = True, torch.device("cuda:1")

    def __init__(self, value: float):
        self.value = value

    def detach(self) -> "FakeGpuTensor":
        return self

    def to(self, device: str, non_blocking: bool) -> torch.Tensor:
        assert device == "cpu" and non_blocking
        return torch.tensor(self.value)


class FakeEvent:
    """Like torch.cuda.Event: `synchronize` waits for the stream that it was recorded on."""

    def __init__(self, waited_for: list):
        self.stream, self.waited_for = "of the current device", waited_for

    def record(self, stream: str = "of the current device") -> None:
        self.stream = stream

    def synchronize(self) -> None:
        self.waited_for.append(self.stream)


def test_it_waits_for_the_device_of_its_tensors_not_for_the_current_one(monkeypatch):
    waited_for = []
    monkeypatch.setattr(torch.cuda, "Event", lambda: FakeEvent(waited_for))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"of {device}")
    copies = HostCopies([FakeGpuTensor(1.0), FakeGpuTensor(2.0)])
    assert waited_for == []
    assert [float(value) for value in copies.read()] == [1.0, 2.0] and waited_for == ["of cuda:1"]


def test_on_the_cpu_the_tensors_themselves_are_kept():
    tensor = torch.ones(3, requires_grad=True)
    (kept,) = HostCopies([tensor]).read()
    assert kept.data_ptr() == tensor.data_ptr() and not kept.requires_grad


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_values_read_late_are_those_at_the_start_of_the_copy():
    device = torch.device("cuda", torch.cuda.device_count() - 1)
    for number in range(20):
        value = torch.full((1024, 1024), float(number), device=device)
        for _ in range(20):
            value = value @ torch.eye(1024, device=device)
        copies = HostCopies([value.sum()])
        assert float(copies.read()[0]) == number * 1024**2
        assert all(copy.is_pinned() for copy in copies.read())
