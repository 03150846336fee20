"""One frame rate and one image shape for recordings that differ."""

from collections import Counter

import numpy as np
import pytest

from data.resampling import FrameRate
from data.sources.recording_facts import (
    at_rate,
    common_rate,
    commonest,
    confirmed_rate,
    frame_times,
    to_aspect_ratio,
)
from errors import DataError


def test_geometry_is_the_same_in_another_aspect_ratio():
    landmarks = np.random.default_rng(0).uniform(0, 1, (2, 543, 3)).astype(np.float32)
    turned = to_aspect_ratio(landmarks, 16 / 9, 3 / 4)
    before, after = landmarks * [16 / 9, 1, 16 / 9], turned * [3 / 4, 1, 3 / 4]
    np.testing.assert_allclose(np.diff(after, axis=1), np.diff(before, axis=1), atol=1e-5)
    np.testing.assert_array_equal(turned[..., 1], landmarks[..., 1])
    assert to_aspect_ratio(landmarks, 0.75, 0.75) is landmarks


def test_the_commonest_value_is_the_smallest_of_equally_common_ones():
    assert commonest({0.5: 2, 0.25: 2, 1.0: 1}) == 0.25


def test_the_frame_rate_of_most_recordings():
    # 29.97, 30 and 30.02 count as the same: 5 recordings against 4 of 25
    assert common_rate(Counter({25.0: 4, 29.97: 2, 30.0: 1, 30.02: 2})) == 29.97
    assert common_rate(Counter({25.0: 4, 29.97: 1, 30.0: 2})) == 25.0
    assert common_rate(Counter({25.0: 1, 50.0: 1})) == 25.0


def test_a_recording_whose_times_do_not_rise_is_refused():
    landmarks, detected = np.ones((4, 543, 3)), np.ones((4, 4), bool)
    for times in ([0, 0.04, 0.02, 0.06], [0, 0.04, 0.04, 0.08], [0, 0.04, np.nan, 0.08]):
        with pytest.raises(DataError, match="the times of its frames do not rise"):
            at_rate(np.array(times), landmarks, detected, 25)
    assert at_rate(np.zeros(1), landmarks[:1], detected[:1], 25)[0].shape == (1, 543, 3)


@pytest.mark.parametrize(
    ("expected", "times", "found"),
    [
        ((29.97, True), np.rint(np.arange(40) / 0.02997) / 1000, (29.97, True)),  # more exact
        ((30.303, False), np.arange(40) / 30, (30, True)),
        ((25, True), np.cumsum([1, 1, 1, 3, 1, 1, 4, 1, 1, 1]) / 25, (25, False)),
        ((25, False), np.arange(5) / 25, (25, True)),  # the segment is even, the recording is not
        ((25, True), np.zeros(1), (25, True)),
    ],
)
def test_the_rate_by_the_times_of_the_decoded_frames(expected, times, found):
    rate = confirmed_rate(FrameRate(*expected), times)
    assert (rate.fps, rate.even) == (pytest.approx(found[0], rel=1e-9), found[1])


def test_a_recording_is_resampled_only_where_its_rate_differs():
    landmarks = np.arange(10.0)[:, None, None] * np.ones((10, 543, 3))
    detected = np.ones((10, 4), bool)
    same, parts = at_rate(frame_times(10, 29.97), landmarks, detected, 30)
    assert same is landmarks and parts is detected
    half, parts = at_rate(frame_times(10, 50), landmarks, detected, 25)
    np.testing.assert_allclose(half[:, 0, 0], [0, 2, 4, 6, 8], atol=1e-5)
    assert parts.shape == (5, 4)
    uneven = np.array([0, 1, 2, 3, 4, 7, 8, 9, 10, 11]) / 25
    even, _ = at_rate(uneven, landmarks, detected, 25)
    expected = [0, 1, 2, 3, 4, 4 + 1 / 3, 4 + 2 / 3, 5, 6, 7, 8, 9]
    np.testing.assert_allclose(even[:, 0, 0], expected, atol=1e-5)
