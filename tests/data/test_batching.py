import itertools
import math

import numpy as np
import pytest
import torch

from data.batching import (
    _cuts,
    _even_cuts,
    load_batch,
    padding_waste,
    plan_by_frames,
    plan_epoch,
    plan_evaluation,
)
from data.corpus import Corpus, Split
from data.sentences import Sentence
from errors import DataError


def phoenix_like(count: int = 5671) -> np.ndarray:
    """Lengths distributed like those of PHOENIX-2014: 16 to 300 frames, about 140 on average."""
    lengths = np.random.default_rng(0).lognormal(math.log(135), 0.35, size=count)
    return np.clip(lengths.round(), 16, 300).astype(np.int64)


def as_lists(plan):
    return [batch.tolist() for batch in plan]


@pytest.mark.parametrize(
    ("count", "batch_size"), [(1, 8), (7, 8), (8, 8), (9, 8), (401, 8), (1203, 4), (50, 1)]
)
def test_each_sentence_comes_once_and_only_the_last_batch_is_short(count, batch_size):
    plan = plan_epoch(phoenix_like(count), batch_size, seed=3, epoch=5)
    assert sorted(index for batch in plan for index in batch) == list(range(count))
    assert [len(batch) for batch in plan[:-1]] == [batch_size] * (len(plan) - 1)
    assert len(plan) == math.ceil(count / batch_size)


def test_the_order_is_keyed_by_seed_and_epoch():
    lengths = phoenix_like(300)
    plan = as_lists(plan_epoch(lengths, 8, seed=1, epoch=2))
    assert plan == as_lists(plan_epoch(lengths, 8, seed=1, epoch=2))
    assert plan != as_lists(plan_epoch(lengths, 8, seed=1, epoch=3))
    assert plan != as_lists(plan_epoch(lengths, 8, seed=2, epoch=2))


def test_the_short_batch_is_not_always_the_same_sentences():
    lengths = np.arange(10, 21)
    shortest = {
        tuple(sorted(plan_epoch(lengths, 4, seed=0, epoch=epoch)[-1].tolist()))
        for epoch in range(20)
    }
    assert len(shortest) >= 3


@pytest.mark.parametrize(("planned", "size"), [(plan_epoch, 8), (plan_by_frames, 1200)])
def test_batches_do_not_come_in_order_of_length(planned, size):
    plan = planned(phoenix_like(), size, seed=0, epoch=1)
    means = np.array([phoenix_like()[batch].mean() for batch in plan])
    rises = (np.diff(means) > 0).mean()
    assert 0.4 < rises < 0.6


def test_lengths_like_those_of_phoenix_need_little_padding():
    lengths = phoenix_like()
    plan = plan_epoch(lengths, 8, seed=0, epoch=1)
    unsorted = np.array_split(np.random.default_rng(1).permutation(len(lengths)), len(plan))
    assert padding_waste(plan, lengths) < 0.025
    assert padding_waste(unsorted, lengths) > 0.25


# ---------------------------------------------------------------- batches of a frame budget


@pytest.mark.parametrize("frames", [100, 1200, 4800, 19200])
def test_each_sentence_comes_once_and_no_batch_exceeds_the_budget(frames):
    lengths = phoenix_like()
    for epoch in range(3):
        plan = plan_by_frames(lengths, frames, seed=3, epoch=epoch)
        assert sorted(index for batch in plan for index in batch) == list(range(len(lengths)))
        padded = np.array([len(batch) * lengths[batch].max() for batch in plan])
        single = np.array([len(batch) == 1 for batch in plan])
        assert (padded[~single] <= frames).all(), "only a single longer sentence exceeds the budget"
        assert padding_waste(plan, lengths) < 0.05


def test_no_batch_is_small():
    for epoch in range(3):
        plan = plan_by_frames(phoenix_like(), 4800, seed=0, epoch=epoch)
        padded = [len(batch) * phoenix_like()[batch].max() for batch in plan]
        assert min(padded) > 0.6 * 4800


def test_batches_with_a_budget_worked_out_by_hand():
    """Budget 30: three sentences of 10 fit, two of 20 do not, and one of 40 is alone."""
    plan = plan_by_frames(np.array([20, 10, 40, 10, 20, 10]), 30, seed=0, epoch=1)
    assert sorted(sorted(batch.tolist()) for batch in plan) == [[0], [1, 3, 5], [2], [4]]


def test_batches_of_a_pool_have_similar_sizes():
    """With a budget of 60, seven sentences of 10 frames form batches of 4 and 3, not 6 and 1."""
    sizes = [
        sorted(map(len, plan_by_frames(np.full(count, 10), 60, seed=0, epoch=1)))
        for count in (6, 7, 8, 12, 13)
    ]
    assert sizes == [[6], [3, 4], [4, 4], [6, 6], [3, 5, 5]]


