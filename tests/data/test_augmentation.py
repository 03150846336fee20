import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data.augmentation import AugmentationDraw, Augmenter, draw_augmentation, hide_parts, rotate
from data.augmentation_config import AugmentationConfig
from data.features import body_coordinates, feature_blocks
from data.landmarks import LEFT_WRIST, RIGHT_WRIST, LandmarkSelection
from errors import UsageError

OFF = AugmentationConfig(
    speed=(1, 1),
    frame_drop=0,
    frame_cut=0,
    time_mask=0,
    noise=0,
    scale=(1, 1),
    aspect=(1, 1),
    rotation=0,
    shift=0,
    mirror=0,
    part_scale=(1, 1),
    part_shift=0,
    hand_drift=0,
    hand_turn=0,
    finger_drop=0,
    hand_drop=0,
    mix=0,
)


def still(frames: int, **changes) -> AugmentationDraw:
    """A draw that changes nothing but what is given."""
    identity = AugmentationDraw(
        times=np.arange(frames, dtype=np.float32),
        linear=np.eye(2, dtype=np.float32),
        shift=np.zeros(2, np.float32),
        noise=0.0,
        noise_row=0,
        mirror=False,
        part_scale=np.ones(3, np.float32),
        part_shift=np.zeros((3, 2), np.float32),
        fingers=np.ones((2, 5), dtype=bool),
        hidden=(),
    )
    return replace(identity, **changes)


def random_body(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, 543, 3, generator=torch.Generator().manual_seed(seed))


def random_detected(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, 4, generator=torch.Generator().manual_seed(seed)) < 0.5


def test_everything_off_changes_nothing():
    body, detected = random_body(2, 9), random_detected(2, 9)
    draws = [draw_augmentation(OFF, 0, 1, "a", 9, 1), draw_augmentation(OFF, 0, 1, "b", 6, 1)]
    found, seen, lengths = Augmenter(OFF)(body, detected, draws)
    assert lengths.tolist() == [9, 6]
    assert torch.equal(found[0], body[0]) and torch.equal(found[1, :6], body[1, :6])
    assert torch.equal(seen[0], detected[0]) and torch.equal(seen[1, :6], detected[1, :6])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("speed", (0.8, 1.3)),
        ("frame_drop", 0.3),
        ("noise", 0.1),
        ("scale", (0.8, 1.2)),
        ("rotation", 9),
        ("shift", 0.1),
        ("frame_cut", 0.5),
        ("aspect", (0.7, 1.4)),
        ("mirror", 1.0),
        ("part_scale", (0.7, 1.4)),
        ("hand_drift", 0.1),
        ("hand_turn", 20.0),
        ("part_shift", 0.3),
        ("finger_drop", 0.9),
    ],
)
def test_each_switch_alone_changes_something(name, value):
    body, detected = random_body(1, 20), random_detected(1, 20)
    config = replace(OFF, **{name: value})
    found, _, lengths = Augmenter(config)(
        body, detected, [draw_augmentation(config, 0, 1, "b", 20, 1)]
    )
    assert lengths.tolist() != [20] or not torch.allclose(found, body, atol=1e-4)


def test_a_draw_is_keyed_by_seed_epoch_and_id():
    config = AugmentationConfig()

    def drawn(*names):
        one = draw_augmentation(config, *names, 50, 10)
        return one.times.tolist(), one.linear.tolist(), one.shift.tolist(), one.noise, one.noise_row

    assert drawn(1, 2, "x") == drawn(1, 2, "x")
    for other in ((2, 2, "x"), (1, 3, "x"), (1, 2, "y")):
        assert all(a != b for a, b in zip(drawn(*other), drawn(1, 2, "x"), strict=True))


def test_a_sentence_looks_the_same_in_every_batch():
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


