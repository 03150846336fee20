"""The verdict on what limits an update."""

from benchmarks.gpu_timing import PHASES, name_limit


def test_what_limits_an_update():
    even = dict.fromkeys(PHASES, 1.0)
    assert name_limit(even | {"feeder": 9.0}, 0.99, 0.9) == "the feeder (69 % of the update)"
    assert name_limit(even, 0.95, 0.1) == "launches: the device waits for the host"
    assert name_limit(even, 0.5, 0.6) == "matrix products"
    assert name_limit(even | {"loss": 3.0}, 0.5, 0.1) == "CTC (43 % of the update)"
    assert name_limit(even | {"backward": 4.0}, 0.5, 0.1).startswith(
        "backward (50 % of the update)"
    )
