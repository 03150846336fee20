import numpy as np
import pytest
import torch

from data.augmentation.joined_split import shoulder_width
from data.augmentation.sentence_mixing import MixedSplit, mix_sentences, scaled_like
from data.corpus import Split
from data.ctc_lengths import ctc_steps, min_frames, required_steps
from data.features import compute_features
from data.sentences import Sentence


def split_of(*sentences: tuple[str, str, int, str]) -> Split:
    """A split of sentences (id, signer, frames, glosses).

    All landmarks of a frame have the number of the frame in the split as their value.
    """
    rows = [
        Sentence(id, signer, frames, tuple(glosses.split()))
        for id, signer, frames, glosses in sentences
    ]
    total = sum(row.frames for row in rows)
    landmarks = np.broadcast_to(np.arange(total, dtype=np.float16)[:, None, None], (total, 543, 3))
    return Split("train", rows, landmarks, np.ones((total, 4), dtype=bool))


def test_a_joined_sentence_worked_out_by_hand():
    split = split_of(("a", "anna", 3, "X Y"), ("b", "anna", 2, "Z"))
    mixed = MixedSplit(split, np.array([1, -1]), np.array([2, 0]), 0.8)
    assert mixed.lengths.tolist() == [7, 2] and len(mixed) == 2
    assert (
        mixed.sentences[0] == Sentence("a", "anna", 7, ("X", "Y", "Z"))
        and mixed.sentences[1] == split.sentences[1]
    )
    landmarks, detected = mixed.read(0)
    assert landmarks.dtype == np.float16 and detected.shape == (7, 4)
    # Frames 0 1 2 of the first sentence, two in equal steps from 2 to 3, frames 3 4 of the second
    np.testing.assert_allclose(landmarks[:, 7, 1], [0, 1, 2, 2 + 1 / 3, 2 + 2 / 3, 3, 4], atol=2e-3)
    assert mixed.read(1)[0][:, 0, 0].tolist() == [3, 4]


def test_a_part_missing_on_one_side_is_missing_in_the_transition():
    split = split_of(("a", "anna", 2, "X"), ("b", "anna", 2, "Z"))
    split.detected[2, 3] = False  # the right hand in the first frame of the second sentence
    _, detected = MixedSplit(split, np.array([1, -1]), np.array([2, 0]), 0.8).read(0)
    assert detected[:, 3].tolist() == [True, True, False, False, False, True]
    assert detected[:, :3].all()


def many_sentences() -> Split:
    rows = [(f"s{i}", "anna" if i % 2 else "bert", 20 + i, f"G{i}") for i in range(60)]
    return split_of(*rows, ("long", "anna", 200, "L"))


def test_partners_have_the_same_signer_and_are_usable_and_short_enough():
    split = many_sentences()
    usable = np.array([i for i in range(61) if i not in (7, 8)])
    mixed = mix_sentences(split, usable, 1.0, 0, 1, len, 0.8)
    joined = np.flatnonzero(mixed.partners >= 0)
    assert len(joined) > 40
    for index in joined:
        other = mixed.partners[index]
        assert other != index and other in usable and index in usable
        assert split.sentences[other].signer == split.sentences[index].signer
        assert 2 <= mixed.transition_lengths[index] <= 6
        assert (
            mixed.lengths[index]
            == split.lengths[index] + mixed.transition_lengths[index] + split.lengths[other]
            <= 200
        )
    assert 60 not in joined, "the longest stays alone"
    assert [s.id for s in mixed.sentences] == [s.id for s in split.sentences]


def test_mixing_is_keyed_and_has_the_given_probability():
    split, usable = many_sentences(), np.arange(61)
    partners = mix_sentences(split, usable, 0.3, 5, 2, len, 0.8).partners
    assert np.array_equal(partners, mix_sentences(split, usable, 0.3, 5, 2, len, 0.8).partners)
    for seed, epoch in ((5, 3), (6, 2)):
        assert not np.array_equal(
            partners, mix_sentences(split, usable, 0.3, seed, epoch, len, 0.8).partners
        )
    shares = [
        (mix_sentences(split, usable, 0.3, 5, epoch, len, 0.8).partners >= 0).mean()
        for epoch in range(30)
    ]
    assert 0.2 < np.mean(shares) < 0.35
    assert mix_sentences(split, usable, 0.0, 5, 2, len, 0.8) is split


def test_sentences_are_not_joined_if_ctc_cannot_align_the_result():
    """5 frames give 2 steps, enough for X Y. 5 + 2 + 5 frames give 3, but X Y X Y needs 4."""
    split = split_of(("a", "anna", 5, "X Y"), ("b", "anna", 5, "X Y"), ("c", "anna", 40, "X"))
    transition_lengths = set()
    for epoch in range(60):
        mixed = mix_sentences(split, np.arange(3), 1.0, 0, epoch, min_frames, 0.8)
        for index in np.flatnonzero(mixed.partners[:2] >= 0):
            if mixed.partners[index] != 2:
                transition_lengths.add(int(mixed.transition_lengths[index]))
        assert all(ctc_steps(s.frames) >= required_steps(s.glosses) for s in mixed.sentences)
    assert transition_lengths == {3, 4, 5, 6}


