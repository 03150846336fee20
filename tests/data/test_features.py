import itertools

import numpy as np
import pytest
import torch

from data.features import (
    HIPS_Y,
    MIN_SHOULDER_WIDTH,
    body_coordinates,
    bridge_gaps,
    compute_features,
    feature_blocks,
    frame_mask,
    gather_frames,
    left_hand_leads,
    mirror_left_handed,
    normalize_landmarks,
)
from data.landmarks import FEATURE_BLOCKS, MIRRORED, NUM_FEATURES

ASPECT = 0.8
POSE, FACE, LEFT, RIGHT = range(4)
# first landmark, landmark after the last, root of the fourth block, pose landmark it is carried
# along with
PARTS = {
    POSE: (0, 33, 0, None),
    FACE: (33, 501, 201, 0),
    LEFT: (501, 522, 501, 15),
    RIGHT: (522, 543, 522, 16),
}


def fill(values: list, seen: list[bool]) -> list:
    """One value (an array) a frame, interpolated where not seen, held at the ends, zeros when never
    seen."""
    filled = []
    for t in range(len(values)):
        before = [s for s in range(t + 1) if seen[s]]
        after = [s for s in range(t, len(values)) if seen[s]]
        if not before and not after:
            filled.append(np.zeros_like(values[t]))
        elif not before:
            filled.append(values[after[0]])
        elif not after:
            filled.append(values[before[-1]])
        elif before[-1] == after[0]:
            filled.append(values[t])
        else:
            a, b = before[-1], after[0]
            filled.append(values[a] + (values[b] - values[a]) * (t - a) / (b - a))
    return filled


