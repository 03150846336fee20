"""Applying an augmentation to the whole body: time, scale, rotation, shift, noise and mirroring."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from data.augmentation.augmenter import Augmenter
from data.augmentation.config import AugmentationConfig
from data.augmentation.draws import draw_augmentation
from data.features import feature_blocks
from data.landmarks import LEFT_WRIST, RIGHT_WRIST
from tests.data.augmentation.augmentation_off import (
    OFF,
    random_body,
    random_detected,
    unchanged_draw,
)


def test_with_all_settings_off_nothing_changes():
    body, detected = random_body(2, 9), random_detected(2, 9)
    draws = [draw_augmentation(OFF, 0, 1, "a", 9, 1), draw_augmentation(OFF, 0, 1, "b", 6, 1)]
    found, seen, lengths = Augmenter(OFF)(body, detected, draws)
    assert lengths.tolist() == [9, 6]
    assert torch.equal(found[0], body[0]) and torch.equal(found[1, :6], body[1, :6])
    assert torch.equal(seen[0], detected[0]) and torch.equal(seen[1, :6], detected[1, :6])


CHANGES = {
    "speed": (0.8, 1.3),
    "frame_drop": 0.3,
    "frame_cut": 0.5,
    "noise": 0.1,
    "scale": (0.8, 1.2),
    "aspect": (0.7, 1.4),
    "rotation": 9,
    "shift": 0.1,
    "mirror": 1.0,
    "part_scale": (0.7, 1.4),
    "part_shift": 0.3,
    "hand_drift": 0.1,
    "hand_turn": 20.0,
    "finger_drop": 0.9,
}
# Not changes of a body: `enabled`, what `hide_parts` hides, and what joins sentences of a split
OTHERS = {"enabled", "time_mask", "hand_drop", "mix", "splice"}


@pytest.mark.parametrize("name", [one.name for one in fields(OFF) if one.name not in OTHERS])
def test_each_setting_alone_changes_something(name):
    body, detected = random_body(1, 20), random_detected(1, 20)
    config = replace(OFF, **{name: CHANGES[name]})
    found, _, lengths = Augmenter(config)(
        body, detected, [draw_augmentation(config, 0, 1, "b", 20, 1)]
    )
    assert lengths.tolist() != [20] or not torch.allclose(found, body, atol=1e-4)


def test_a_sentence_is_augmented_in_the_same_way_in_every_batch():
    config = AugmentationConfig()
    augment = Augmenter(config)
    frames = [20, 31, 12]
    body, detected = random_body(3, 31), random_detected(3, 31)
    draws = [draw_augmentation(config, 0, 4, f"s{row}", frames[row], 8) for row in range(3)]
    together, seen, lengths = augment(body, detected, draws)
    for order in ([2, 0, 1], [1], [0, 2]):
        other, other_seen, other_lengths = Augmenter(config)(
            body[order], detected[order], [draws[i] for i in order]
        )
        for row, index in enumerate(order):
            n = int(lengths[index])
            assert int(other_lengths[row]) == n
            assert torch.equal(other[row, :n], together[index, :n])
            assert torch.equal(other_seen[row, :n], seen[index, :n])


def test_a_rotation_by_90_degrees_worked_out_by_hand():
    body = torch.zeros(1, 1, 543, 3)
    body[0, 0, 7] = torch.tensor([1.0, 2.0, 3.0])
    turn = np.array([[0, -1], [1, 0]], dtype=np.float32)
    found, _, _ = Augmenter(OFF)(body, random_detected(1, 1), [unchanged_draw(1, linear=turn)])
    assert found[0, 0, 7].tolist() == [-2.0, 1.0, 3.0]
    assert not found[0, 0, 8].any(), "the body rotates about the origin, between the shoulders"


def test_scale_and_shift_worked_out_by_hand():
    body = torch.zeros(2, 2, 543, 3)
    body[:, :, 9] = torch.tensor([1.0, -1.0, 4.0])
    scaled = unchanged_draw(
        2, linear=np.diag([1.5, 0.5]).astype(np.float32), shift=np.float32([0.25, -0.5])
    )
    found, _, _ = Augmenter(OFF)(body, random_detected(2, 2), [unchanged_draw(2), scaled])
    assert found[0, 1, 9].tolist() == [1.0, -1.0, 4.0]
    assert found[1, 1, 9].tolist() == [1.75, -1.0, 4.0]
    assert found[1, 0, 0].tolist() == [0.25, -0.5, 0.0]


def test_the_scale_of_the_body_is_also_that_of_depth():
    """x, y and z have one factor, also in hands and face, whose z has its own root."""
    config = replace(OFF, scale=(1.0, 2.0))
    draw = draw_augmentation(config, 0, 1, "a", 1, 1)
    body = torch.zeros(1, 1, 543, 3)
    for point in (9, 100, 510, 530):
        body[0, 0, point] = torch.tensor([1.0, -1.0, 4.0])
    found, _, _ = Augmenter(config)(body, random_detected(1, 1), [draw])
    assert 1.0 < draw.scale < 2.0
    for point in (9, 100, 510, 530):
        expected = [draw.scale, -draw.scale, 4 * draw.scale]
        assert found[0, 0, point].tolist() == pytest.approx(expected, rel=1e-6)


def test_noise_has_the_drawn_deviation_and_differs_between_frames():
    body = torch.zeros(2, 40, 543, 3)
    augment = Augmenter(replace(OFF, noise=1.0))
    found, _, _ = augment(
        body,
        random_detected(2, 40),
        [unchanged_draw(40, noise=0.5, noise_row=2040), unchanged_draw(40, noise=0.1)],
    )
    assert float(found[0].std()) == pytest.approx(0.5, rel=0.02)
    assert float(found[1].std()) == pytest.approx(0.1, rel=0.02)
    assert float(found.mean()) == pytest.approx(0, abs=0.005)
    flat = found[0].reshape(40, -1)
    assert np.abs(np.corrcoef(flat.numpy()) - np.eye(40)).max() < 0.2


def test_times_between_frames_interpolate_and_detected_follows_the_nearest_frame():
    body, detected = random_body(1, 3), torch.tensor([[[True] * 4, [False] * 4, [True, False] * 2]])
    times = np.float32([0, 0.25, 0.75, 1.75, 2])
    found, seen, lengths = Augmenter(OFF)(body, detected, [unchanged_draw(3, times=times)])
    assert lengths.tolist() == [5]
    torch.testing.assert_close(found[0, 1], 0.75 * body[0, 0] + 0.25 * body[0, 1])
    torch.testing.assert_close(found[0, 3], 0.25 * body[0, 1] + 0.75 * body[0, 2])
    assert torch.equal(seen[0], detected[0, [0, 0, 1, 2, 2]])


def test_frames_after_the_end_hold_the_last_frame_and_its_noise():
    config = replace(OFF, noise=1.0)
    body, detected = random_body(2, 8), random_detected(2, 8)
    draws = [
        unchanged_draw(8, noise=0.3, noise_row=5),
        unchanged_draw(8, times=np.arange(5, dtype=np.float32), noise=0.3, noise_row=900),
    ]
    found, _, lengths = Augmenter(config)(body, detected, draws)
    assert torch.equal(found[1, 5:], found[1, 4:5].expand(3, -1, -1))
    alone, _, _ = Augmenter(config)(body[1:], detected[1:], draws[1:])
    padded = feature_blocks(found, lengths)[1, :5]
    assert torch.equal(padded, feature_blocks(alone, lengths[1:])[0]), (
        "the padding does not change the last derivatives"
    )


def test_a_mirrored_body_worked_out_by_hand():
    body, detected = torch.zeros(2, 3, 543, 3), torch.ones(2, 3, 4, dtype=torch.bool)
    body[:, :, LEFT_WRIST], body[:, :, RIGHT_WRIST] = (
        torch.tensor([1.0, 2.0, 3.0]),
        torch.tensor([-4.0, 5.0, 6.0]),
    )
    body[:, :, 501 + 8], body[:, :, 522 + 8] = (
        torch.tensor([1.5, 2.5, 0.5]),
        torch.tensor([-4.5, 5.5, 0.25]),
    )
    body[:, :, 33 + 61], body[:, :, 33 + 291] = (
        torch.tensor([-0.2, -1.0, 0.1]),
        torch.tensor([0.3, -1.1, 0.2]),
    )  # corners of the mouth
    body[:, :, 33 + 1] = torch.tensor([0.1, -1.2, -0.1])  # the tip of the nose
    detected[:, 1, 2] = False  # the left hand is not detected in the second frame
    found, seen, _ = Augmenter(OFF)(
        body.clone(), detected.clone(), [unchanged_draw(3), unchanged_draw(3, mirror=True)]
    )
    assert torch.equal(found[0], body[0]) and torch.equal(seen[0], detected[0])
    there = {
        point: found[1, 0, point].tolist()
        for point in (LEFT_WRIST, RIGHT_WRIST, 509, 530, 94, 324, 34)
    }
    expected = {
        LEFT_WRIST: [4.0, 5.0, 6.0],
        RIGHT_WRIST: [-1.0, 2.0, 3.0],
        509: [4.5, 5.5, 0.25],
        530: [-1.5, 2.5, 0.5],
        94: [-0.3, -1.1, 0.2],
        324: [0.2, -1.0, 0.1],
        34: [-0.1, -1.2, -0.1],
    }
    for point, value in expected.items():
        assert there[point] == pytest.approx(value), point
    assert seen[1].tolist() == [[True] * 4, [True, True, True, False], [True] * 4]


def test_mirroring_twice_gives_the_body_back():
    body, detected = random_body(1, 4), random_detected(1, 4)
    augment = Augmenter(OFF)
    once, seen, _ = augment(body.clone(), detected.clone(), [unchanged_draw(4, mirror=True)])
    assert not torch.equal(once, body)
    twice, seen, _ = augment(once.clone(), seen, [unchanged_draw(4, mirror=True)])
    assert torch.equal(twice, body) and torch.equal(seen, detected)