def test_speed_divides_the_length_and_spreads_the_positions_evenly():
    for number in range(20):
        slow = draw_augmentation(replace(OFF, speed=(0.5, 1)), 0, 1, f"s{number}", 400, 1).times
        fast = draw_augmentation(replace(OFF, speed=(1, 2)), 0, 1, f"s{number}", 400, 1).times
        # the same place in both ranges: all of [1, 2] is twice as fast as [0.5, 1]
        assert len(slow) / len(fast) == pytest.approx(2, abs=0.01)
        for times in (slow, fast):
            np.testing.assert_allclose(times, np.linspace(0, 399, len(times)), atol=1e-3)


def test_lengths_cover_the_promised_range_of_speed_and_no_more():
    config = replace(OFF, speed=(0.75, 1.3))
    lengths = np.array(
        [len(draw_augmentation(config, 0, 1, f"s{i}", 200, 1).times) for i in range(500)]
    )
    assert lengths.min() >= round(200 / 1.3) and lengths.max() <= round(200 / 0.75)
    assert lengths.min() < 200 / 1.27 and lengths.max() > 200 / 0.77
    # as often faster as slower by the same factor: log speed is uniform
    middle = 200 / math.exp((math.log(0.75) + math.log(1.3)) / 2)
    assert 0.42 < (lengths > middle).mean() < 0.58
    # A third would be slower than 1 if speed itself were uniform
    wide = replace(OFF, speed=(0.5, 2))
    assert (
        0.43
        < np.mean(
            [len(draw_augmentation(wide, 0, 1, f"s{i}", 200, 1).times) > 200 for i in range(500)]
        )
        < 0.57
    )


def test_dropped_frames_are_gone_and_the_others_stay_in_order():
    config = replace(OFF, frame_drop=0.4)
    shares = []
    for number in range(200):
        times = draw_augmentation(config, 0, 1, f"s{number}", 100, 1).times
        assert np.array_equal(times, times.round()) and (np.diff(times) >= 1).all()
        assert times[0] >= 0 and times[-1] <= 99
        shares.append(1 - len(times) / 100)
    assert 0.15 < np.mean(shares) < 0.25  # the probability is drawn from 0 to 0.4
    assert max(shares) > 0.3 and min(shares) < 0.05


@settings(max_examples=200, deadline=None)
@given(
    frames=st.integers(1, 120),
    need=st.integers(1, 120),
    low=st.floats(0.2, 1),
    high=st.floats(1, 5),
    drop=st.floats(0, 0.5),
    id=st.text(min_size=1, max_size=8),
)
def test_never_shorter_than_needed_and_never_outside_the_sentence(
    frames, need, low, high, drop, id
):
    config = replace(OFF, speed=(low, high), frame_drop=drop)
    times = draw_augmentation(config, 0, 1, id, frames, need).times
    assert len(times) >= need
    assert times.dtype == np.float32
    assert times.min() >= 0 and times.max() <= frames - 1
    assert (np.diff(times) >= 0).all()


def test_a_quarter_turn_by_hand():
    body = torch.zeros(1, 1, 543, 3)
    body[0, 0, 7] = torch.tensor([1.0, 2.0, 3.0])
    turn = np.array([[0, -1], [1, 0]], dtype=np.float32)
    found, _, _ = Augmenter(OFF)(body, random_detected(1, 1), [still(1, linear=turn)])
    assert found[0, 0, 7].tolist() == [-2.0, 1.0, 3.0]
    assert not found[0, 0, 8].any(), "turned about the origin, which is between the shoulders"


