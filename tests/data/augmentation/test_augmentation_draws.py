"""Drawing an augmentation: the numbers have the configured distributions and are keyed by (seed,
epoch, sentence id)."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.augmentation.config import AugmentationConfig
from data.augmentation.draws import augmented_lengths, draw_augmentation, draw_augmentations
from tests.data.augmentation.augmentation_off import OFF
from tests.data.augmentation.reference_draws import reference_draw

EVERYTHING = AugmentationConfig(
    frame_drop=0.4,
    frame_cut=0.3,
    time_mask=0.3,
    mirror=0.3,
    part_scale=(0.8, 1.2),
    part_shift=0.1,
    finger_drop=0.2,
    hand_drop=0.5,
)


@pytest.mark.parametrize("config", [AugmentationConfig(), EVERYTHING, OFF])
def test_draws_of_many_sentences_are_those_of_one_after_the_other(config):
    """Every draw, in numbers: a run that is continued after an update of this program has the same
    augmentation."""
    frames = [1, 2, 3, *np.random.default_rng(0).integers(4, 150, 60).tolist()]
    fewest = [1 + number % 40 for number in range(len(frames))]
    ids = [f"train/{number} é" for number in range(len(frames))]
    drawn = draw_augmentations(config, 3, 5, ids, frames, fewest)
    lengths = augmented_lengths(config, 3, 5, ids, frames, fewest)
    for row, found in enumerate(drawn):
        expected = reference_draw(config, 3, 5, ids[row], frames[row], fewest[row])
        assert len(expected.times) == lengths[row]
        for name, value in vars(expected).items():
            same = getattr(found, name)
            if isinstance(value, np.ndarray) and value.dtype != bool:
                assert same.dtype == value.dtype, name
                np.testing.assert_allclose(same, value, rtol=1e-6, atol=1e-7, err_msg=name)
            elif isinstance(value, float):
                assert same == pytest.approx(value, rel=1e-12), name
            else:
                assert np.array_equal(same, value), name


def test_without_augmentation_the_lengths_stay():
    off = replace(EVERYTHING, enabled=False)
    assert augmented_lengths(off, 0, 1, ["a", "b"], [7, 9], [1, 20]).tolist() == [7, 9]
    assert augmented_lengths(EVERYTHING, 0, 1, [], [], []).tolist() == []


def test_a_broken_sentence_without_frames_does_not_change_the_lengths_of_others():
    one, other = augmented_lengths(EVERYTHING, 0, 1, ["a", "b"], [40, 50], [1, 1])
    found = augmented_lengths(
        EVERYTHING, 0, 1, ["x", "a", "y", "b", "z"], [0, 40, 0, 50, 0], [3] * 5
    )
    assert found.tolist() == [3, one, 3, other, 3]


def test_a_draw_is_keyed_by_seed_epoch_and_id():
    config = AugmentationConfig()

    def drawn(*names):
        one = draw_augmentation(config, *names, 50, 10)
        return one.times.tolist(), one.linear.tolist(), one.shift.tolist(), one.noise, one.noise_row

    assert drawn(1, 2, "x") == drawn(1, 2, "x")
    for other in ((2, 2, "x"), (1, 3, "x"), (1, 2, "y")):
        assert all(a != b for a, b in zip(drawn(*other), drawn(1, 2, "x"), strict=True))


def test_speed_divides_the_length_and_spreads_the_positions_evenly():
    for number in range(20):
        slow = draw_augmentation(replace(OFF, speed=(0.5, 1)), 0, 1, f"s{number}", 400, 1).times
        fast = draw_augmentation(replace(OFF, speed=(1, 2)), 0, 1, f"s{number}", 400, 1).times
        # The key is the same, so both speeds lie at the same place of their ranges: twice as fast.
        assert len(slow) / len(fast) == pytest.approx(2, abs=0.01)
        for times in (slow, fast):
            np.testing.assert_allclose(times, np.linspace(0, 399, len(times)), atol=1e-3)


def test_lengths_cover_the_range_of_speeds_and_stay_inside():
    config = replace(OFF, speed=(0.75, 1.3))
    lengths = np.array(
        [len(draw_augmentation(config, 0, 1, f"s{i}", 200, 1).times) for i in range(500)]
    )
    assert lengths.min() >= round(200 / 1.3) and lengths.max() <= round(200 / 0.75)
    assert lengths.min() < 200 / 1.27 and lengths.max() > 200 / 0.77
    # The logarithm of the speed is uniform: a factor and its inverse are equally likely.
    middle = 200 / math.exp((math.log(0.75) + math.log(1.3)) / 2)
    assert 0.42 < (lengths > middle).mean() < 0.58
    # If the speed itself were uniform, a third of the speeds would be below 1.
    wide = replace(OFF, speed=(0.5, 2))
    assert (
        0.43
        < np.mean(
            [len(draw_augmentation(wide, 0, 1, f"s{i}", 200, 1).times) > 200 for i in range(500)]
        )
        < 0.57
    )


def test_frames_are_dropped_and_the_others_stay_in_order():
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
def test_times_stay_in_the_sentence_and_are_at_least_as_many_as_needed(
    frames, need, low, high, drop, id
):
    config = replace(OFF, speed=(low, high), frame_drop=drop)
    times = draw_augmentation(config, 0, 1, id, frames, need).times
    assert len(times) >= need
    assert times.dtype == np.float32
    assert times.min() >= 0 and times.max() <= frames - 1
    assert (np.diff(times) >= 0).all()


def test_a_cut_removes_one_run_of_frames():
    config, lengths = replace(OFF, frame_cut=0.4), []
    for number in range(200):
        times = draw_augmentation(config, 0, 1, f"s{number}", 100, 1).times
        jumps = np.diff(times)
        assert (jumps != 1).sum() <= 1 and np.array_equal(times, times.round())
        lengths.append(len(times))
    assert 60 <= min(lengths) < 65 and max(lengths) > 97


def test_drawn_matrices_scale_first_and_then_rotate():
    config = replace(OFF, rotation=90.0, scale=(0.7, 1.3), aspect=(0.8, 1.25))
    angles, scales, aspects = [], [], []
    for number in range(300):
        linear = draw_augmentation(config, 0, 1, f"s{number}", 5, 1).linear.astype(np.float64)
        x, y = np.linalg.norm(linear, axis=0)  # lengths of the images of the axes
        drawn = draw_augmentation(config, 0, 1, f"s{number}", 5, 1)
        assert drawn.scale == pytest.approx(y, abs=1e-6), "z has the scale of y"
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


def test_shifts_in_x_and_y_are_independent():
    config = replace(OFF, shift=0.2)
    shifts = np.array([draw_augmentation(config, 0, 1, f"s{i}", 5, 1).shift for i in range(300)])
    assert (
        abs(shifts).max() <= 0.2 and (shifts.min(0) < -0.18).all() and (shifts.max(0) > 0.18).all()
    )
    assert abs(np.corrcoef(shifts.T)[0, 1]) < 0.2


def test_the_deviation_of_noise_is_drawn_up_to_its_limit():
    amounts = [
        draw_augmentation(replace(OFF, noise=0.02), 0, 1, f"s{i}", 5, 1).noise for i in range(200)
    ]
    assert 0 <= min(amounts) < 0.002 and 0.018 < max(amounts) <= 0.02


def test_mirroring_has_the_configured_probability():
    share = np.mean(
        [
            draw_augmentation(replace(OFF, mirror=0.3), 0, 1, f"s{i}", 5, 1).mirror
            for i in range(500)
        ]
    )
    assert 0.23 < share < 0.37


def test_part_scales_and_part_shifts_stay_in_their_ranges():
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


def test_drifts_are_slow_and_have_the_configured_deviation():
    config = replace(OFF, hand_drift=0.1, hand_turn=20)
    drifts = np.stack(
        [draw_augmentation(config, 0, 1, str(number), 200, 1).drift for number in range(100)]
    )
    assert drifts.shape == (100, 2, 200, 5)
    # Between two drawn offsets the deviation is smaller: on average 0.86 of the one at an offset.
    assert drifts[..., :2].std() == pytest.approx(0.086, rel=0.03)
    assert drifts[..., 2:].std() == pytest.approx(math.radians(20) * 0.86, rel=0.03)
    # A step between two frames is at most 0.15 of the difference of two offsets. Two offsets seldom
    # differ by 6 deviations.
    assert np.abs(np.diff(drifts[..., :2], axis=2)).max() < 0.15 * 0.6
    assert abs(np.corrcoef(drifts[..., 0].ravel(), drifts[..., 1].ravel())[0, 1]) < 0.05
    assert (
        not draw_augmentation(replace(config, hand_drift=0), 0, 1, "a", 9, 1).drift[..., :2].any()
    )
    assert draw_augmentation(OFF, 0, 1, "a", 9, 1).drift is None


def test_drift_does_not_change_the_other_draws():
    one, other = (
        draw_augmentation(AugmentationConfig(hand_drift=drift), 0, 1, "a", 30, 1)
        for drift in (0.0, 0.1)
    )
    for name in ("times", "linear", "shift", "noise", "noise_row", "mirror", "fingers", "hidden"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name


def test_fingers_are_folded_with_the_configured_probability():
    kept = np.array(
        [
            draw_augmentation(replace(OFF, finger_drop=0.2), 0, 1, f"s{i}", 5, 1).fingers
            for i in range(300)
        ]
    )
    assert kept.shape == (300, 2, 5) and ((kept.mean(0) > 0.7) & (kept.mean(0) < 0.9)).all()
    assert np.abs(np.corrcoef(kept.reshape(300, 10).T) - np.eye(10)).max() < 0.25, (
        "the fingers are independent"
    )


def test_a_time_mask_hides_all_parts_in_one_run_of_frames():
    longest = 0
    for number in range(200):
        hidden = draw_augmentation(replace(OFF, time_mask=0.3), 0, 1, f"s{number}", 50, 1).hidden
        assert not hidden or [part for part, _, _ in hidden] == [0, 1, 2, 3]
        assert len({span[1:] for span in hidden}) <= 1
        for _, start, stop in hidden:
            assert 0 <= start < stop <= 50 and stop - start <= 15
            longest = max(longest, stop - start)
    assert longest >= 13


def test_hands_are_hidden_independently_with_the_configured_probability():
    draws = [
        draw_augmentation(replace(OFF, hand_drop=0.4), 0, 1, f"s{i}", 100, 1).hidden
        for i in range(400)
    ]
    counts = {part: sum(any(span[0] == part for span in one) for one in draws) for part in range(4)}
    assert counts[0] == counts[1] == 0
    assert 130 < counts[2] < 190 and 130 < counts[3] < 190
    assert any(len(one) == 1 for one in draws) and any(len(one) == 2 for one in draws)
    assert max(stop - start for one in draws for _, start, stop in one) <= 50


def test_lengths_do_not_depend_on_how_many_sentences_are_drawn_at_once(monkeypatch):
    ids, frames = [f"s{number}" for number in range(11)], list(range(20, 42, 2))
    arguments = EVERYTHING, 3, 5, ids, frames, [1, 60] * 5 + [1]
    expected = augmented_lengths(*arguments)
    for count in (1, 4, 11):
        monkeypatch.setattr("data.augmentation.draws._SENTENCES_AT_ONCE", count)
        assert augmented_lengths(*arguments).tolist() == expected.tolist()
