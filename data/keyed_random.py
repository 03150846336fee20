"""Keyed randomness: a generator is made from names, e.g. (seed, epoch, sentence id).

A draw never depends on how many numbers were drawn before it. The order and the augmentation of an
epoch are therefore the same on every device and with any number of workers, and also after an
interruption.
"""

import hashlib

import numpy as np


def key(*names: int | str) -> int:
    """A 64-bit key made from the names, the same in every process and on every machine."""
    text = "\x1f".join(str(name) for name in names)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def generator(*names: int | str) -> np.random.Generator:
    """A new numpy generator for the names, e.g. `generator(seed, epoch, sentence_id)`."""
    return np.random.Generator(np.random.Philox(key=key(*names)))
