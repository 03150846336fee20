"""Smoothing over frames."""

import numpy as np

from data.simulation.time_series import smooth


def test_smoothing_keeps_constants_and_the_mean_of_a_pulse():
    pulse = np.zeros((31, 1))
    pulse[15] = 1
    assert np.allclose(smooth(np.full((9, 2), 3.0), 1.2), 3)
    smoothed = smooth(pulse, 1.2)
    assert np.isclose(smoothed.sum(), 1) and smoothed.argmax() == 15 and smoothed[15] < 0.4
