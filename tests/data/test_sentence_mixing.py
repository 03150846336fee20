import numpy as np

from data.corpus import Sentence, Split
from data.ctc_lengths import ctc_steps, min_frames, required_steps
from data.sentence_mixing import MixedSplit, mix_sentences


def split_of(*sentences: tuple[str, str, int, str]) -> Split:
    """(id, signer, frames, glosses) each; landmarks hold the frame's number over all, so that rows
    can be told apart."""
    rows = [
        Sentence(id, signer, frames, tuple(glosses.split()))
        for id, signer, frames, glosses in sentences
    ]
    total = sum(row.frames for row in rows)
    landmarks = np.broadcast_to(np.arange(total, dtype=np.float16)[:, None, None], (total, 543, 3))
    return Split("train", rows, landmarks, np.ones((total, 4), dtype=bool))


def test_a_mixed_sentence_by_hand():
    split = split_of(("a", "anna", 3, "X Y"), ("b", "anna", 2, "Z"))
    mixed = MixedSplit(split, np.array([1, -1]), np.array([2, 0]))
    assert mixed.lengths.tolist() == [7, 2] and len(mixed) == 2
    assert (
        mixed.sentences[0] == Sentence("a", "anna", 7, ("X", "Y", "Z"))
        and mixed.sentences[1] == split.sentences[1]
    )
    landmarks, detected = mixed.read(0)
    assert landmarks.dtype == np.float16 and detected.shape == (7, 4)
    # 0 1 2 of the first, two frames in equal steps from 2 to 3, then 3 4 of the second
    np.testing.assert_allclose(landmarks[:, 7, 1], [0, 1, 2, 2 + 1 / 3, 2 + 2 / 3, 3, 4], atol=2e-3)
    assert mixed.read(1)[0][:, 0, 0].tolist() == [3, 4]


def test_a_part_lost_on_either_side_stays_lost_between():
    split = split_of(("a", "anna", 2, "X"), ("b", "anna", 2, "Z"))
    split.detected[2, 3] = False  # the right hand at the start of the second
    _, detected = MixedSplit(split, np.array([1, -1]), np.array([2, 0])).read(0)
    assert detected[:, 3].tolist() == [True, True, False, False, False, True]
    assert detected[:, :3].all()


def many() -> Split:
    rows = [(f"s{i}", "anna" if i % 2 else "bert", 20 + i, f"G{i}") for i in range(60)]
    return split_of(*rows, ("long", "anna", 200, "L"))


def test_partners_are_of_the_same_signer_usable_and_fit():
    split = many()
    usable = np.array([i for i in range(61) if i not in (7, 8)])
    mixed = mix_sentences(split, usable, 1.0, 0, 1, len)
    joined = np.flatnonzero(mixed.partners >= 0)
    assert len(joined) > 40
    for index in joined:
        other = mixed.partners[index]
        assert other != index and other in usable and index in usable
        assert split.sentences[other].signer == split.sentences[index].signer
        assert 2 <= mixed.gaps[index] <= 6
        assert (
            mixed.lengths[index]
            == split.lengths[index] + mixed.gaps[index] + split.lengths[other]
            <= 200
        )
    assert 60 not in joined, "the longest stays alone"
    assert [s.id for s in mixed.sentences] == [s.id for s in split.sentences]


def test_mixing_is_keyed_and_as_often_as_said():
    split, usable = many(), np.arange(61)
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


def test_sentences_that_just_suffice_are_not_joined_where_they_would_not():
    """Five frames are two steps, enough for X Y; 5 + 2 + 5 are three, and X Y X Y needs four."""
    split = split_of(("a", "anna", 5, "X Y"), ("b", "anna", 5, "X Y"), ("c", "anna", 40, "X"))
    gaps = set()
    for epoch in range(60):
        mixed = mix_sentences(split, np.arange(3), 1.0, 0, epoch, min_frames)
        for index in np.flatnonzero(mixed.partners[:2] >= 0):
            if mixed.partners[index] != 2:
                gaps.add(int(mixed.gaps[index]))
        assert all(ctc_steps(s.frames) >= required_steps(s.glosses) for s in mixed.sentences)
    assert gaps == {3, 4, 5, 6}


def test_a_partner_that_is_short_enough_is_found_among_many_that_are_not():
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
    assert {int(partners[20]) for partners in joined} == {-1, 21}, "a itself is drawn as often as b"
