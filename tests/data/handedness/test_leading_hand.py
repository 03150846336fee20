"""Left-handed sentences: they are found, and they are mirrored."""

import pytest
import torch

from data.features import (
    body_coordinates,
    mirror_left_handed,
    normalize_landmarks,
)
from data.handedness.leading_hand import (
    ALWAYS,
    WITHOUT_EVIDENCE,
    hand_evidence,
    hand_totals,
    left_hand_higher_and_moving,
    left_hand_leads,
)
from data.handedness.leading_hand_rules import BY_SENTENCE, BY_SIGNER
from data.landmarks import MIRRORED
from tests.data.features.reference_features import ASPECT, LEFT, RIGHT, batch_of, random_sentence

STILL_LOW, MOVING_LOW = [(1.0, 1.5)] * 3, [(1.0, 1.5), (0.5, 1.5), (1.0, 1.5)]
STILL_HIGH, MOVING_HIGH = [(-1.0, 0.0)] * 3, [(-1.0, 0.0), (-0.25, 0.0), (-1.0, 0.0)]
LOW = [(0.0, 1.0)] * 3


def above(right: list[tuple[float, float]], height: float, moves: bool) -> list:
    """A wrist that is `height` above the other one, and moves or not."""
    return [(x + 0.5 * (moves and i == 1), y - height) for i, (x, y) in enumerate(right)]


def two_wrists(left: list[tuple[float, float]], right: list[tuple[float, float]]) -> torch.Tensor:
    body = torch.zeros(1, len(left), 543, 3)
    body[0, :, 15, :2], body[0, :, 16, :2] = torch.tensor(left), torch.tensor(right)
    return body


def all_seen(*shape: int) -> torch.Tensor:
    return torch.ones(*shape, 4, dtype=torch.bool)


WRISTS = [  # left wrist, right wrist, which hand leads now, and by the rule of earlier versions
    (MOVING_HIGH, STILL_LOW, 1, True),
    (MOVING_HIGH, MOVING_LOW, 1, True),
    (STILL_LOW, MOVING_HIGH, -1, False),
    (STILL_HIGH, MOVING_LOW, 1, False),  # a held sign: much higher, but it moves less
    (STILL_HIGH, STILL_LOW, 1, False),
    (MOVING_LOW, STILL_HIGH, -1, False),
    (MOVING_HIGH, MOVING_HIGH, 0, False),
    (above(LOW, 0.2, True), LOW, 0, False),  # not clearly higher
    (above(LOW, 0.3, True), LOW, 1, True),
    (above(LOW, 0.3, False), LOW, 0, False),  # higher, but neither moves nor is much higher
    (above(LOW, 0.7, False), LOW, 0, False),
    (above(LOW, 0.8, False), LOW, 1, False),
    ([(0.0, 9.0), (0.0, 3.0), (0.0, 9.0)], [(0.0, 3.0)] * 3, 0, False),  # both below the hips
]


@pytest.mark.parametrize("left, right, leads, leads_earlier", WRISTS)
def test_the_hand_leads_that_is_higher_and_moves_more_or_is_much_higher(
    left, right, leads, leads_earlier
):
    inside = torch.ones(1, 3, dtype=torch.bool)
    for wrists, expected in (((left, right), leads), ((right, left), -leads)):
        body = two_wrists(*wrists)
        assert hand_evidence(hand_totals(body, all_seen(1, 3), inside)).tolist() == [expected]
        assert left_hand_leads(body, all_seen(1, 3), inside).tolist() == [expected == 1]
    body = two_wrists(left, right)
    assert left_hand_higher_and_moving(body, inside).tolist() == [leads_earlier]


@pytest.mark.parametrize(
    "left, right, expected",  # frames of 10 in which each hand is detected
    [(10, 0, 1), (5, 1, 1), (4, 0, -1), (10, 2, -1), (10, 10, -1), (0, 10, -1), (0, 0, -1)],
)
def test_a_hand_leads_alone_if_the_other_was_hardly_detected(left, right, expected):
    """Elsewhere the wrists decide: the right one is much higher."""
    inside = torch.ones(1, 10, dtype=torch.bool)
    body = two_wrists([(0.0, 1.0)] * 10, [(0.0, -1.0)] * 10)
    detected = all_seen(1, 10)
    detected[0, left:, LEFT] = detected[0, right:, RIGHT] = False
    assert hand_evidence(hand_totals(body, detected, inside)).tolist() == [expected]
    opposite = hand_totals(two_wrists([(0.0, -1.0)] * 10, [(0.0, 1.0)] * 10), detected, inside)
    alone = {(10, 0): 1, (5, 1): 1, (0, 10): -1}.get((left, right), 1)
    assert hand_evidence(opposite).tolist() == [alone]


def test_totals_of_two_halves_add_up_and_padding_adds_nothing():
    torch.manual_seed(0)
    body, detected = torch.randn(2, 9, 543, 3), torch.rand(2, 9, 4) < 0.5
    lengths = torch.tensor([[9], [6]])
    inside, early = torch.arange(9) < lengths, torch.arange(9).expand(2, 9) < 4
    whole = hand_totals(body, detected, inside)
    halves = [hand_totals(body, detected, inside & part) for part in (early, ~early)]
    torch.testing.assert_close(whole, halves[0] + halves[1])
    torch.testing.assert_close(
        whole[1:], hand_totals(body[1:, :6], detected[1:, :6], inside[1:, :6])
    )
    assert whole.shape == (2, 7) and whole[:, 6].tolist() == [9, 6]


