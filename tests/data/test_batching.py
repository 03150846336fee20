import math

import numpy as np
import pytest
import torch

from data.batching import load_batch, padding_waste, plan_epoch, plan_evaluation
from data.corpus import Corpus


def phoenix_like(count: int = 5671) -> np.ndarray:
    """Lengths spread like PHOENIX-2014's: about 140 frames, 16 to 300."""
    lengths = np.random.default_rng(0).lognormal(math.log(135), 0.35, size=count)
    return np.clip(lengths.round(), 16, 300).astype(np.int64)


def as_lists(plan):
    return [batch.tolist() for batch in plan]


@pytest.mark.parametrize(("count", "batch_size"), [(1, 8), (7, 8), (8, 8), (9, 8), (401, 8), (1203, 4), (50, 1)])
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
    shortest = {tuple(sorted(plan_epoch(lengths, 4, seed=0, epoch=epoch)[-1].tolist())) for epoch in range(20)}
    assert len(shortest) >= 3


def test_batches_of_one_length_class_do_not_come_in_order_of_length():
    plan = plan_epoch(phoenix_like(), 8, seed=0, epoch=1)
    means = np.array([phoenix_like()[batch].mean() for batch in plan])
    rises = (np.diff(means) > 0).mean()
    assert 0.4 < rises < 0.6


def test_little_is_padded_on_lengths_like_those_of_phoenix():
    lengths = phoenix_like()
    plan = plan_epoch(lengths, 8, seed=0, epoch=1)
    unsorted = np.array_split(np.random.default_rng(1).permutation(len(lengths)), len(plan))
    assert padding_waste(plan, lengths) < 0.025
    assert padding_waste(unsorted, lengths) > 0.25


def test_padding_waste_by_hand():
    lengths = np.array([4, 10, 5, 5])
    # 10 + 10 and 5 + 5 frames computed, of which 4 + 10 + 5 + 5 belong to sentences
    assert padding_waste([np.array([0, 1]), np.array([2, 3])], lengths) == pytest.approx(6 / 30)


def test_evaluation_goes_by_length_and_misses_nobody():
    plan = plan_evaluation(np.array([30, 10, 20, 10, 40]), 2)
    assert as_lists(plan) == [[1, 3], [2, 0], [4]]


def test_a_batch_holds_the_stored_rows_and_zeros_behind_them(tiny_corpus):
    split = Corpus(tiny_corpus).split("train")
    indices = np.array([5, 0, 7])
    batch = load_batch(split, indices)
    longest = max(split.sentences[index].frames for index in indices)
    assert batch.landmarks.shape == (3, longest, 543, 3) and batch.landmarks.dtype == torch.float16
    assert batch.detected.shape == (3, longest, 4) and batch.detected.dtype == torch.bool
    assert batch.lengths.tolist() == [split.sentences[index].frames for index in indices]
    assert batch.lengths.dtype == torch.int64
    for row, index in enumerate(indices):
        frames = split.sentences[index].frames
        landmarks, detected = split.read(index)
        assert torch.equal(batch.landmarks[row, :frames], torch.from_numpy(np.array(landmarks)))
        assert torch.equal(batch.detected[row, :frames], torch.from_numpy(np.array(detected)))
        assert not batch.landmarks[row, frames:].any() and not batch.detected[row, frames:].any()
    assert batch.to(torch.device("cpu")) is batch
