"""Jumps of the landmarks from one person to another."""

import numpy as np
import pytest

from data.checks.tracking_jumps import find_jump, jump_warning
from tests.data.signers import standing_signer

SEEN = np.ones((20, 4), dtype=bool)


def jumping(size: float, frame: int = 12) -> np.ndarray:
    """A signer, and from `frame` on another one `size` body widths to the right."""
    landmarks = standing_signer(20)
    landmarks[frame:, :, 0] += size * 0.3  # the shoulders are 0.3 apart
    return landmarks


def test_the_frame_and_the_size_of_a_jump():
    assert find_jump(jumping(2.0), SEEN, 1.0) == pytest.approx((12, 2.0))
    assert jump_warning(jumping(2.0), SEEN, 1.0).startswith(
        "the signer jumps by 2.0 body widths at fr"
    )


@pytest.mark.parametrize(("aspect_ratio", "size"), [(2.0, 2.0), (0.6, 0.6 * 0.6 / 0.25)])
def test_the_shape_of_the_image_counts(aspect_ratio, size):
    """Shoulders of 0.3 and a neck of 0.25: in a narrow image the neck is the body's width."""
    frame, found = find_jump(jumping(2.0), SEEN, aspect_ratio)
    assert (frame, found) == pytest.approx((12, size))


def test_the_largest_jump_is_named():
    landmarks = jumping(1.4, 5)
    landmarks[14:, :, 0] -= 3 * 0.3
    assert find_jump(landmarks, SEEN, 1.0) == pytest.approx((14, 3.0))


def test_a_jump_over_frames_without_a_person():
    seen = SEEN.copy()
    seen[8:12] = False
    landmarks = jumping(2.0)
    landmarks[8:12] = 0
    assert find_jump(landmarks, seen, 1.0) == pytest.approx((12, 2.0))


@pytest.mark.parametrize("frame", [1, 19])
def test_a_jump_beside_the_first_or_the_last_frame(frame):
    assert find_jump(jumping(2.0, frame), SEEN, 1.0) == pytest.approx((frame, 2.0))


def test_a_person_of_another_size_is_measured_by_the_larger_one():
    landmarks = standing_signer(20)
    landmarks[12:, :, :2] = landmarks[12:, :, :2] * 0.5 + [0.55, 0.2]
    # The nose moves from (0.5, 0.3) to (0.8, 0.35), which is 1.01 widths of the larger person
    assert find_jump(landmarks, SEEN, 1.0) is None


def test_what_is_no_jump():
    assert find_jump(jumping(1.1), SEEN, 1.0) is None
    one_frame = standing_signer(20)
    one_frame[12, :, 0] += 0.9
    assert find_jump(one_frame, SEEN, 1.0) is None
    nodding = standing_signer(20)
    nodding[12:, 0, 0] += 0.9  # the nose alone
    assert find_jump(nodding, SEEN, 1.0) is None
    walking = standing_signer(20)
    walking[..., 0] += np.linspace(0, 3, 20)[:, None]
    assert find_jump(walking, SEEN, 1.0) is None


def test_frames_whose_points_are_all_in_one_place_do_not_count():
    landmarks = standing_signer(20)
    landmarks[12:] = 0.9
    assert find_jump(landmarks, SEEN, 1.0) is None


def test_recordings_with_one_or_no_pose():
    for count in (0, 1):
        seen = np.zeros((20, 4), dtype=bool)
        seen[:count] = True
        assert find_jump(jumping(2.0, 1), seen, 1.0) is None
    assert jump_warning(standing_signer(20), SEEN, 1.0) is None
