"""Body coordinates: gaps are bridged, and the shoulders give origin and unit."""

import numpy as np
import pytest
import torch

from data.features import MIN_SHOULDER_WIDTH, body_coordinates, bridge_gaps
from tests.data.features.reference_features import (
    ASPECT,
    LEFT,
    POSE,
    SENTENCES,
    batch_of,
    random_sentence,
)


def test_coordinates_after_the_end_hold_the_last_frame():
    landmarks, detected, lengths = batch_of(list(SENTENCES.values()))
    body = body_coordinates(landmarks, detected, lengths, ASPECT)
    for row, length in enumerate(lengths.tolist()):
        last = body[row, length - 1 : length].expand_as(body[row, length:])
        torch.testing.assert_close(body[row, length:], last, atol=1e-6, rtol=0)


def test_an_undetected_hand_follows_its_arm():
    landmarks = np.zeros((1, 3, 543, 3), dtype=np.float32)
    landmarks[0, :, 15, 0] = [0.2, 0.5, 0.4]  # the wrist of the pose moves out and back
    landmarks[0, :, 501:522, 0] = landmarks[0, :, 15:16, 0] + np.array([[0.1], [0.0], [0.3]])
    landmarks[0, :, 501:522, 2] = np.array([[0.5], [0.0], [0.7]])
    landmarks[0, 1, 501:522] = 0
    detected = np.ones((1, 3, 4), dtype=bool)
    detected[0, 1, LEFT] = False
    bridged = bridge_gaps(
        torch.from_numpy(landmarks), torch.from_numpy(detected), torch.tensor([3])
    )
    assert bridged[0, 1, 501:522, 0].tolist() == pytest.approx([0.5 + (0.1 + 0.3) / 2] * 21)
    assert bridged[0, 1, 501:522, 2].tolist() == pytest.approx(
        [0.6] * 21
    )  # z is relative to the hand's own root


def test_a_hand_that_is_never_detected_lies_in_its_wrist():
    landmarks, detected = SENTENCES["hand and face never seen"]
    bridged = bridge_gaps(*batch_of([(landmarks, detected)]))[0].numpy()
    np.testing.assert_allclose(
        bridged[:, 501:522, :2], np.repeat(landmarks[:, 15:16, :2], 21, axis=1), atol=1e-6
    )
    assert not bridged[:, 501:522, 2].any()
    np.testing.assert_allclose(
        bridged[:, 33:501, :2], np.repeat(landmarks[:, 0:1, :2], 468, axis=1), atol=1e-6
    )


def test_body_coordinates_worked_out_by_hand():
    """Shoulders at (0.6, 0.5, -0.1) and (0.4, 0.5, 0.1) in an image twice as wide as high: 0.4
    image heights apart."""
    landmarks = np.full((1, 1, 543, 3), 0.5, dtype=np.float32)
    landmarks[0, 0, 11], landmarks[0, 0, 12] = (0.6, 0.5, -0.1), (0.4, 0.5, 0.1)
    landmarks[0, 0, 0] = (0.5, 0.3, -0.2)
    landmarks[0, 0, 530] = (0.7, 0.9, 0.05)
    body = body_coordinates(
        torch.from_numpy(landmarks), torch.ones(1, 1, 4, dtype=torch.bool), torch.tensor([1]), 2.0
    )
    assert body[0, 0, 11].tolist() == pytest.approx([0.5, 0.0, -0.5])
    assert body[0, 0, 12].tolist() == pytest.approx([-0.5, 0.0, 0.5])
    assert body[0, 0, 0].tolist() == pytest.approx([0.0, -0.5, -1.0])
    assert body[0, 0, 530].tolist() == pytest.approx([1.0, 1.0, 0.25])


def test_one_bad_frame_does_not_change_the_unit():
    landmarks, detected = random_sentence(11, 5)
    landmarks[:, 11], landmarks[:, 12] = (0.7, 0.5, 0), (0.3, 0.5, 0)
    spoilt = landmarks.copy()
    spoilt[2, 11] = (5.0, 0.5, 0)
    lost = spoilt.copy(), detected.copy()
    lost[1][[0, 1], POSE] = False  # frames without a pose do not count for the median
    good = body_coordinates(*batch_of([(landmarks, detected)]), ASPECT)
    for sentence in ((spoilt, detected), lost):
        bad = body_coordinates(*batch_of([sentence]), ASPECT)
        torch.testing.assert_close(bad[0, 3:, :33], good[0, 3:, :33], atol=1e-5, rtol=0)


def test_narrow_shoulders_do_not_blow_up_the_coordinates():
    landmarks, detected = random_sentence(12, 4)
    landmarks[:, 11] = landmarks[:, 12]
    body = body_coordinates(*batch_of([(landmarks, detected)]), ASPECT)
    centre = landmarks[:, 12, :2] * [ASPECT, 1]
    expected = (landmarks[:, 5, :2] * [ASPECT, 1] - centre) / MIN_SHOULDER_WIDTH
    np.testing.assert_allclose(body[0, :, 5, :2].numpy(), expected, rtol=1e-4)
