import hashlib

import numpy as np
import pytest

from data.keyed_random import (
    Rekeyed,
    first_block,
    first_numbers,
    generator,
    key,
    keys,
    uniform,
    whole_number,
)


def test_the_key_is_a_digest_of_the_joined_names():
    expected = hashlib.blake2b(b"3\x1f12\x1fdev-01", digest_size=8).digest()
    assert key(3, 12, "dev-01") == int.from_bytes(expected, "little")


def test_names_are_separated_in_the_key():
    assert key(1, 23) != key(12, 3)
    assert key("a", "b") != key("ab")
    assert key(1, 2) != key(2, 1)


def test_a_draw_depends_on_the_names_only():
    first = generator(7, "a").random(5)
    generator(7, "b").random(1000)
    np.testing.assert_array_equal(generator(7, "a").random(5), first)
    assert not np.array_equal(generator(8, "a").random(5), first)
    assert not np.array_equal(generator(7, "b").random(5), first)


def test_draws_never_change_between_versions():
    """An interrupted run continues with the same order and augmentation after an update."""
    assert key(0, 1, "order") == 0x36E044B32D073932
    assert generator(0, 1, "order").permutation(6).tolist() == [4, 1, 5, 3, 2, 0]


def test_keys_of_many_ids_are_their_keys_one_by_one():
    ids = ["a", "", "train/é 1"]
    assert keys((3, "x"), ids, ("mix", "y")) == [key(3, "x", id, "mix", "y") for id in ids]
    assert keys((), ids) == [key(id) for id in ids]
    assert keys((1,), []) == []


def test_numbers_of_many_keys_are_those_of_their_generators():
    chosen, counts = [key("a"), 2**64 - 1, 0], [5, 0, 9]
    expected = np.concatenate(
        [
            np.random.Philox(key=one).random_raw(count)
            for one, count in zip(chosen, counts, strict=True)
        ]
    )
    found = first_numbers(chosen, counts)
    assert found.dtype == np.uint64 and np.array_equal(found, expected)
    assert first_numbers([], []).shape == (0,)


def test_the_first_four_numbers_in_arrays_are_those_of_numpys_philox():
    chosen = [0, 1, 2**32 - 1, 2**63, 2**64 - 1, *keys((3, 1), map(str, range(500)), ("mix",))]
    expected = first_numbers(chosen, [4] * len(chosen)).reshape(-1, 4)
    np.testing.assert_array_equal(first_block(chosen), expected)
    assert first_block([]).shape == (0, 4)


def test_values_are_those_of_a_generator():
    ids = [f"s{number}" for number in range(200)]
    numbers = first_numbers(keys((0,), ids), [3] * 200).reshape(-1, 3)
    for limit in (1, 2, 7, 1000):
        for id, row in zip(ids, numbers, strict=True):
            random = generator(0, id)
            assert random.random() == uniform(row[:1])[0]
            assert random.integers(1000) == whole_number(row[1:2], 1000)[0]
            # numpy takes no number where only one value is possible
            assert random.integers(limit) == whole_number(row[1:2], limit, second=True)[0]
            assert random.random() == uniform(row[2:3])[0]
    several = whole_number(numbers[:, 0], np.arange(1, 201))
    assert (several >= 0).all() and (several < np.arange(1, 201)).all()


def test_a_generator_with_another_key_is_like_a_new_one():
    random = Rekeyed()
    random.start(key("a")).integers(5)  # leaves half a number behind
    for name in ("b", "a", "b"):
        started = random.start(key(name))
        new = generator(name)
        assert started.integers(1000) == new.integers(1000)
        assert np.array_equal(started.standard_normal(7), new.standard_normal(7))
        assert np.array_equal(
            random.numbers(key(name), 3), np.random.Philox(key=key(name)).random_raw(3)
        )


def test_generators_do_not_share_their_state():
    one, other = generator("a"), generator("b")
    expected = generator("a").random(3)
    other.random(5)
    assert one.random(3) == pytest.approx(expected, abs=0)
