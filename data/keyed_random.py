"""Keyed randomness: a generator is made from names, e.g. (seed, epoch, sentence id).

A draw never depends on how many numbers were drawn before it. The order and the augmentation of an
epoch are therefore the same on every device and with any number of workers, and also after an
interruption.

An epoch draws a few numbers for each of many sentences. `keys` and `first_numbers` draw them for
all sentences at once: the same numbers as from one `generator` per sentence, in a fraction of the
time. `first_block` is faster still where four numbers are enough. `uniform` and `whole_number` then
turn them into values, as numpy's `Generator` does.
"""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.random.bit_generator import ISeedSequence

_SEPARATOR = "\x1f"
# Of Philox4x64-10: rounds, factors of the two products, and steps of the two halves of the key
_ROUNDS = 10
_FACTORS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
_KEY_STEPS = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBB67AE8584CAA73B))
_HALF, _BITS = np.uint64(0xFFFFFFFF), np.uint64(32)


def key(*names: int | str) -> int:
    """A 64-bit key made from the names, the same in every process and on every machine."""
    text = _SEPARATOR.join(str(name) for name in names)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def keys(before: Sequence[int | str], ids: Iterable[str], after: Sequence[str] = ()) -> list[int]:
    """key(*before, id, *after) of each id."""
    start = hashlib.blake2b(
        "".join(f"{name}{_SEPARATOR}" for name in before).encode(), digest_size=8
    )
    end = "".join(f"{_SEPARATOR}{name}" for name in after)
    found = []
    for id in ids:
        digest = start.copy()
        digest.update((id + end).encode())
        found.append(int.from_bytes(digest.digest(), "little"))
    return found


class _Key(ISeedSequence):
    """Gives numpy's Philox its key. With the argument `key`, numpy would first ask the system for
    random numbers that it does not use; that takes longer than the draws."""

    def __init__(self, key: int):
        self._key = key

    def generate_state(self, n_words: int, dtype: object = np.uint64) -> np.ndarray:
        return np.array([self._key, 0], dtype=np.uint64)


def _philox(key: int) -> np.random.Philox:
    # numpy documents that any ISeedSequence may be given; its type stubs name one class only.
    return np.random.Philox(_Key(key))  # type: ignore[arg-type]


def generator(*names: int | str) -> np.random.Generator:
    """A new numpy generator for the names, e.g. `generator(seed, epoch, sentence_id)`."""
    return np.random.Generator(_philox(key(*names)))


class Rekeyed:
    """One numpy generator that starts again with another key, which is faster than a new one."""

    def __init__(self) -> None:
        self._philox = _philox(0)
        self._state = self._philox.state  # a copy of the state before the first draw
        self._generator = np.random.Generator(self._philox)

    def start(self, key: int) -> np.random.Generator:
        """The generator, as new for this key. It is valid until the next start."""
        self._state["state"]["key"][0] = key
        self._philox.state = self._state
        return self._generator

    def numbers(self, key: int, count: int) -> np.ndarray:
        """The first `count` numbers of the key, uint64."""
        self.start(key)
        return self._philox.random_raw(count)


def first_numbers(keys: Sequence[int], counts: Sequence[int]) -> np.ndarray:
    """The first numbers of each key: counts[0] of keys[0], then counts[1] of keys[1], and so on.

    Returns uint64 (sum(counts),), uniform over all 64-bit numbers.
    """
    random = Rekeyed()
    drawn = [random.numbers(key, count) for key, count in zip(keys, counts, strict=True)]
    return np.concatenate(drawn) if drawn else np.empty(0, dtype=np.uint64)


def first_block(keys: Sequence[int]) -> np.ndarray:
    """The first four numbers of each key, uint64 (N, 4): those of `first_numbers`, faster.

    This is Philox4x64-10 (Salmon et al., SC 2011) in arrays: its counter is 1, as numpy counts, and
    the second half of its key is 0, as in `_Key`.
    """
    first_key, second_key = np.array(keys, dtype=np.uint64), np.zeros(len(keys), dtype=np.uint64)
    a, b, c, d = (np.full(len(keys), count, dtype=np.uint64) for count in (1, 0, 0, 0))
    for _ in range(_ROUNDS):
        (high_a, low_a), (high_c, low_c) = _product(a, _FACTORS[0]), _product(c, _FACTORS[1])
        a, b, c, d = high_c ^ b ^ first_key, low_c, high_a ^ d ^ second_key, low_a
        first_key, second_key = first_key + _KEY_STEPS[0], second_key + _KEY_STEPS[1]
    return np.stack([a, b, c, d], axis=1)


def _product(x: np.ndarray, factor: int) -> tuple[np.ndarray, np.ndarray]:
    """The upper and the lower 64 bits of x * factor, from products of their halves; x uint64."""
    low, high = x & _HALF, x >> _BITS
    factor_low, factor_high = np.uint64(factor & 0xFFFFFFFF), np.uint64(factor >> 32)
    middle = high * factor_low + (low * factor_low >> _BITS)
    carried = low * factor_high + (middle & _HALF)
    upper = high * factor_high + (middle >> _BITS) + (carried >> _BITS)
    return upper, x * np.uint64(factor)


def uniform(numbers: np.ndarray) -> np.ndarray:
    """Numbers as float64 from [0, 1): the values of `Generator.random`."""
    return (numbers >> np.uint64(11)) * 2.0**-53


def whole_number(numbers: np.ndarray, limit: np.ndarray | int, second: bool = False) -> np.ndarray:
    """Numbers as int64 from 0 to limit - 1: the values of `Generator.integers(limit)`.

    numpy takes two whole numbers from one 64-bit number. The first uses the lower half, the second
    the upper half.

    (numpy draws again for about `limit` of all 2^32 halves, so that all values are exactly equally
    likely. Here they differ by a share of limit / 2^32.)

    Args:
        numbers: uint64.
        limit: 1 to 2^32 - 1; broadcasts to the numbers.
        second: use the upper half.
    """
    half = numbers >> np.uint64(32) if second else numbers & np.uint64(0xFFFFFFFF)
    return ((half * np.asarray(limit, dtype=np.uint64)) >> np.uint64(32)).astype(np.int64)