def test_the_cuts_are_those_of_the_smallest_budget_with_as_few_batches():
    random = np.random.default_rng(0)
    for _ in range(200):
        lengths = np.sort(random.integers(1, 30, size=random.integers(1, 25)))
        frames = int(random.integers(30, 120))
        fewest = len(_cuts(lengths, frames))
        smallest = next(less for less in itertools.count(1) if len(_cuts(lengths, less)) == fewest)
        assert _even_cuts(lengths, frames) == _cuts(lengths, smallest)


def test_sentences_meet_new_sentences_in_the_next_epoch():
    lengths = phoenix_like()

    def repeated_pairs(plans) -> float:
        """Share of the pairs in a batch of one epoch that are in one batch of the next, too."""
        pairs = [
            {
                (a, b)
                for batch in plan
                for i, a in enumerate(sorted(batch.tolist()))
                for b in sorted(batch.tolist())[i + 1 :]
            }
            for plan in plans
        ]
        return len(pairs[0] & pairs[1]) / len(pairs[0])

    by_frames = repeated_pairs(
        [plan_by_frames(lengths, 2400, seed=0, epoch=epoch) for epoch in (1, 2)]
    )
    by_count = repeated_pairs([plan_epoch(lengths, 16, seed=0, epoch=epoch) for epoch in (1, 2)])
    assert by_frames < 1.2 * by_count < 0.15
    same, again_the_same = (
        as_lists(plan_by_frames(lengths, 2400, seed=0, epoch=1)) for _ in range(2)
    )
    assert same == again_the_same != as_lists(plan_by_frames(lengths, 2400, seed=1, epoch=1))


def test_padding_waste_worked_out_by_hand():
    lengths = np.array([4, 10, 5, 5])
    # The batches compute 10 + 10 and 5 + 5 frames; 4 + 10 + 5 + 5 of them belong to sentences.
    assert padding_waste([np.array([0, 1]), np.array([2, 3])], lengths) == pytest.approx(6 / 30)


def test_evaluation_takes_every_sentence_the_shortest_first():
    plan = plan_evaluation(np.array([30, 10, 20, 10, 40]), 2)
    assert as_lists(plan) == [[1, 3], [2, 0], [4]]


def test_very_long_sentences_are_evaluated_in_smaller_batches(monkeypatch):
    monkeypatch.setattr("data.batching.MAX_EVALUATION_FRAMES", 60)
    plan = plan_evaluation(np.array([30, 10, 20, 10, 40, 100, 20]), 4)
    assert as_lists(plan) == [[1, 3, 2], [6, 0], [4], [5]]
    assert as_lists(plan_evaluation(np.array([], dtype=int), 4)) == []


def test_a_batch_has_the_stored_frames_and_zeros_after_them(tiny_corpus):
    split = Corpus(tiny_corpus).split("train")
    indices = np.array([5, 0, 7])
    stored = load_batch(split, indices)
    batch = stored.to(torch.device("cpu"))
    longest = max(split.sentences[index].frames for index in indices)
    assert stored.stored.shape == (3, longest, 543, 3) and stored.stored.dtype == torch.int16
    assert batch.landmarks.shape == (3, longest, 543, 3) and batch.landmarks.dtype == torch.float32
    assert batch.detected.shape == (3, longest, 4) and batch.detected.dtype == torch.bool
    assert batch.lengths.tolist() == [split.sentences[index].frames for index in indices]
    assert batch.lengths.dtype == torch.int64
    for row, index in enumerate(indices):
        frames = split.sentences[index].frames
        landmarks, detected = split.read(index)
        assert torch.equal(batch.landmarks[row, :frames], torch.from_numpy(np.array(landmarks)))
        assert torch.equal(batch.detected[row, :frames], torch.from_numpy(np.array(detected)))
        assert not batch.landmarks[row, frames:].any() and not batch.detected[row, frames:].any()


def split_of(*lengths: int) -> Split:
    """Sentences s0, s1, … of these lengths in frames; all landmarks are 0.5."""
    rows = [Sentence(f"s{i}", "anna", frames, ("A",)) for i, frames in enumerate(lengths)]
    landmarks = np.full((sum(lengths), 543, 3), 0.5, dtype=np.float16)
    return Split("train", rows, landmarks, np.ones((sum(lengths), 4), dtype=bool))


def test_a_sentence_without_frames_is_named():
    with pytest.raises(DataError, match="train sentence s2 has no frames"):
        load_batch(split_of(4, 3, 0, 5), np.array([2, 3]))


def test_a_sentence_with_values_that_are_not_finite_is_named():
    split = split_of(4, 3, 6, 5)
    split.landmarks[9, 500, 1] = np.inf  # frame 2 of s2
    with pytest.raises(DataError, match="train sentence s2: landmarks hold NaN or infinite"):
        load_batch(split, np.array([3, 2]))
    assert load_batch(split, np.array([3, 1, 0])).lengths.tolist() == [5, 3, 4]