def test_drawn_maps_are_rotations_of_scales():
    config = replace(OFF, rotation=90.0, scale=(0.7, 1.3), aspect=(0.8, 1.25))
    angles, scales, aspects = [], [], []
    for number in range(300):
        linear = draw_augmentation(config, 0, 1, f"s{number}", 5, 1).linear.astype(np.float64)
        x, y = np.linalg.norm(linear, axis=0)  # images of the axes
        rotation = linear / [x, y]
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(2), atol=1e-6)
        assert np.linalg.det(rotation) == pytest.approx(1, abs=1e-6)
        assert 0.7 - 1e-6 <= y <= 1.3 + 1e-6 and 0.8 - 1e-6 <= x / y <= 1.25 + 1e-6
        aspects.append(x / y)
        angles.append(math.degrees(math.atan2(rotation[1, 0], rotation[0, 0])))
        scales.append(y)
    assert -90.001 <= min(angles) < -80 and 80 < max(angles) <= 90.001
    assert min(scales) < 0.75 and max(scales) > 1.25
    assert min(aspects) < 0.82 and max(aspects) > 1.22
    assert 0.4 < np.mean(np.array(aspects) > 1) < 0.6


def test_scale_and_shift_by_hand():
    body = torch.zeros(2, 2, 543, 3)
    body[:, :, 9] = torch.tensor([1.0, -1.0, 4.0])
    scaled = still(2, linear=np.diag([1.5, 0.5]).astype(np.float32), shift=np.float32([0.25, -0.5]))
    found, _, _ = Augmenter(OFF)(body, random_detected(2, 2), [still(2), scaled])
    assert found[0, 1, 9].tolist() == [1.0, -1.0, 4.0]
    assert found[1, 1, 9].tolist() == [1.75, -1.0, 4.0]
    assert found[1, 0, 0].tolist() == [0.25, -0.5, 0.0]


def test_shifts_are_drawn_for_x_and_y_apart():
    config = replace(OFF, shift=0.2)
    shifts = np.array([draw_augmentation(config, 0, 1, f"s{i}", 5, 1).shift for i in range(300)])
    assert (
        abs(shifts).max() <= 0.2 and (shifts.min(0) < -0.18).all() and (shifts.max(0) > 0.18).all()
    )
    assert abs(np.corrcoef(shifts.T)[0, 1]) < 0.2


def test_noise_has_the_drawn_deviation_and_is_another_in_every_frame():
    body = torch.zeros(2, 40, 543, 3)
    augment = Augmenter(replace(OFF, noise=1.0))
    found, _, _ = augment(
        body, random_detected(2, 40), [still(40, noise=0.5, noise_row=2040), still(40, noise=0.1)]
    )
    assert float(found[0].std()) == pytest.approx(0.5, rel=0.02)
    assert float(found[1].std()) == pytest.approx(0.1, rel=0.02)
    assert float(found.mean()) == pytest.approx(0, abs=0.005)
    flat = found[0].reshape(40, -1)
    assert np.abs(np.corrcoef(flat.numpy()) - np.eye(40)).max() < 0.2


def test_noise_is_drawn_up_to_its_limit():
    amounts = [
        draw_augmentation(replace(OFF, noise=0.02), 0, 1, f"s{i}", 5, 1).noise for i in range(200)
    ]
    assert 0 <= min(amounts) < 0.002 and 0.018 < max(amounts) <= 0.02


def test_in_between_positions_are_interpolated_and_detected_follows_the_nearest_frame():
    body, detected = random_body(1, 3), torch.tensor([[[True] * 4, [False] * 4, [True, False] * 2]])
    times = np.float32([0, 0.25, 0.75, 1.75, 2])
    found, seen, lengths = Augmenter(OFF)(body, detected, [still(3, times=times)])
    assert lengths.tolist() == [5]
    torch.testing.assert_close(found[0, 1], 0.75 * body[0, 0] + 0.25 * body[0, 1])
    torch.testing.assert_close(found[0, 3], 0.25 * body[0, 1] + 0.75 * body[0, 2])
    assert torch.equal(seen[0], detected[0, [0, 0, 1, 2, 2]])


