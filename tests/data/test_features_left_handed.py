"""Left-handed sentences: they are found, and they are mirrored."""

import torch

from data.features import (
    body_coordinates,
    left_hand_leads,
    mirror_left_handed,
    normalize_landmarks,
)
from data.landmarks import MIRRORED
from tests.data.reference_features import ASPECT, LEFT, RIGHT, batch_of, random_sentence


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
        (still_high, moving_low, False),  # higher, but it does not move
        (moving_low, still_high, False),  # moves more, but lower
        (moving_high, moving_high, False),
        ([(0.0, 0.8), (0.5, 0.8), (0.0, 0.8)], [(0.0, 1.0)] * 3, False),  # not clearly higher
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
    # Streaming recognition cannot know which hand will lead, so nothing is mirrored.
    body, seen = normalize_landmarks(*batch, ASPECT, causal=True)
    causal = body_coordinates(*batch, ASPECT, causal=True)
    assert left_hand_leads(causal, batch[2]).tolist() == [True]
    assert torch.equal(body, causal) and torch.equal(seen, batch[1])


def test_sentences_of_a_batch_are_mirrored_independently():
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
