import hashlib

import numpy as np

from data.keyed_random import generator, key


def test_key_is_the_digest_of_the_names_joined():
    expected = hashlib.blake2b(b"3\x1f12\x1fdev-01", digest_size=8).digest()
    assert key(3, 12, "dev-01") == int.from_bytes(expected, "little")


def test_names_do_not_run_together():
    assert key(1, 23) != key(12, 3)
    assert key("a", "b") != key("ab")
    assert key(1, 2) != key(2, 1)


def test_a_draw_depends_on_the_names_and_on_nothing_drawn_before():
    first = generator(7, "a").random(5)
    generator(7, "b").random(1000)
    np.testing.assert_array_equal(generator(7, "a").random(5), first)
    assert not np.array_equal(generator(8, "a").random(5), first)
    assert not np.array_equal(generator(7, "b").random(5), first)


def test_draws_stay_the_same_from_release_to_release():
    """An interrupted run goes on with the same order and augmentation after an update of the
    program."""
    assert key(0, 1, "order") == 0x36E044B32D073932
    assert generator(0, 1, "order").permutation(6).tolist() == [4, 1, 5, 3, 2, 0]
