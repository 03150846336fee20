"""Applying an augmentation to single parts of the body: hands, fingers and the face."""

import math
from dataclasses import replace

import numpy as np
import torch

from data.augmentation.augmenter import Augmenter, hide_parts, rotate
from data.augmentation.draws import draw_augmentation
from data.features import body_coordinates
from data.landmarks import LandmarkSelection
from tests.data.augmentation.augmentation_off import (
    OFF,
    random_body,
    random_detected,
    unchanged_draw,
)


def test_part_scale_and_part_shift_worked_out_by_hand():
    body = torch.zeros(1, 2, 543, 3)
    body[..., 501, :], body[..., 501 + 4, :] = (
        torch.tensor([1.0, 1.0, 0.0]),
        torch.tensor([1.5, 0.0, 0.25]),
    )
    body[..., 33 + 168, :], body[..., 33 + 10, :] = (
        torch.tensor([0.0, -1.0, 0.0]),
        torch.tensor([0.0, -2.0, 0.5]),
    )
    body[..., 522 + 4, :], body[..., 15, :] = (
        torch.tensor([3.0, 3.0, 3.0]),
        torch.tensor([1.0, 1.0, 1.0]),
    )
    one = unchanged_draw(
        2,
        part_scale=np.float32([0.5, 2, 1]),
        part_shift=np.float32([[0, 0.25], [0.125, -0.5], [0, 0]]),
    )  # face, left hand, right hand
    config = replace(OFF, part_scale=(0.5, 2), part_shift=0.5)
    found, _, _ = Augmenter(config)(body.clone(), random_detected(1, 2), [one])
    assert found[0, 1, 501].tolist() == [1.125, 0.5, 0.0]
    assert found[0, 1, 505].tolist() == [2.125, -1.5, 0.5]
    assert found[0, 0, 33 + 168].tolist() == [0.0, -0.75, 0.0]
    assert found[0, 0, 33 + 10].tolist() == [0.0, -1.25, 0.25]
    assert torch.equal(found[:, :, 522:], body[:, :, 522:]) and torch.equal(
        found[:, :, :33], body[:, :, :33]
    )


def test_rotations_by_90_degrees_worked_out_by_hand():
    turned = rotate(torch.tensor([[1.0, 2.0, 3.0]] * 4), torch.pi / 2 * torch.eye(4)[:, :3])
    expected = [[1, -3, 2], [3, 2, -1], [-2, 1, 3], [1, 2, 3]]
    torch.testing.assert_close(
        turned, torch.tensor(expected, dtype=torch.float32), atol=1e-5, rtol=0
    )


def test_a_rotation_is_the_matrix_exponential_of_its_cross_product():
    turns, points = torch.randn(50, 3, dtype=torch.float64), torch.randn(50, 3, dtype=torch.float64)
    x, y, z = turns.unbind(1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).view(-1, 3, 3)
    expected = (torch.linalg.matrix_exp(cross) @ points[..., None])[..., 0]
    torch.testing.assert_close(rotate(points, turns), expected)


def test_a_hand_drifts_with_its_arm_and_turns_about_its_wrist():
    drift = np.zeros((2, 3, 5), np.float32)
    # The left hand in the second frame turns by 90 degrees in the image plane.
    drift[0, 1] = 0.25, -0.5, 0, 0, math.pi / 2
    body = random_body(1, 3)
    found, _, _ = Augmenter(replace(OFF, hand_drift=1, hand_turn=90))(
        body.clone(), random_detected(1, 3), [unchanged_draw(3, drift=drift)]
    )
    expected = body.clone()
    shift, frame = torch.tensor([0.25, -0.5]), expected[0, 1]
    frame[[15, 17, 19, 21], :2] += shift
    frame[13, :2] += shift / 2
    hand = body[0, 1, 501:522] - body[0, 1, 501]
    turned = torch.stack([-hand[:, 1], hand[:, 0], hand[:, 2]], dim=1) + body[0, 1, 501]
    frame[501:522] = turned + torch.tensor([0.25, -0.5, 0])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_drift_is_the_same_for_a_selection_of_landmarks():
    config, selection = replace(OFF, hand_drift=0.1, hand_turn=20), LandmarkSelection([13, 14, 19])
    body, detected = random_body(2, 9), random_detected(2, 9)
    draws = [draw_augmentation(config, 0, 1, "a", 9, 1), draw_augmentation(config, 0, 1, "b", 6, 1)]
    full = Augmenter(config)(body.clone(), detected, draws)[0]
    selected = Augmenter(config, selection=selection)(
        body[:, :, selection.landmarks].clone(), detected, draws
    )[0]
    assert torch.equal(selected, full[:, :, selection.landmarks])
    assert torch.equal(full[1, 5:], full[1, 5:6].expand(4, -1, -1)), (
        "the last frame is held after the end"
    )


def test_a_folded_finger_lies_on_its_base_and_the_others_stay():
    body = random_body(2, 3)
    fingers = np.ones((2, 5), dtype=bool)
    fingers[1, 1] = False  # the right hand's index finger: points 5 to 8
    found, _, _ = Augmenter(OFF)(
        body.clone(), random_detected(2, 3), [unchanged_draw(3), unchanged_draw(3, fingers=fingers)]
    )
    assert torch.equal(found[0], body[0])
    expected = body[1].clone()
    expected[:, [528, 529, 530]] = body[1][:, [527]]
    assert torch.equal(found[1], expected)


def test_only_the_hidden_spans_become_undetected():
    detected = torch.ones(2, 6, 4, dtype=torch.bool)
    detected[0, 0, 0] = detected[1, 5, 1] = False  # not detected in the recording
    stored, expected = detected.clone(), detected.clone()
    found = hide_parts(
        detected, [unchanged_draw(6), unchanged_draw(6, hidden=((2, 1, 3), (3, 4, 6)))]
    )
    assert torch.equal(detected, stored), "the stored values stay unchanged"
    expected[1, 1:3, 2] = expected[1, 4:6, 3] = False
    assert torch.equal(found, expected)


def test_a_hidden_hand_is_bridged_like_an_undetected_one():
    landmarks, detected, lengths = (
        random_body(1, 9),
        torch.ones(1, 9, 4, dtype=torch.bool),
        torch.tensor([9]),
    )
    lost = detected.clone()
    lost[0, 3:6, 2] = False
    hidden = hide_parts(detected, [unchanged_draw(9, hidden=((2, 3, 6),))])
    bodies = [body_coordinates(landmarks, seen, lengths, 1.0) for seen in (detected, lost, hidden)]
    assert torch.equal(bodies[1], bodies[2]) and not torch.equal(bodies[0], bodies[2])
