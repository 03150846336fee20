"""Zeros and NaN mean "not detected"; a part that is damaged or filled with one value is refused."""

import re

import numpy as np
import pytest

from data.landmarks import PART_SLICES, PARTS
from data.sources.unseen_parts import find_unseen_parts
from errors import DataError
from tests.data.signers import standing_signer


def find(landmarks: np.ndarray, detected: np.ndarray | None = None):
    return find_unseen_parts(landmarks, lambda frame: f"a.npy frame {frame}", detected)


@pytest.mark.parametrize("unseen", [0, -0.0, np.nan])
def test_a_part_of_zeros_or_nan_is_not_detected(unseen):
    landmarks = standing_signer(3)
    landmarks[1, 522:543] = unseen
    landmarks[2, 33:522] = unseen
    landmarks[2, 510] = (0.1, 0.2, 0.3) if unseen == 0 else np.nan  # one point is enough
    found, detected = find(landmarks)
    hand = unseen == 0
    assert detected.tolist() == [[True] * 4, [True, True, True, False], [True, False, hand, True]]
    np.testing.assert_array_equal(found, np.nan_to_num(landmarks))


def test_nan_and_zeros_in_one_part_are_not_detected():
    landmarks = standing_signer(1)
    landmarks[0, 501:522] = [np.nan, np.nan, 0]
    found, detected = find(landmarks)
    assert detected.tolist() == [[True, True, False, True]]
    assert (found[0, 501:522] == 0).all()


def test_the_landmarks_of_the_caller_stay():
    landmarks = standing_signer(2)
    landmarks[0, 501:522] = np.nan
    before = landmarks.copy()
    find(landmarks)
    np.testing.assert_array_equal(landmarks, before)


def test_what_the_file_calls_undetected_is_undetected():
    landmarks = standing_signer(2)
    landmarks[0, 33:501] = np.nan
    landmarks[1, 40] = np.inf
    says = np.array([[True, True, True, True], [True, False, True, False]])
    found, detected = find(landmarks, says)
    assert detected.tolist() == [[True, False, True, True], [True, False, True, False]]
    assert (found[1, 522:] == 0).all() and np.isfinite(found).all()


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_some_points_that_are_not_finite_are_refused(part, value):
    landmarks = standing_signer(3)
    landmarks[1, PART_SLICES[part].start + 4, 1] = value
    message = f"a.npy frame 1: some points of {part} are NaN or infinite, expected all or none"
    with pytest.raises(DataError, match=re.escape(message)):
        find(landmarks)


def test_infinity_is_never_an_unseen_part():
    landmarks = standing_signer(1)
    landmarks[0, 501:522] = np.inf
    with pytest.raises(DataError, match="frame 0: some points of left_hand are NaN or infinite"):
        find(landmarks)


def test_a_missing_depth_is_named():
    landmarks = standing_signer(2)
    landmarks[:, 501:522, 2] = np.nan
    with pytest.raises(DataError, match="frame 0: z of left_hand is NaN or infinite in all its"):
        find(landmarks)


@pytest.mark.parametrize("fill", [-1.0, 0.5, 99.0])
def test_a_fill_value_is_named(fill):
    landmarks = standing_signer(2)
    landmarks[1, 522:] = fill
    message = f"frame 1: all points of right_hand are at ({fill:g}, {fill:g}), expected the shape"
    with pytest.raises(DataError, match=re.escape(message)):
        find(landmarks)
