"""Clips of a size, and the speed of programs."""

import argparse
import subprocess
import sys
import time

import numpy as np
import pytest

from benchmarks.extraction import fitted, size, speed_of
from data.sources.holistic import missing_library


def test_a_size_is_two_even_numbers():
    assert size("540x720") == (540, 720)
    for text in ("540", "541x720", "8x720", "540x9000", "axb", "-2x720"):
        with pytest.raises(argparse.ArgumentTypeError, match=f"{text}: expected WIDTHxHEIGHT"):
            size(text)


def test_a_picture_keeps_its_shape_and_is_padded_with_black():
    try:
        import cv2  # noqa: F401
    except ImportError as error:
        pytest.skip(missing_library(error))
    wide = fitted(np.full((40, 40, 3), 200, np.uint8), 160, 80)
    assert wide.shape == (80, 160, 3)
    assert (wide[:, 40:120] == 200).all() and not wide[:, :40].any() and not wide[:, 120:].any()
    small = fitted(np.full((400, 200, 3), 200, np.uint8), 100, 100)
    assert (small[:, 25:75] == 200).all() and not small[:, :25].any()


def test_the_speed_counts_frames_and_the_processor_time_of_child_processes():
    busy = "import time\nend = time.process_time() + 0.4\nwhile time.process_time() < end: pass"
    idle = speed_of(lambda: time.sleep(0.2), 10)
    assert 10 < idle.frames_per_second < 51 and idle.cores < 0.2
    found = speed_of(lambda: subprocess.run([sys.executable, "-c", busy], check=True), 10)
    seconds = 10 / found.frames_per_second
    assert found.cores * seconds > 0.4
