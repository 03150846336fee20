"""The counted launches are bounded and do not depend on the lengths of the sentences."""

import pytest
import torch

from benchmarks import launches


def test_what_computes_or_copies_is_counted_and_views_are_not():
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
