"""The share of jitter in the features: of made-up motion, and of a corpus."""

import numpy as np
import pytest

from benchmarks.landmarks import jitter as benchmark

FRAMES = 4000
SEEN = np.ones(FRAMES, dtype=bool)


def noise(deviation: float) -> np.ndarray:
    """float64 (FRAMES, 5, 3), independent from frame to frame."""
    return np.random.default_rng(0).normal(0, deviation, size=(FRAMES, 5, 3))


def swing(amplitude: float, period: int) -> np.ndarray:
    """float64 (FRAMES, 5, 3), a sine along x, y and z."""
    wave = amplitude * np.sin(2 * np.pi * np.arange(FRAMES) / period)
    return np.broadcast_to(wave[:, None, None], (FRAMES, 5, 3))


def test_a_body_that_stands_still_has_nothing_but_jitter():
    found = benchmark.jitter(noise(0.01), SEEN)
    assert found["deviation"] == pytest.approx([0.01] * 3, rel=0.05)
    for row in ("position", "velocity", "acceleration"):
        assert found[row] == pytest.approx([1.0] * 3, rel=0.05)


def test_slow_motion_without_jitter_has_none():
    found = benchmark.jitter(swing(1.0, 100), SEEN)
    assert found["deviation"].max() < 1e-3
    assert max(found[row].max() for row in ("position", "velocity", "acceleration")) < 1e-2


def test_the_shares_of_motion_with_jitter_by_hand():
    """A swing a sin(w t) has the variances a^2 / 2, (a sin w)^2 / 2 and (a (2 - 2 cos w))^2 / 2."""
    deviation, amplitude, turn = 0.01, 0.5, 2 * np.pi / 100
    found = benchmark.jitter(noise(deviation) + swing(amplitude, 100), SEEN)
    expected = {
        "position": (1, amplitude),
        "velocity": (1 / 2, amplitude * np.sin(turn)),
        "acceleration": (6, amplitude * (2 - 2 * np.cos(turn))),
    }
    for row, (factor, size) in expected.items():
        own = factor * deviation**2
        assert found[row] == pytest.approx([own / (own + size**2 / 2)] * 3, rel=0.1)


def test_frames_without_the_part_do_not_count():
    body = noise(0.01)
    seen = SEEN.copy()
    seen[1000:3000] = False
    body[1000:3000] = 50.0
    assert benchmark.jitter(body, seen)["deviation"] == pytest.approx([0.01] * 3, rel=0.1)
    few = np.zeros(FRAMES, dtype=bool)
    few[10:20] = True
    assert np.isnan(benchmark.jitter(body, few)["velocity"]).all()


def test_the_table_of_a_corpus(tiny_corpus, tmp_path, read_figures, capsys):
    path = tmp_path / "figures.json"
    words = ["--corpora", str(tiny_corpus), "--sentences", "4", "--json", str(path)]
    assert benchmark.main(words) == 0
    figures = read_figures(path, "jitter")
    assert len(figures) == 4 * 3 * 3
    shares = [share for share in figures.values() if share is not None]
    assert shares and all(share >= 0 for share in shares)
    lines = capsys.readouterr().out.splitlines()
    assert [line[:10].strip() for line in lines[-5:-1]] == list(benchmark.GROUPS)