def test_frames_behind_the_end_hold_the_last_frame_also_with_noise():
    config = replace(OFF, noise=1.0)
    body, detected = random_body(2, 8), random_detected(2, 8)
    draws = [
        still(8, noise=0.3, noise_row=5),
        still(8, times=np.arange(5, dtype=np.float32), noise=0.3, noise_row=900),
    ]
    found, _, lengths = Augmenter(config)(body, detected, draws)
    assert torch.equal(found[1, 5:], found[1, 4:5].expand(3, -1, -1))
    alone, _, _ = Augmenter(config)(body[1:], detected[1:], draws[1:])
    padded = feature_blocks(found, lengths)[1, :5]
    assert torch.equal(padded, feature_blocks(alone, lengths[1:])[0]), (
        "no leak into the last derivatives"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("speed", (1.1, 1.3)),
        ("speed", (0.1, 1.3)),
        ("speed", (0.8, 6)),
        ("speed", (float("nan"), 1.3)),
        ("scale", (0.9, 0.95)),
        ("scale", (1.3, 0.8)),
        ("frame_drop", 0.6),
        ("frame_drop", -0.1),
        ("noise", 1.5),
        ("noise", float("nan")),
        ("rotation", -1),
        ("rotation", 181),
        ("shift", 5.5),
        ("frame_cut", 0.6),
        ("time_mask", -0.1),
        ("aspect", (0.9, 0.95)),
        ("mirror", 1.1),
        ("part_scale", (1.2, 1.3)),
        ("hand_drift", -0.1),
        ("hand_turn", 91),
        ("finger_drop", 1.0),
        ("hand_drop", 0.95),
        ("mix", 2),
    ],
)
def test_impossible_ranges_are_refused_by_name(name, value):
    with pytest.raises(UsageError, match=rf"augmentation\.{name} .*expected"):
        AugmentationConfig(**{name: value})


# ---------------------------------------------------------------- left and right


