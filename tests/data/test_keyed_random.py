import hashlib

import numpy as np

from data.keyed_random import generator, key


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
