"""Figures of the report."""

import numpy as np
import pytest

from reports.figures import signer_box


def test_the_drawn_square_holds_what_was_detected():
    landmarks = np.zeros((2, 543, 3))
    landmarks[0, 522:, :2] = [0.5, 0.4]
    landmarks[0, 530, :2] = [0.75, 0.9]
    detected = np.array([[False, False, False, True], [False] * 4])
    x, y, side = signer_box(landmarks, detected, aspect_ratio=2.0)
    assert x == pytest.approx(1.25) and side >= 0.575
    assert y - side / 2 < 0.4 and y + side / 2 > 0.9
    assert signer_box(landmarks, detected & False, aspect_ratio=2.0) == (1.0, 0.5, 2.0)