def test_a_short_partner_is_found_among_many_long_ones():
    split = split_of(
        *[(f"long{i}", "anna", 60, "L") for i in range(20)],
        ("a", "anna", 20, "A"),
        ("b", "anna", 30, "B"),
    )
    joined = [
        mix_sentences(split, np.arange(22), 1.0, 0, epoch, len, 0.8).partners for epoch in range(40)
    ]
    assert all((partners[:20] == -1).all() for partners in joined)
    assert {int(partners[21]) for partners in joined} == {20}, (
        "30 and 30 with a gap are more than 60"
    )
    assert {int(partners[20]) for partners in joined} == {-1, 21}, "a draws itself as often as b"


def test_sentences_of_unknown_signers_are_not_joined():
    """They can be of different people; so can those without a signer."""
    rows = [(f"s{i}", ("unknown", "", "anna")[i % 3], 20, f"G{i}") for i in range(60)]
    split = split_of(*rows, ("long", "unknown", 200, "L"))
    joined = set()
    for epoch in range(5):
        mixed = mix_sentences(split, np.arange(61), 1.0, 0, epoch, len, 0.8)
        joined |= {split.sentences[index].signer for index in mixed.joined}
        others = {split.sentences[mixed.partners[index]].signer for index in mixed.joined}
        assert others == {"anna"}
    assert joined == {"anna"}


def standing(
    frames: int, left: tuple[float, float], right: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """A recording with the shoulders at two places of the image, and all else in the middle."""
    landmarks = np.full((frames, 543, 3), 0.5, dtype=np.float16)
    landmarks[:, 11, :2], landmarks[:, 12, :2] = left, right
    landmarks[..., 2] = 0.25
    return landmarks, np.ones((frames, 4), dtype=bool)


def test_the_shoulder_width_is_the_median_in_image_heights():
    landmarks, detected = standing(4, (0.75, 0.25), (0.25, 0.25))
    assert shoulder_width(landmarks, detected, 1.5) == pytest.approx(0.75)
    landmarks[0, 11, :2] = (0.25, 0.75)  # one frame on its side
    landmarks[3, 11, 0], detected[3, 0] = 9.0, False
    assert shoulder_width(landmarks, detected, 1.5) == pytest.approx(0.75)
    assert np.isnan(shoulder_width(landmarks, detected & False, 1.5))
    landmarks[:, 11] = landmarks[:, 12]
    assert shoulder_width(landmarks, detected, 1.5) == 0.02, "the smallest that features use"


def test_a_partner_is_scaled_about_the_middle_of_the_image():
    """Shoulders 0.5 and 0.25 of the image apart: everything of the second becomes twice as far."""
    first = standing(3, (0.75, 0.25), (0.25, 0.25))
    landmarks, detected = standing(2, (0.625, 0.375), (0.375, 0.375))
    landmarks[:, 530], detected[1, 2] = (0.25, 0.75, -0.5), False
    landmarks[1, 501:522] = 0
    scaled, seen = scaled_like(first, (landmarks, detected), 0.8)
    assert scaled.dtype == np.float32 and seen is detected
    assert scaled[0, 11].tolist() == [0.75, 0.25, 0.5]
    assert scaled[0, 12].tolist() == [0.25, 0.25, 0.5]
    assert scaled[0, 530].tolist() == [0.0, 1.0, -1.0]
    assert not scaled[1, 501:522].any(), "a part that was not detected stays zeros"
    assert landmarks[0, 11, 0] == 0.625, "the stored landmarks stay as they are"


def test_a_partner_of_like_scale_or_without_a_scale_stays_as_it_is():
    first = standing(3, (0.75, 0.25), (0.25, 0.25))
    assert scaled_like(first, standing(2, (0.875, 0.5), (0.375, 0.5)), 0.8) is None
    without, nothing = standing(2, (0.6, 0.4), (0.4, 0.4)), np.zeros((2, 4), dtype=bool)
    assert scaled_like(first, (without[0], nothing), 0.8) is None
    broken = standing(2, (0.6, 0.4), (0.4, 0.4))
    broken[0][1, 300] = np.nan  # the reader of the frames reports it
    assert scaled_like(first, broken, 0.8) is None


@pytest.mark.parametrize("aspect_ratio", [0.56, 1.78])
def test_both_parts_of_a_joined_sentence_are_one_shoulder_width_wide(aspect_ratio):
    """The camera was twice as near in the second sentence. With one unit for both, the widths
    would be 1 and 2, or 0.5 and 1."""
    parts = standing(9, (0.6, 0.4), (0.4, 0.4)), standing(7, (0.7, 0.35), (0.3, 0.35))
    rows = [Sentence("a", "anna", 9, ("X",)), Sentence("b", "anna", 7, ("Y",))]
    split = Split("train", rows, *(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
    mixed = MixedSplit(split, np.array([1, 0]), np.array([2, 3]), aspect_ratio)
    for index, first in ((0, 9), (1, 7)):
        landmarks, detected = (torch.from_numpy(array)[None] for array in mixed.read(index))
        lengths = torch.tensor([landmarks.shape[1]])
        features = compute_features(landmarks, detected, lengths, aspect_ratio)[0]
        points = features[:, :1629].reshape(-1, 543, 3)
        widths = (points[:, 11] - points[:, 12])[:, :2].norm(dim=-1)
        assert len(widths) == 16 + (2, 3)[index]
        torch.testing.assert_close(widths, torch.ones_like(widths), atol=0.02, rtol=0)
        assert widths[:first].numpy() == pytest.approx(1, abs=0.01)