def test_a_mirrored_body_by_hand():
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
    )  # mouth's corners
    body[:, :, 33 + 1] = torch.tensor([0.1, -1.2, -0.1])  # the tip of the nose
    detected[:, 1, 2] = False  # the left hand is lost in one frame
    found, seen, _ = Augmenter(OFF)(
        body.clone(), detected.clone(), [still(3), still(3, mirror=True)]
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


def test_the_mirror_image_of_a_mirror_image_is_the_body():
    body, detected = random_body(1, 4), random_detected(1, 4)
    augment = Augmenter(OFF)
    once, seen, _ = augment(body.clone(), detected.clone(), [still(4, mirror=True)])
    assert not torch.equal(once, body)
    twice, seen, _ = augment(once.clone(), seen, [still(4, mirror=True)])
    assert torch.equal(twice, body) and torch.equal(seen, detected)


def test_mirrors_come_as_often_as_said():
    share = np.mean(
        [
            draw_augmentation(replace(OFF, mirror=0.3), 0, 1, f"s{i}", 5, 1).mirror
            for i in range(500)
        ]
    )
    assert 0.23 < share < 0.37


# ---------------------------------------------------------------- parts


def test_parts_are_scaled_about_their_roots_and_shifted_by_hand():
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
    one = still(
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


def test_drawn_part_changes_stay_in_their_ranges():
    config = replace(OFF, part_scale=(0.8, 1.25), part_shift=0.1)
    draws = [draw_augmentation(config, 0, 1, f"s{i}", 5, 1) for i in range(200)]
    scales, shifts = (
        np.array([getattr(one, name) for one in draws]) for name in ("part_scale", "part_shift")
    )
    assert scales.shape == (200, 3) and shifts.shape == (200, 3, 2)
    assert (scales.min(0) < 0.83).all() and scales.min() >= 0.8 - 1e-6
    assert (scales.max(0) > 1.21).all() and scales.max() <= 1.25 + 1e-6
    assert (
        (shifts.min((0, 2)) < -0.09).all()
        and (shifts.max((0, 2)) > 0.09).all()
        and abs(shifts).max() <= 0.1
    )


def test_rotations_by_hand():
    turned = rotate(torch.tensor([[1.0, 2.0, 3.0]] * 4), torch.pi / 2 * torch.eye(4)[:, :3])
    expected = [[1, -3, 2], [3, 2, -1], [-2, 1, 3], [1, 2, 3]]
    torch.testing.assert_close(
        turned, torch.tensor(expected, dtype=torch.float32), atol=1e-5, rtol=0
    )


def test_a_rotation_is_the_exponential_of_its_cross_product():
    turns, points = torch.randn(50, 3, dtype=torch.float64), torch.randn(50, 3, dtype=torch.float64)
    x, y, z = turns.unbind(1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).view(-1, 3, 3)
    expected = (torch.linalg.matrix_exp(cross) @ points[..., None])[..., 0]
    torch.testing.assert_close(rotate(points, turns), expected)


def test_a_hand_drifts_with_its_arm_and_turns_about_its_wrist_by_hand():
    drift = np.zeros((2, 3, 5), np.float32)
    # The left hand in the second frame: a quarter turn in the image plane
    drift[0, 1] = 0.25, -0.5, 0, 0, math.pi / 2
    body = random_body(1, 3)
    found, _, _ = Augmenter(replace(OFF, hand_drift=1, hand_turn=90))(
        body.clone(), random_detected(1, 3), [still(3, drift=drift)]
    )
    expected = body.clone()
    shift, frame = torch.tensor([0.25, -0.5]), expected[0, 1]
    frame[[15, 17, 19, 21], :2] += shift
    frame[13, :2] += shift / 2
    hand = body[0, 1, 501:522] - body[0, 1, 501]
    turned = torch.stack([-hand[:, 1], hand[:, 0], hand[:, 2]], dim=1) + body[0, 1, 501]
    frame[501:522] = turned + torch.tensor([0.25, -0.5, 0])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_drifts_are_slow_and_spread_as_said():
    config = replace(OFF, hand_drift=0.1, hand_turn=20)
    drifts = np.stack(
        [draw_augmentation(config, 0, 1, str(number), 200, 1).drift for number in range(100)]
    )
    assert drifts.shape == (100, 2, 200, 5)
    # Between two drawn places the spread is smaller, 0.86 of a place's in the mean over the way.
    assert drifts[..., :2].std() == pytest.approx(0.086, rel=0.03)
    assert drifts[..., 2:].std() == pytest.approx(math.radians(20) * 0.86, rel=0.03)
    # Eased over ten frames, a step is at most 0.15 of the way between two places; those are seldom
    # 6 deviations apart.
    assert np.abs(np.diff(drifts[..., :2], axis=2)).max() < 0.15 * 0.6
    assert abs(np.corrcoef(drifts[..., 0].ravel(), drifts[..., 1].ravel())[0, 1]) < 0.05
    assert (
        not draw_augmentation(replace(config, hand_drift=0), 0, 1, "a", 9, 1).drift[..., :2].any()
    )
    assert draw_augmentation(OFF, 0, 1, "a", 9, 1).drift is None


def test_drift_leaves_every_other_draw_as_it_is():
    one, other = (
        draw_augmentation(AugmentationConfig(hand_drift=drift), 0, 1, "a", 30, 1)
        for drift in (0.0, 0.1)
    )
    for name in ("times", "linear", "shift", "noise", "noise_row", "mirror", "fingers", "hidden"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name


def test_a_drift_with_few_landmarks_is_that_with_all():
    config, selection = replace(OFF, hand_drift=0.1, hand_turn=20), LandmarkSelection([13, 14, 19])
    body, detected = random_body(2, 9), random_detected(2, 9)
    draws = [draw_augmentation(config, 0, 1, "a", 9, 1), draw_augmentation(config, 0, 1, "b", 6, 1)]
    whole = Augmenter(config)(body.clone(), detected, draws)[0]
    few = Augmenter(config, selection=selection)(
        body[:, :, selection.landmarks].clone(), detected, draws
    )[0]
    assert torch.equal(few, whole[:, :, selection.landmarks])
    assert torch.equal(whole[1, 5:], whole[1, 5:6].expand(4, -1, -1)), "held behind the end"


def test_a_dropped_finger_lies_on_its_base_and_the_others_stay():
    body = random_body(2, 3)
    fingers = np.ones((2, 5), dtype=bool)
    fingers[1, 1] = False  # the right hand's index finger: points 5 to 8
    found, _, _ = Augmenter(OFF)(
        body.clone(), random_detected(2, 3), [still(3), still(3, fingers=fingers)]
    )
    assert torch.equal(found[0], body[0])
    expected = body[1].clone()
    expected[:, [528, 529, 530]] = body[1][:, [527]]
    assert torch.equal(found[1], expected)


def test_fingers_are_dropped_as_often_as_said():
    kept = np.array(
        [
            draw_augmentation(replace(OFF, finger_drop=0.2), 0, 1, f"s{i}", 5, 1).fingers
            for i in range(300)
        ]
    )
    assert kept.shape == (300, 2, 5) and ((kept.mean(0) > 0.7) & (kept.mean(0) < 0.9)).all()
    assert np.abs(np.corrcoef(kept.reshape(300, 10).T) - np.eye(10)).max() < 0.25, "each on its own"


# ---------------------------------------------------------------- hidden spans


def test_hidden_spans_are_undetected_and_only_there():
    detected = torch.ones(2, 6, 4, dtype=torch.bool)
    detected[0, 0, 0] = detected[1, 5, 1] = False  # lost in the recording
    stored, expected = detected.clone(), detected.clone()
    found = hide_parts(detected, [still(6), still(6, hidden=((2, 1, 3), (3, 4, 6)))])
    assert torch.equal(detected, stored), "the stored values stay"
    expected[1, 1:3, 2] = expected[1, 4:6, 3] = False
    assert torch.equal(found, expected)


def test_a_hidden_hand_is_bridged_like_a_lost_one():
    landmarks, detected, lengths = (
        random_body(1, 9),
        torch.ones(1, 9, 4, dtype=torch.bool),
        torch.tensor([9]),
    )
    lost = detected.clone()
    lost[0, 3:6, 2] = False
    hidden = hide_parts(detected, [still(9, hidden=((2, 3, 6),))])
    bodies = [body_coordinates(landmarks, seen, lengths, 1.0) for seen in (detected, lost, hidden)]
    assert torch.equal(bodies[1], bodies[2]) and not torch.equal(bodies[0], bodies[2])


def test_time_masks_hide_every_part_for_one_run_of_at_most_the_share():
    longest = 0
    for number in range(200):
        hidden = draw_augmentation(replace(OFF, time_mask=0.3), 0, 1, f"s{number}", 50, 1).hidden
        assert not hidden or [part for part, _, _ in hidden] == [0, 1, 2, 3]
        assert len({span[1:] for span in hidden}) <= 1
        for _, start, stop in hidden:
            assert 0 <= start < stop <= 50 and stop - start <= 15
            longest = max(longest, stop - start)
    assert longest >= 13


def test_hands_are_lost_apart_and_as_often_as_said():
    draws = [
        draw_augmentation(replace(OFF, hand_drop=0.4), 0, 1, f"s{i}", 100, 1).hidden
        for i in range(400)
    ]
    counts = {part: sum(any(span[0] == part for span in one) for one in draws) for part in range(4)}
    assert counts[0] == counts[1] == 0
    assert 130 < counts[2] < 190 and 130 < counts[3] < 190
    assert any(len(one) == 1 for one in draws) and any(len(one) == 2 for one in draws)
    assert max(stop - start for one in draws for _, start, stop in one) <= 50


def test_a_cut_takes_one_run_of_frames_out():
    config, lengths = replace(OFF, frame_cut=0.4), []
    for number in range(200):
        times = draw_augmentation(config, 0, 1, f"s{number}", 100, 1).times
        jumps = np.diff(times)
        assert (jumps != 1).sum() <= 1 and np.array_equal(times, times.round())
        lengths.append(len(times))
    assert 60 <= min(lengths) < 65 and max(lengths) > 97
