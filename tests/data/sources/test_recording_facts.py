"""One frame rate and one image shape for recordings that differ."""

import numpy as np

from data.sources.recording_facts import commonest, to_aspect_ratio


def test_geometry_is_the_same_in_another_aspect_ratio():
    landmarks = np.random.default_rng(0).uniform(0, 1, (2, 543, 3)).astype(np.float32)
    turned = to_aspect_ratio(landmarks, 16 / 9, 3 / 4)
    before, after = landmarks * [16 / 9, 1, 16 / 9], turned * [3 / 4, 1, 3 / 4]
    np.testing.assert_allclose(np.diff(after, axis=1), np.diff(before, axis=1), atol=1e-5)
    np.testing.assert_array_equal(turned[..., 1], landmarks[..., 1])
    assert to_aspect_ratio(landmarks, 0.75, 0.75) is landmarks


def test_the_commonest_value_is_the_smallest_of_equally_common_ones():
    assert commonest({0.5: 2, 0.25: 2, 1.0: 1}) == 0.25
