import os

import pytest
import torch

from training.devices import cores_allowed, one_thread, peak_memory


@pytest.mark.parametrize(
    ("quota", "expected"),
    [
        ("100000 100000", 1),
        ("150000 100000", 2),
        ("10000 100000", 1),
        ("max 100000", 3),
        ("99900000 100000", 3),
        ("", 3),
    ],
)
def test_cores_are_those_a_container_pays_for(quota, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 2, 5})
    (tmp_path / "cpu.max").write_text(quota)
    assert cores_allowed(tmp_path / "cpu.max") == expected
    assert cores_allowed(tmp_path / "none") == 3


def test_one_thread_ends_with_as_many_as_before():
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), one_thread():
        assert torch.get_num_threads() == 1
        1 / 0  # noqa: B018
    assert torch.get_num_threads() == before


def test_the_peak_of_memory_grows_with_what_is_taken():
    before = peak_memory(torch.device("cpu"))
    held = torch.ones(int(before * 1e9) // 4 + 10**7)
    assert peak_memory(torch.device("cpu")) >= before + 0.03 and held.numel()