def test_a_vote_decides_for_all_or_where_a_sentence_has_no_evidence():
    inside = torch.ones(1, 3, dtype=torch.bool)
    for wrists, vote, expected in (
        ((MOVING_HIGH, MOVING_HIGH), WITHOUT_EVIDENCE, True),
        ((MOVING_HIGH, MOVING_HIGH), -WITHOUT_EVIDENCE, False),
        ((MOVING_HIGH, MOVING_HIGH), 0, False),
        ((STILL_LOW, MOVING_HIGH), WITHOUT_EVIDENCE, False),
        ((MOVING_HIGH, STILL_LOW), -WITHOUT_EVIDENCE, True),
        ((STILL_LOW, MOVING_HIGH), ALWAYS, True),
        ((MOVING_HIGH, STILL_LOW), -ALWAYS, False),
        ((MOVING_HIGH, STILL_LOW), 0, True),
    ):
        left = left_hand_leads(
            two_wrists(*wrists), all_seen(1, 3), inside, votes=torch.tensor([vote])
        )
        assert left.tolist() == [expected], (wrists, vote)


def left_handed_sentence():
    landmarks, detected = random_sentence(20, 8, {LEFT: slice(2, 4), RIGHT: [6]})
    landmarks[:, 11, :2], landmarks[:, 12, :2] = (0.8, 0.4), (0.2, 0.4)
    landmarks[:, 15, 1], landmarks[:, 16, :2] = landmarks[:, 15, 1] * 0.2, (0.3, 0.85)
    return landmarks, detected


def test_a_left_handed_sentence_gets_the_features_of_its_mirror_image():
    landmarks, detected = left_handed_sentence()
    mirrored, seen = landmarks[:, MIRRORED].copy(), detected[:, [0, 1, 3, 2]]
    mirrored[..., 0] = 1.0 - mirrored[..., 0]
    mirrored[~seen[:, 2], 501:522] = mirrored[~seen[:, 3], 522:543] = 0
    batch, other = batch_of([(landmarks, detected)]), batch_of([(mirrored, seen)])
    for rule in (BY_SIGNER, BY_SENTENCE):
        (one, one_seen), (two, two_seen) = (
            normalize_landmarks(*given, ASPECT, leading_hand=rule) for given in (batch, other)
        )
        torch.testing.assert_close(one, two, atol=1e-4, rtol=1e-4)
        assert torch.equal(one_seen, two_seen) and torch.equal(
            two, body_coordinates(*other, ASPECT)
        )
    # Streaming recognition cannot know which hand will lead, so nothing is mirrored.
    body, seen = normalize_landmarks(*batch, ASPECT, causal=True)
    causal = body_coordinates(*batch, ASPECT, causal=True)
    assert left_hand_leads(causal, batch[1], torch.ones(1, 8, dtype=torch.bool)).tolist() == [True]
    assert torch.equal(body, causal) and torch.equal(seen, batch[1])


def test_hidden_parts_do_not_change_which_hand_leads():
    """Augmentation hides the left hand in most frames: the sentence is mirrored all the same."""
    landmarks, detected, lengths = batch_of([left_handed_sentence()])
    hidden = detected.clone()
    hidden[0, :, LEFT] = False
    body, _ = normalize_landmarks(landmarks, hidden, lengths, ASPECT, recorded=detected)
    plain = body_coordinates(landmarks, hidden, lengths, ASPECT)
    assert torch.equal(body[:, :, 16, 0], -plain[:, :, 15, 0])
    body, _ = normalize_landmarks(landmarks, hidden, lengths, ASPECT)
    assert torch.equal(body, plain), "without them the right hand is detected more often"


def test_a_hidden_body_does_not_change_which_hand_leads():
    """Augmentation hides the frames in which the left hand is raised."""
    landmarks, detected = random_sentence(20, 8)
    landmarks[:, 11, :2], landmarks[:, 12, :2] = (0.8, 0.4), (0.2, 0.4)
    landmarks[:, 15:17, 1] = 0.9
    landmarks[2:6, 15, 1] = 0.0
    landmarks, detected, lengths = batch_of([(landmarks, detected)])
    hidden = detected.clone()
    hidden[0, 2:6] = False
    body, _ = normalize_landmarks(landmarks, hidden, lengths, ASPECT, recorded=detected)
    plain = body_coordinates(landmarks, hidden, lengths, ASPECT)
    assert torch.equal(body[:, :, 16, 0], -plain[:, :, 15, 0])


def test_sentences_of_a_batch_are_mirrored_independently():
    left, right = (
        two_wrists([(1, -1), (0, -1)], [(1, 1), (1, 1)]),
        two_wrists([(1, 1), (1, 1)], [(1, -1), (0, -1)]),
    )
    body, detected = torch.cat([left, right]), torch.tensor([[[True, True, False, True]] * 2] * 2)
    found, seen = mirror_left_handed(body, detected, torch.tensor([True, False]))
    assert found[0, 1, 16].tolist() == [0.0, -1.0, 0.0] and found[0, 0, 16].tolist() == [
        -1.0,
        -1.0,
        0.0,
    ]
    assert torch.equal(found[1], body[1])
    assert seen[:, 0].tolist() == [[True, True, True, False], [True, True, False, True]]
