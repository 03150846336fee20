"""Keyed randomness: every draw comes from (seed, names), never from how many draws were made before
it.

Order and augmentation of an epoch therefore do not depend on workers, on the device, or on where a
run was interrupted.
"""

import hashlib

import numpy as np


def key(*names: int | str) -> int:
    """A 64-bit key of the given names, the same in every process and on every machine."""
    text = "\x1f".join(str(name) for name in names)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def generator(*names: int | str) -> np.random.Generator:
    """A numpy generator of its own for the given names, e.g. `generator(seed, epoch, sentence_id)`."""
    return np.random.Generator(np.random.Philox(key=key(*names)))
