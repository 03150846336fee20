import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data.augmentation import Augmenter, Draw, draw
from data.augmentation_config import AugmentationConfig
from data.features import feature_blocks
from errors import UsageError

OFF = AugmentationConfig(speed=(1, 1), frame_drop=0, noise=0, scale=(1, 1), rotation=0, shift=0)


def still(frames: int, **changes) -> Draw:
    """A draw that changes nothing but what is given."""
    identity = Draw(np.arange(frames, dtype=np.float32), np.eye(2, dtype=np.float32), np.zeros(2, np.float32), 0.0, 0)
    return replace(identity, **changes)


def random_body(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, 543, 3, generator=torch.Generator().manual_seed(seed))


def random_detected(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, 4, generator=torch.Generator().manual_seed(seed)) < 0.5


def test_everything_off_changes_nothing():
    body, detected = random_body(2, 9), random_detected(2, 9)
    draws = [draw(OFF, 0, 1, "a", 9, 1), draw(OFF, 0, 1, "b", 6, 1)]
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
    ],
)
def test_each_switch_alone_changes_something(name, value):
    body, detected = random_body(1, 20), random_detected(1, 20)
    config = replace(OFF, **{name: value})
    found, _, lengths = Augmenter(config)(body, detected, [draw(config, 0, 1, "a", 20, 1)])
    assert lengths.tolist() != [20] or not torch.allclose(found, body, atol=1e-4)


def test_a_draw_is_keyed_by_seed_epoch_and_id():
    config = AugmentationConfig()

    def drawn(*names):
        one = draw(config, *names, 50, 10)
        return one.times.tolist(), one.linear.tolist(), one.shift.tolist(), one.noise, one.noise_row

    assert drawn(1, 2, "x") == drawn(1, 2, "x")
    for other in ((2, 2, "x"), (1, 3, "x"), (1, 2, "y")):
        assert all(a != b for a, b in zip(drawn(*other), drawn(1, 2, "x"), strict=True))


def test_a_sentence_looks_the_same_in_every_batch():
    config = AugmentationConfig()
    augment = Augmenter(config)
    frames = [20, 31, 12]
    body, detected = random_body(3, 31), random_detected(3, 31)
    draws = [draw(config, 0, 4, f"s{row}", frames[row], 8) for row in range(3)]
    together, seen, lengths = augment(body, detected, draws)
    for order in ([2, 0, 1], [1], [0, 2]):
        other, other_seen, other_lengths = Augmenter(config)(body[order], detected[order], [draws[i] for i in order])
        for row, index in enumerate(order):
            n = int(lengths[index])
            assert int(other_lengths[row]) == n
            assert torch.equal(other[row, :n], together[index, :n])
            assert torch.equal(other_seen[row, :n], seen[index, :n])


def test_speed_divides_the_length_and_spreads_the_positions_evenly():
    for number in range(20):
        slow = draw(replace(OFF, speed=(0.5, 1)), 0, 1, f"s{number}", 400, 1).times
        fast = draw(replace(OFF, speed=(1, 2)), 0, 1, f"s{number}", 400, 1).times
        # the same place in both ranges: all of [1, 2] is twice as fast as [0.5, 1]
        assert len(slow) / len(fast) == pytest.approx(2, abs=0.01)
        for times in (slow, fast):
            np.testing.assert_allclose(times, np.linspace(0, 399, len(times)), atol=1e-3)


def test_lengths_cover_the_promised_range_of_speed_and_no_more():
    config = replace(OFF, speed=(0.75, 1.3))
    lengths = np.array([len(draw(config, 0, 1, f"s{i}", 200, 1).times) for i in range(500)])
    assert lengths.min() >= round(200 / 1.3) and lengths.max() <= round(200 / 0.75)
    assert lengths.min() < 200 / 1.27 and lengths.max() > 200 / 0.77
    # as often faster as slower by the same factor: log speed is uniform
    middle = 200 / math.exp((math.log(0.75) + math.log(1.3)) / 2)
    assert 0.42 < (lengths > middle).mean() < 0.58


def test_dropped_frames_are_gone_and_the_others_stay_in_order():
    config = replace(OFF, frame_drop=0.4)
    shares = []
    for number in range(200):
        times = draw(config, 0, 1, f"s{number}", 100, 1).times
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
def test_never_shorter_than_needed_and_never_outside_the_sentence(frames, need, low, high, drop, id):
    config = replace(OFF, speed=(low, high), frame_drop=drop)
    times = draw(config, 0, 1, id, frames, need).times
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
    config = replace(OFF, rotation=90.0, scale=(0.7, 1.3))
    angles, scales = [], []
    for number in range(300):
        linear = draw(config, 0, 1, f"s{number}", 5, 1).linear.astype(np.float64)
        x, y = np.linalg.norm(linear, axis=0)  # images of the axes
        rotation = linear / [x, y]
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(2), atol=1e-6)
        assert np.linalg.det(rotation) == pytest.approx(1, abs=1e-6)
        assert 0.7 - 1e-6 <= y <= 1.3 + 1e-6 and abs(x / y - 1) <= 0.03 + 1e-6
        angles.append(math.degrees(math.atan2(rotation[1, 0], rotation[0, 0])))
        scales.append(y)
    assert -90.001 <= min(angles) < -80 and 80 < max(angles) <= 90.001
    assert min(scales) < 0.75 and max(scales) > 1.25


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
    shifts = np.array([draw(config, 0, 1, f"s{i}", 5, 1).shift for i in range(300)])
    assert abs(shifts).max() <= 0.2 and (shifts.min(0) < -0.18).all() and (shifts.max(0) > 0.18).all()
    assert abs(np.corrcoef(shifts.T)[0, 1]) < 0.2


def test_noise_has_the_drawn_deviation_and_is_another_in_every_frame():
    body = torch.zeros(2, 40, 543, 3)
    augment = Augmenter(replace(OFF, noise=1.0))
    found, _, _ = augment(body, random_detected(2, 40), [still(40, noise=0.5, noise_row=2040), still(40, noise=0.1)])
    assert float(found[0].std()) == pytest.approx(0.5, rel=0.02)
    assert float(found[1].std()) == pytest.approx(0.1, rel=0.02)
    assert float(found.mean()) == pytest.approx(0, abs=0.005)
    flat = found[0].reshape(40, -1)
    assert np.abs(np.corrcoef(flat.numpy()) - np.eye(40)).max() < 0.2


def test_noise_is_drawn_up_to_its_limit():
    amounts = [draw(replace(OFF, noise=0.02), 0, 1, f"s{i}", 5, 1).noise for i in range(200)]
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
    draws = [still(8, noise=0.3, noise_row=5), still(8, times=np.arange(5, dtype=np.float32), noise=0.3, noise_row=900)]
    found, _, lengths = Augmenter(config)(body, detected, draws)
    assert torch.equal(found[1, 5:], found[1, 4:5].expand(3, -1, -1))
    alone, _, _ = Augmenter(config)(body[1:], detected[1:], draws[1:])
    padded = feature_blocks(found, lengths)[1, :5]
    assert torch.equal(padded, feature_blocks(alone, lengths[1:])[0]), "no leak into the last derivatives"


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
    ],
)
def test_impossible_ranges_are_refused_by_name(name, value):
    with pytest.raises(UsageError, match=rf"augmentation\.{name} .*expected"):
        AugmentationConfig(**{name: value})
