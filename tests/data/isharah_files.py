"""Pickled landmarks and lists in the layout of Isharah's challenges, at a tiny size."""

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from data.landmarks import LIPS_OUTER, PART_SLICES
from data.sources.corpora.isharah import POINT_INDICES
from tests.data.signers import standing_signer

SIZE = (1080, 1920)  # pixels of a phone held upright


def signer_with_lips(frames: int, seed: int = 0) -> np.ndarray:
    """Landmarks (T, 543, 3) as of `standing_signer`, with lips in the shape of lips."""
    landmarks = standing_signer(frames, seed)
    turn = 2 * np.pi * np.arange(len(LIPS_OUTER)) / len(LIPS_OUTER)
    lips = PART_SLICES["face"].start + np.array(LIPS_OUTER)
    landmarks[:, lips, 0] = 0.5 - 0.03 * np.cos(turn)
    landmarks[:, lips, 1] = 0.34 + 0.012 * np.sin(turn)
    return landmarks


def in_pixels(landmarks: np.ndarray, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Landmarks (T, 543, 3) in fractions of an image → float32 (T, 86, 2) in pixels."""
    return (landmarks[:, POINT_INDICES, :2] * size).astype(np.float32)


def write_pickle(path: Path, recordings: Mapping[str, np.ndarray], protocol: int = 4) -> None:
    """Write arrays (T, 86, 2) by id, as the challenges distribute them."""
    content = {id: {"keypoints": points} for id, points in recordings.items()}
    path.write_bytes(pickle.dumps(content, protocol))


def write_lists(folder: Path, splits: Mapping[str, Sequence[str]]) -> None:
    """Write `<split>.csv` with the rows `id|gloss`; rows without '|' make a list of ids alone."""
    folder.mkdir(parents=True)
    for split, rows in splits.items():
        header = "id|gloss" if "|" in rows[0] else "id"
        (folder / f"{split}.csv").write_text("\n".join([header, *rows, ""]), encoding="utf-8")
