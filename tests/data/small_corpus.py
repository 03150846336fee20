"""A small corpus of random landmarks, for the tests of reading and writing corpora."""

import json
from pathlib import Path

import numpy as np

from data.checks.file_hash import sha256_of
from data.corpus import Corpus
from data.corpus_writer import CorpusWriter
from data.stored_landmarks import decode, encode

FACTS = {"name": "tiny", "fps": 25, "aspect_ratio": 4 / 3, "made_by": {"command": "test"}}


def recording(frames: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Random landmarks float32 (frames, 543, 3), and detected (frames, 4), all True."""
    landmarks = np.random.default_rng(seed).uniform(0.1, 0.9, (frames, 543, 3))
    return landmarks.astype(np.float32), np.ones((frames, 4), dtype=bool)


def as_stored(landmarks: np.ndarray, detected: np.ndarray | None = None) -> np.ndarray:
    """What a corpus gives back of landmarks (T, 543, 3). detected: all True by default."""
    if detected is None:
        detected = np.ones((len(landmarks), 4), dtype=bool)
    return decode(encode(landmarks, detected, np.dtype("<i2")), detected)


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


def in_format_1(path: Path) -> Path:
    """Rewrite a corpus folder as versions before format 2 wrote it: landmarks in float16."""
    for name, split in Corpus(path).splits.items():
        np.save(
            path / f"{name}.landmarks.npy",
            decode(split.landmarks, split.detected).astype(np.float16),
        )
    facts = json.loads((path / "corpus.json").read_text())
    (path / "corpus.json").write_text(json.dumps(facts | {"format_version": 1}))
    rehash(path)
    return path


def rehash(path: Path) -> None:
    """Write the hashes of the files as they are now into corpus.json."""
    facts = json.loads((path / "corpus.json").read_text())
    for split in facts["splits"].values():
        split["sha256"] = {file: sha256_of(path / file) for file in split["sha256"]}
    (path / "corpus.json").write_text(json.dumps(facts))
