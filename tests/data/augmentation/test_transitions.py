"""New frames between recorded ones: other speeds, and transitions from recording to recording."""

import numpy as np
import pytest

from data.augmentation.transitions import change_speed, transition
from tests.data.still_recordings import RIGHT_HAND, clip


def test_a_slower_speed_interpolates_between_frames():
    landmarks, detected = change_speed(*clip([1, 2, 3]), speed=0.6)  # 5 frames
    assert landmarks[:, 7, 1].tolist() == [1, 1.5, 2, 2.5, 3]
    assert landmarks.dtype == np.float32
    assert detected.all()


def test_a_faster_speed_keeps_the_first_and_the_last_frame():
    landmarks, _ = change_speed(*clip([0, 1, 2, 3, 4, 5, 6, 7, 8]), speed=9 / 5)
    assert landmarks[:, 0, 0].tolist() == [0, 2, 4, 6, 8]
    assert len(change_speed(*clip([1, 2]), speed=1.25)[0]) == 2


def test_speed_one_changes_nothing():
    landmarks, detected = clip([1, 2, 3, 4], [True, False, False, True])
    played = change_speed(landmarks, detected, speed=1.0)
    np.testing.assert_array_equal(played[0], landmarks)
    np.testing.assert_array_equal(played[1], detected)


def test_a_recording_of_one_frame_gets_two_equal_frames():
    landmarks, detected = change_speed(*clip([3]), speed=1.0)
    assert landmarks[:, 0, 0].tolist() == [3] * len(detected)


def test_a_hand_that_only_one_frame_has_is_taken_from_the_nearer_frame():
    # positions 0, 1/3, 2/3, 1, 4/3, 5/3, 2 over the frames 4 (detected), 8 (lost), 6 (detected)
    landmarks, detected = change_speed(*clip([4, 8, 6], [True, False, True]), speed=3 / 7)
    assert detected[:, 3].tolist() == [True, True, False, False, False, True, True]
    # A hand is never interpolated with zeros.
    np.testing.assert_allclose(landmarks[:, 530, 2], [4, 4, 0, 0, 0, 6, 6])
    np.testing.assert_allclose(
        landmarks[:, 0, 0], [4, 16 / 3, 20 / 3, 8, 22 / 3, 20 / 3, 6], rtol=1e-6
    )


def test_a_transition_moves_in_equal_steps():
    landmarks, detected = transition(clip([9, 1]), clip([5, 9]), frames=3)
    assert landmarks[:, 100, 1].tolist() == [2, 3, 4]
    assert detected.all()


@pytest.mark.parametrize(("left", "right"), [(False, True), (True, False), (False, False)])
def test_no_hand_is_invented_in_a_transition(left, right):
    landmarks, detected = transition(
        clip([1, 1], [True, left]), clip([5, 5], [right, True]), frames=3
    )
    assert not detected[:, 3].any()
    assert (landmarks[:, RIGHT_HAND] == 0).all()
    assert detected[:, :3].all()
    assert landmarks[:, 0, 0].tolist() == [2, 3, 4]