def reference_body(landmarks: np.ndarray, detected: np.ndarray, aspect: float) -> np.ndarray:
    """Body coordinates (T, 543, 3) of one sentence, frame by frame and point by point, as
    data/features.py defines them."""
    frames = len(landmarks)
    image = landmarks.astype(np.float64).copy()
    image[:, :, 0] *= aspect  # into image heights
    image[:, :, 2] *= aspect  # z comes in image widths
    body = np.zeros_like(image)
    for part, (start, stop, _, anchor) in PARTS.items():
        for point in range(start, stop):
            if part == POSE:
                body[:, point] = fill(list(image[:, point]), list(detected[:, POSE]))
                continue
            origins = [
                np.array([body[t, anchor, 0], body[t, anchor, 1], 0.0]) for t in range(frames)
            ]
            seen = [bool(detected[t, part] and detected[t, POSE]) for t in range(frames)]
            offsets = fill([image[t, point] - origins[t] for t in range(frames)], seen)
            body[:, point] = [offsets[t] + origins[t] for t in range(frames)]
    widths = sorted(
        np.hypot(body[t, 11, 0] - body[t, 12, 0], body[t, 11, 1] - body[t, 12, 1])
        for t in range(frames)
        if detected[t, POSE]
    )
    # Of an even number the lower of the middle two
    unit = widths[(len(widths) - 1) // 2] if widths else 1.0
    unit = max(unit, MIN_SHOULDER_WIDTH)
    for t in range(frames):
        centre = (body[t, 11] + body[t, 12]) / 2
        for point in range(543):
            body[t, point, :2] -= centre[:2]
            if point < 33:
                body[t, point, 2] -= centre[2]
        body[t] /= unit
    return body


def reference_mirror_left_handed(body: np.ndarray) -> np.ndarray:
    """The body, point by point in a mirror when the left wrist (15) is higher and moves more than
    the right one (16)."""
    raised, moved = [], []
    for wrist in (15, 16):
        raised.append(sum(max(HIPS_Y - frame[wrist, 1], 0) for frame in body))
        moved.append(
            sum(np.hypot(*(b[wrist, :2] - a[wrist, :2])) for a, b in itertools.pairwise(body))
        )
    if not (raised[0] - raised[1] > 0.25 * len(body) and moved[0] > moved[1]):
        return body
    mirrored = np.empty_like(body)
    for point in range(543):
        mirrored[:, MIRRORED[point]] = body[:, point] * [-1, 1, 1]
    return mirrored


def reference_features(
    landmarks: np.ndarray, detected: np.ndarray, aspect: float = ASPECT
) -> np.ndarray:
    """Features (T, 6516) of one sentence."""
    body = reference_mirror_left_handed(reference_body(landmarks, detected, aspect))
    frames = len(body)
    rows = []
    for t in range(frames):
        before, after = body[max(t - 1, 0)], body[min(t + 1, frames - 1)]
        relative = body[t].copy()
        for start, stop, root, _ in PARTS.values():
            relative[start:stop] -= body[t, root]
        rows.append(
            np.concatenate(
                [body[t], (after - before) / 2, after - 2 * body[t] + before, relative]
            ).reshape(-1)
        )
    return np.array(rows)


def random_sentence(seed: int, frames: int, lost: dict[int, slice | list[int]] | None = None):
    """landmarks (T, 543, 3) with zeros where a part is lost, detected (T, 4)."""
    random = np.random.default_rng(seed)
    landmarks = random.uniform(0.1, 0.9, size=(frames, 543, 3)).astype(np.float32)
    landmarks[:, 11, 0] += 0.5  # shoulders apart
    detected = np.ones((frames, 4), dtype=bool)
    for part, when in (lost or {}).items():
        detected[when, part] = False
        landmarks[~detected[:, part], PARTS[part][0] : PARTS[part][1]] = 0
    return landmarks, detected


def batch_of(sentences):
    """Zero-padded tensors landmarks, detected, lengths."""
    longest = max(len(landmarks) for landmarks, _ in sentences)
    landmarks = np.zeros((len(sentences), longest, 543, 3), dtype=np.float32)
    detected = np.zeros((len(sentences), longest, 4), dtype=bool)
    for row, (points, seen) in enumerate(sentences):
        landmarks[row, : len(points)], detected[row, : len(points)] = points, seen
    lengths = torch.tensor([len(points) for points, _ in sentences])
    return torch.from_numpy(landmarks), torch.from_numpy(detected), lengths


SENTENCES = {
    "all seen": random_sentence(1, 7),
    "hand lost inside": random_sentence(2, 8, {LEFT: slice(2, 5)}),
    "hand lost at both ends": random_sentence(3, 9, {RIGHT: [0, 1, 7, 8], LEFT: [0]}),
    "hand and face never seen": random_sentence(4, 6, {LEFT: slice(None), FACE: slice(None)}),
    "pose lost inside, hands seen": random_sentence(5, 9, {POSE: slice(3, 6), RIGHT: [2]}),
    "pose lost at both ends": random_sentence(6, 6, {POSE: [0, 4, 5], FACE: [1]}),
    "pose never seen": random_sentence(7, 4, {POSE: slice(None)}),
    "nothing seen": random_sentence(8, 3, {part: slice(None) for part in range(4)}),
    "one frame": random_sentence(9, 1),
    "two frames": random_sentence(10, 2, {LEFT: [0]}),
}


@pytest.mark.parametrize("name", SENTENCES)
def test_features_equal_the_plain_reference(name):
    landmarks, detected = SENTENCES[name]
    found = compute_features(*batch_of([SENTENCES[name]]), ASPECT)[0]
    assert found.shape == (len(landmarks), NUM_FEATURES) and found.dtype == torch.float32
    np.testing.assert_allclose(
        found.numpy(), reference_features(landmarks, detected), atol=1e-5, rtol=1e-5
    )


def test_a_padded_batch_equals_the_sentences_one_by_one():
    sentences = list(SENTENCES.values())
    together = compute_features(*batch_of(sentences), ASPECT)
    for row, sentence in enumerate(sentences):
        frames = len(sentence[0])
        alone = compute_features(*batch_of([sentence]), ASPECT)[0]
        torch.testing.assert_close(together[row, :frames], alone, atol=1e-6, rtol=0)
        assert not together[row, frames:].any(), "zeros behind the end"


def test_what_stands_behind_the_end_is_never_read():
    landmarks, detected, lengths = batch_of(list(SENTENCES.values()))
    features = compute_features(landmarks, detected, lengths, ASPECT)
    outside = ~frame_mask(lengths, landmarks.shape[1])
    landmarks[outside] = 77.0
    detected[outside] = True
    assert torch.equal(compute_features(landmarks, detected, lengths, ASPECT), features)


def test_body_frames_behind_the_end_hold_the_last_frame():
    landmarks, detected, lengths = batch_of(list(SENTENCES.values()))
    body = body_coordinates(landmarks, detected, lengths, ASPECT)
    for row, length in enumerate(lengths.tolist()):
        last = body[row, length - 1 : length].expand_as(body[row, length:])
        torch.testing.assert_close(body[row, length:], last, atol=1e-6, rtol=0)


def test_a_lost_hand_goes_where_the_arm_goes():
    landmarks = np.zeros((1, 3, 543, 3), dtype=np.float32)
    landmarks[0, :, 15, 0] = [0.2, 0.5, 0.4]  # the pose wrist swings out and back
    landmarks[0, :, 501:522, 0] = landmarks[0, :, 15:16, 0] + np.array([[0.1], [0.0], [0.3]])
    landmarks[0, :, 501:522, 2] = np.array([[0.5], [0.0], [0.7]])
    landmarks[0, 1, 501:522] = 0
    detected = np.ones((1, 3, 4), dtype=bool)
    detected[0, 1, LEFT] = False
    bridged = bridge_gaps(
        torch.from_numpy(landmarks), torch.from_numpy(detected), torch.tensor([3])
    )
    assert bridged[0, 1, 501:522, 0].tolist() == pytest.approx([0.5 + (0.1 + 0.3) / 2] * 21)
    assert bridged[0, 1, 501:522, 2].tolist() == pytest.approx([0.6] * 21)  # z has its own root


def test_a_hand_never_seen_sits_in_its_wrist():
    landmarks, detected = SENTENCES["hand and face never seen"]
    bridged = bridge_gaps(*batch_of([(landmarks, detected)]))[0].numpy()
    np.testing.assert_allclose(
        bridged[:, 501:522, :2], np.repeat(landmarks[:, 15:16, :2], 21, axis=1), atol=1e-6
    )
    assert not bridged[:, 501:522, 2].any()
    np.testing.assert_allclose(
        bridged[:, 33:501, :2], np.repeat(landmarks[:, 0:1, :2], 468, axis=1), atol=1e-6
    )


def test_shoulders_by_hand():
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


def test_the_unit_is_the_median_width_so_one_bad_frame_changes_nothing():
    landmarks, detected = random_sentence(11, 5)
    landmarks[:, 11], landmarks[:, 12] = (0.7, 0.5, 0), (0.3, 0.5, 0)
    spoilt = landmarks.copy()
    spoilt[2, 11] = (5.0, 0.5, 0)
    lost = spoilt.copy(), detected.copy()
    lost[1][[0, 1], POSE] = False  # bridged widths do not vote
    good = body_coordinates(*batch_of([(landmarks, detected)]), ASPECT)
    for sentence in ((spoilt, detected), lost):
        bad = body_coordinates(*batch_of([sentence]), ASPECT)
        torch.testing.assert_close(bad[0, 3:, :33], good[0, 3:, :33], atol=1e-5, rtol=0)


def test_a_body_seen_from_the_side_does_not_blow_up():
    landmarks, detected = random_sentence(12, 4)
    landmarks[:, 11] = landmarks[:, 12]
    body = body_coordinates(*batch_of([(landmarks, detected)]), ASPECT)
    centre = landmarks[:, 12, :2] * [ASPECT, 1]
    expected = (landmarks[:, 5, :2] * [ASPECT, 1] - centre) / MIN_SHOULDER_WIDTH
    np.testing.assert_allclose(body[0, :, 5, :2].numpy(), expected, rtol=1e-4)


@pytest.mark.parametrize(
    "name", ["all seen", "hand lost at both ends", "pose lost inside, hands seen"]
)
def test_place_and_size_in_the_image_do_not_matter(name):
    landmarks, detected = SENTENCES[name]
    moved = (landmarks * 0.5 + np.float32([0.2, -0.1, 0.0])).astype(np.float32)
    seen = np.repeat(detected, [33, 468, 21, 21], axis=1)
    moved = np.where(seen[..., None], moved, 0)
    here = compute_features(*batch_of([(landmarks, detected)]), ASPECT)
    there = compute_features(*batch_of([(moved, detected)]), ASPECT)
    torch.testing.assert_close(there, here, atol=2e-4, rtol=2e-4)


def test_the_aspect_ratio_is_undone():
    """The same body filmed with 4:3 and with 16:9 has other fractions and the same features."""
    landmarks, detected = SENTENCES["hand lost inside"]
    wide = landmarks.copy()
    wide[..., [0, 2]] *= (4 / 3) / (16 / 9)
    narrow = compute_features(*batch_of([(landmarks, detected)]), 4 / 3)
    torch.testing.assert_close(
        compute_features(*batch_of([(wide, detected)]), 16 / 9), narrow, atol=1e-4, rtol=1e-4
    )


def test_derivatives_of_uniform_and_accelerated_motion_by_hand():
    body = torch.zeros(1, 5, 543, 3)
    body[0, :, 40, 0] = torch.tensor([0.0, 2.0, 4.0, 6.0, 8.0])  # uniform
    body[0, :, 41, 1] = torch.tensor([0.0, 1.0, 4.0, 9.0, 16.0])  # t squared
    blocks = feature_blocks(body, torch.tensor([5])).reshape(5, len(FEATURE_BLOCKS), 543, 3)
    assert blocks[:, 1, 40, 0].tolist() == [1.0, 2.0, 2.0, 2.0, 1.0]  # the ends repeat outward
    assert blocks[:, 2, 40, 0].tolist() == [2.0, 0.0, 0.0, 0.0, -2.0]
    assert blocks[:, 1, 41, 1].tolist() == [0.5, 2.0, 4.0, 6.0, 3.5]
    assert blocks[:, 2, 41, 1].tolist() == [1.0, 2.0, 2.0, 2.0, -7.0]


def test_each_part_is_measured_from_its_root_in_the_fourth_block():
    body = torch.randn(1, 2, 543, 3, generator=torch.Generator().manual_seed(0))
    relative = feature_blocks(body, torch.tensor([2])).reshape(2, 4, 543, 3)[:, 3]
    for point, root in ((20, 0), (33, 201), (500, 201), (521, 501), (542, 522)):
        torch.testing.assert_close(relative[:, point], body[0, :, point] - body[0, :, root])
    for root in (0, 201, 501, 522):
        assert not relative[:, root].any()


def test_float16_storage_costs_little():
    """Below 1, float16 is exact to 1/4096 of the image. In shoulder widths a position moves by at
    most that twice (the point and the centre), a velocity once, an acceleration four times, a
    relative position twice; the rounded unit adds a share of the value itself."""
    random = np.random.default_rng(13)
    landmarks = random.uniform(0.1, 0.9, size=(30, 543, 3)).astype(np.float32)
    landmarks[:, 11], landmarks[:, 12] = (0.7, 0.5, 0), (0.3, 0.5, 0)
    detected = np.ones((30, 4), dtype=bool)
    exact = compute_features(*batch_of([(landmarks, detected)]), 1.0).reshape(30, 4, -1)
    stored = compute_features(*batch_of([(landmarks.astype(np.float16), detected)]), 1.0).reshape(
        30, 4, -1
    )
    step = 1 / 4096 / 0.4
    bound = step * torch.tensor([2.0, 1.0, 4.0, 2.0])[:, None] + 1.5 * step * exact.abs()
    assert ((stored - exact).abs() <= 1.01 * bound).all()
    assert (stored - exact).abs().max() > step / 2


def test_take_frames_picks_rows_of_each_sentence():
    x = torch.arange(2 * 3 * 2.0).reshape(2, 3, 2)
    index = torch.tensor([[2, 0, 0, 1], [1, 1, 2, 0]])
    expected = torch.stack([x[0][index[0]], x[1][index[1]]])
    assert torch.equal(gather_frames(x, index), expected)


def test_frame_mask():
    assert frame_mask(torch.tensor([1, 3, 0]), 3).tolist() == [
        [True, False, False],
        [True] * 3,
        [False] * 3,
    ]


# ---------------------------------------------------------------- which hand leads


def two_wrists(left: list[tuple[float, float]], right: list[tuple[float, float]]) -> torch.Tensor:
    body = torch.zeros(1, len(left), 543, 3)
    body[0, :, 15, :2], body[0, :, 16, :2] = torch.tensor(left), torch.tensor(right)
    return body


def test_the_hand_that_is_higher_and_moves_more_leads():
    still_low, moving_low = [(1.0, 1.5)] * 3, [(1.0, 1.5), (0.5, 1.5), (1.0, 1.5)]
    still_high, moving_high = [(-1.0, 0.0)] * 3, [(-1.0, 0.0), (-0.25, 0.0), (-1.0, 0.0)]
    lengths = torch.tensor([3])
    cases = [
        (moving_high, still_low, True),
        (moving_high, moving_low, True),
        (still_low, moving_high, False),
        (still_high, moving_low, False),  # higher, but it only rests there
        (moving_low, still_high, False),  # moves more, but below
        (moving_high, moving_high, False),
        ([(0.0, 0.8), (0.5, 0.8), (0.0, 0.8)], [(0.0, 1.0)] * 3, False),  # hardly higher
        ([(0.0, 0.7), (0.5, 0.7), (0.0, 0.7)], [(0.0, 1.0)] * 3, True),
        ([(0.0, 9.0), (0.0, 3.0), (0.0, 9.0)], [(0.0, 3.0)] * 3, False),  # both below the hips
    ]
    for left, right, leads in cases:
        assert left_hand_leads(two_wrists(left, right), lengths).tolist() == [leads], (left, right)


def test_a_left_handed_sentence_gets_the_features_of_its_mirror_image():
    landmarks, detected = random_sentence(20, 8, {LEFT: slice(2, 4), RIGHT: [6]})
    landmarks[:, 11, :2], landmarks[:, 12, :2] = (0.8, 0.4), (0.2, 0.4)
    landmarks[:, 15, 1], landmarks[:, 16, :2] = landmarks[:, 15, 1] * 0.2, (0.3, 0.85)
    mirrored, seen = landmarks[:, MIRRORED].copy(), detected[:, [0, 1, 3, 2]]
    mirrored[..., 0] = 1.0 - mirrored[..., 0]
    mirrored[~seen[:, 2], 501:522] = mirrored[~seen[:, 3], 522:543] = 0
    batch, other = batch_of([(landmarks, detected)]), batch_of([(mirrored, seen)])
    bodies = [body_coordinates(*each, ASPECT) for each in (batch, other)]
    assert left_hand_leads(bodies[0], batch[2]).tolist() == [True]
    assert left_hand_leads(bodies[1], batch[2]).tolist() == [False]
    (one, one_seen), (two, two_seen) = (
        mirror_left_handed(body, b[1], b[2]) for body, b in zip(bodies, (batch, other), strict=True)
    )
    torch.testing.assert_close(one, two, atol=1e-4, rtol=1e-4)
    assert torch.equal(one_seen, two_seen) and torch.equal(two, bodies[1])
    # A stream cannot know which hand will lead: nothing is mirrored there.
    body, seen = normalize_landmarks(*batch, ASPECT, causal=True)
    causal = body_coordinates(*batch, ASPECT, causal=True)
    assert left_hand_leads(causal, batch[2]).tolist() == [True]
    assert torch.equal(body, causal) and torch.equal(seen, batch[1])


def test_sentences_of_one_batch_are_turned_apart():
    left, right = (
        two_wrists([(1, -1), (0, -1)], [(1, 1), (1, 1)]),
        two_wrists([(1, 1), (1, 1)], [(1, -1), (0, -1)]),
    )
    body, detected = torch.cat([left, right]), torch.tensor([[[True, True, False, True]] * 2] * 2)
    found, seen = mirror_left_handed(body, detected, torch.tensor([2, 2]))
    assert found[0, 1, 16].tolist() == [0.0, -1.0, 0.0] and found[0, 0, 16].tolist() == [
        -1.0,
        -1.0,
        0.0,
    ]
    assert torch.equal(found[1], body[1])
    assert seen[:, 0].tolist() == [[True, True, True, False], [True, True, False, True]]
