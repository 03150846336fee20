import pytest
import torch

from data.device_transfer import HostCopies


class OnGpu:
    """What a tensor on the second of two GPUs shows of itself."""

    is_cuda, device = True, torch.device("cuda:1")

    def __init__(self, value: float):
        self.value = value

    def detach(self) -> "OnGpu":
        return self

    def to(self, device: str, non_blocking: bool) -> torch.Tensor:
        assert device == "cpu" and non_blocking
        return torch.tensor(self.value)


class Event:
    """Of torch.cuda: reached once the stream that it is recorded on has come so far."""

    def __init__(self, waited: list):
        self.stream, self.waited = "of the current device", waited

    def record(self, stream: str = "of the current device") -> None:
        self.stream = stream

    def synchronize(self) -> None:
        self.waited.append(self.stream)


def test_it_waits_for_the_device_of_its_tensors_whichever_is_the_current_one(monkeypatch):
    waited = []
    monkeypatch.setattr(torch.cuda, "Event", lambda: Event(waited))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"of {device}")
    reading = HostCopies([OnGpu(1.0), OnGpu(2.0)])
    assert waited == []
    assert [float(one) for one in reading.read()] == [1.0, 2.0] and waited == ["of cuda:1"]


def test_on_the_cpu_the_tensors_themselves_are_kept():
    tensor = torch.ones(3, requires_grad=True)
    (kept,) = HostCopies([tensor]).read()
    assert kept.data_ptr() == tensor.data_ptr() and not kept.requires_grad


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_what_is_read_late_is_what_was_there():
    device = torch.device("cuda", torch.cuda.device_count() - 1)
    for number in range(20):
        value = torch.full((1024, 1024), float(number), device=device)
        for _ in range(20):
            value = value @ torch.eye(1024, device=device)
        reading = HostCopies([value.sum()])
        assert float(reading.read()[0]) == number * 1024**2
        assert all(copy.is_pinned() for copy in reading.read())
