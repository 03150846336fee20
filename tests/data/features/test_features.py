"""The features as a whole: they equal a simple reference implementation, and they depend on the
signer's movement only."""

import numpy as np
import pytest
import torch

from data.features import compute_features, feature_blocks, frame_mask, gather_frames
from data.landmarks import FEATURE_BLOCKS, NUM_FEATURES
from tests.data.features.reference_features import ASPECT, SENTENCES, batch_of, reference_features


@pytest.mark.parametrize("name", SENTENCES)
def test_features_equal_the_reference_implementation(name):
    landmarks, detected = SENTENCES[name]
    found = compute_features(*batch_of([SENTENCES[name]]), ASPECT)[0]
    assert found.shape == (len(landmarks), NUM_FEATURES) and found.dtype == torch.float32
    np.testing.assert_allclose(
        found.numpy(), reference_features(landmarks, detected), atol=1e-5, rtol=1e-5
    )


def test_padding_does_not_change_the_features():
    sentences = list(SENTENCES.values())
    together = compute_features(*batch_of(sentences), ASPECT)
    for row, sentence in enumerate(sentences):
        frames = len(sentence[0])
        alone = compute_features(*batch_of([sentence]), ASPECT)[0]
        torch.testing.assert_close(together[row, :frames], alone, atol=1e-6, rtol=0)
        assert not together[row, frames:].any(), "zeros after the end"


def test_values_after_the_end_of_a_sentence_have_no_effect():
    landmarks, detected, lengths = batch_of(list(SENTENCES.values()))
    features = compute_features(landmarks, detected, lengths, ASPECT)
    outside = ~frame_mask(lengths, landmarks.shape[1])
    landmarks[outside] = 77.0
    detected[outside] = True
    assert torch.equal(compute_features(landmarks, detected, lengths, ASPECT), features)


@pytest.mark.parametrize(
    "name", ["all seen", "hand lost at both ends", "pose lost inside, hands seen"]
)
def test_features_do_not_depend_on_place_and_size_in_the_image(name):
    landmarks, detected = SENTENCES[name]
    moved = (landmarks * 0.5 + np.float32([0.2, -0.1, 0.0])).astype(np.float32)
    seen = np.repeat(detected, [33, 468, 21, 21], axis=1)
    moved = np.where(seen[..., None], moved, 0)
    here = compute_features(*batch_of([(landmarks, detected)]), ASPECT)
    there = compute_features(*batch_of([(moved, detected)]), ASPECT)
    torch.testing.assert_close(there, here, atol=2e-4, rtol=2e-4)


def test_features_do_not_depend_on_the_aspect_ratio():
    """A body filmed in 4:3 and in 16:9 has different image fractions and the same features."""
    landmarks, detected = SENTENCES["hand lost inside"]
    wide = landmarks.copy()
    wide[..., [0, 2]] *= (4 / 3) / (16 / 9)
    narrow = compute_features(*batch_of([(landmarks, detected)]), 4 / 3)
    torch.testing.assert_close(
        compute_features(*batch_of([(wide, detected)]), 16 / 9), narrow, atol=1e-4, rtol=1e-4
    )


def test_velocity_and_acceleration_worked_out_by_hand():
    body = torch.zeros(1, 5, 543, 3)
    body[0, :, 40, 0] = torch.tensor([0.0, 2.0, 4.0, 6.0, 8.0])  # uniform motion
    body[0, :, 41, 1] = torch.tensor([0.0, 1.0, 4.0, 9.0, 16.0])  # accelerated motion: t squared
    blocks = feature_blocks(body, torch.tensor([5])).reshape(5, len(FEATURE_BLOCKS), 543, 3)
    assert blocks[:, 1, 40, 0].tolist() == [
        1.0,
        2.0,
        2.0,
        2.0,
        1.0,
    ]  # the first and the last frame repeat
    assert blocks[:, 2, 40, 0].tolist() == [2.0, 0.0, 0.0, 0.0, -2.0]
    assert blocks[:, 1, 41, 1].tolist() == [0.5, 2.0, 4.0, 6.0, 3.5]
    assert blocks[:, 2, 41, 1].tolist() == [1.0, 2.0, 2.0, 2.0, -7.0]


def test_the_fourth_block_is_relative_to_the_root_of_the_part():
    body = torch.randn(1, 2, 543, 3, generator=torch.Generator().manual_seed(0))
    relative = feature_blocks(body, torch.tensor([2])).reshape(2, 4, 543, 3)[:, 3]
    for point, root in ((20, 0), (33, 201), (500, 201), (521, 501), (542, 522)):
        torch.testing.assert_close(relative[:, point], body[0, :, point] - body[0, :, root])
    for root in (0, 201, 501, 522):
        assert not relative[:, root].any()


def test_float16_storage_changes_the_features_little():
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


def test_gather_frames_picks_frames_of_each_sentence():
    x = torch.arange(2 * 3 * 2.0).reshape(2, 3, 2)
    index = torch.tensor([[2, 0, 0, 1], [1, 1, 2, 0]])
    expected = torch.stack([x[0][index[0]], x[1][index[1]]])
    assert torch.equal(gather_frames(x, index), expected)


def test_the_frame_mask_is_false_in_the_padding():
    assert frame_mask(torch.tensor([1, 3, 0]), 3).tolist() == [
        [True, False, False],
        [True] * 3,
        [False] * 3,
    ]
