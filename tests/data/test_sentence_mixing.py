import numpy as np

from data.corpus import Sentence, Split
from data.ctc_lengths import ctc_steps, min_frames, required_steps
from data.sentence_mixing import MixedSplit, mix_sentences


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
    mixed = MixedSplit(split, np.array([1, -1]), np.array([2, 0]))
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
    _, detected = MixedSplit(split, np.array([1, -1]), np.array([2, 0])).read(0)
    assert detected[:, 3].tolist() == [True, True, False, False, False, True]
    assert detected[:, :3].all()


def many_sentences() -> Split:
    rows = [(f"s{i}", "anna" if i % 2 else "bert", 20 + i, f"G{i}") for i in range(60)]
    return split_of(*rows, ("long", "anna", 200, "L"))


def test_partners_have_the_same_signer_and_are_usable_and_short_enough():
    split = many_sentences()
    usable = np.array([i for i in range(61) if i not in (7, 8)])
    mixed = mix_sentences(split, usable, 1.0, 0, 1, len)
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
    partners = mix_sentences(split, usable, 0.3, 5, 2, len).partners
    assert np.array_equal(partners, mix_sentences(split, usable, 0.3, 5, 2, len).partners)
    for seed, epoch in ((5, 3), (6, 2)):
        assert not np.array_equal(
            partners, mix_sentences(split, usable, 0.3, seed, epoch, len).partners
        )
    shares = [
        (mix_sentences(split, usable, 0.3, 5, epoch, len).partners >= 0).mean()
        for epoch in range(30)
    ]
    assert 0.2 < np.mean(shares) < 0.35
    assert mix_sentences(split, usable, 0.0, 5, 2, len) is split


def test_sentences_are_not_joined_if_ctc_cannot_align_the_result():
    """5 frames give 2 steps, enough for X Y. 5 + 2 + 5 frames give 3, but X Y X Y needs 4."""
    split = split_of(("a", "anna", 5, "X Y"), ("b", "anna", 5, "X Y"), ("c", "anna", 40, "X"))
    transition_lengths = set()
    for epoch in range(60):
        mixed = mix_sentences(split, np.arange(3), 1.0, 0, epoch, min_frames)
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
        mix_sentences(split, np.arange(22), 1.0, 0, epoch, len).partners for epoch in range(40)
    ]
    assert all((partners[:20] == -1).all() for partners in joined)
    assert {int(partners[21]) for partners in joined} == {20}, (
        "30 and 30 with a gap are more than 60"
    )
    assert {int(partners[20]) for partners in joined} == {-1, 21}, "a draws itself as often as b"
