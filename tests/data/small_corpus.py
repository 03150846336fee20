"""A small corpus of random landmarks, for the tests of reading and writing corpora."""

from pathlib import Path

import numpy as np

from data.corpus_writer import CorpusWriter

FACTS = {"name": "tiny", "fps": 25, "aspect_ratio": 4 / 3, "made_by": {"command": "test"}}


def recording(frames: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Random landmarks float32 (frames, 543, 3), and detected (frames, 4), all True."""
    landmarks = np.random.default_rng(seed).uniform(0.1, 0.9, (frames, 543, 3))
    return landmarks.astype(np.float32), np.ones((frames, 4), dtype=bool)


def write_corpus(path: Path, splits: dict[str, list[tuple]] | None = None) -> Path:
    """Write a corpus and return its path. splits: rows (id, signer, annotation, frames) by name."""
    splits = splits or {
        "train": [("s1", "anna", "HELLO WORLD", 5), ("s2", "ben", "WORLD", 3)],
        "dev": [("d1", "anna", "HELLO", 4)],
    }
    with CorpusWriter(path, **FACTS) as writer:
        for name, rows in splits.items():
            split = writer.split(name)
            for number, (id, signer, annotation, frames) in enumerate(rows):
                split.add(id, signer, annotation, *recording(frames, number))
    return path
