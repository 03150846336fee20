"""Statistics of the features of a corpus, computed once and remembered for later runs."""

import base64
import hashlib
import inspect
import json
from types import ModuleType
from typing import Any

import numpy as np
import torch

import data.batching
import data.features
import data.handedness.leading_hand
import data.handedness.signer_votes
import data.landmarks
import data.pipeline
import data.stored_landmarks
from data.corpus import Corpus, Split
from data.landmarks import NUM_FEATURES
from data.pipeline import FeaturePipeline, feature_statistics

_CODE: tuple[ModuleType, ...] = (
    data.batching,
    data.features,
    data.landmarks,
    data.handedness.leading_hand,
    data.pipeline,
    data.handedness.signer_votes,
    data.stored_landmarks,
)  # another version of these may give other statistics
_DTYPE = np.dtype("<f4")


def remembered_statistics(
    corpus: Corpus, pipeline: FeaturePipeline, split: Split, max_frames: int, sentences: np.ndarray
) -> list[torch.Tensor]:
    """The result of `feature_statistics` on the CPU, from the memory of the corpus if it is there.

    The corpus must be verified: its fingerprint stands for the content of its files. The other
    arguments are those of `feature_statistics`.
    """
    code = hashlib.sha256("".join(map(inspect.getsource, _CODE)).encode())
    depends_on = {
        "corpus": corpus.fingerprint,
        "split": split.name,
        "sentences": hashlib.sha256(np.asarray(sentences, "<i8").tobytes()).hexdigest(),
        "max_frames": max_frames,
        "landmarks": pipeline.selection.landmarks.tolist(),
        "causal": pipeline.causal,
        "leading_hand": pipeline.leading_hand,
        "device": pipeline.device.type,
        "torch": torch.__version__,
        "code": code.hexdigest(),
    }
    digest = hashlib.sha256(json.dumps(depends_on).encode()).hexdigest()
    key = f"statistics {digest}"

    def compute() -> str:
        found = feature_statistics(pipeline, split, max_frames, sentences=sentences)
        values = np.stack([statistic.cpu().numpy() for statistic in found])
        return base64.b64encode(values.astype(_DTYPE).tobytes()).decode()

    return list(torch.from_numpy(_read(corpus.memory.result(key, compute, _is_readable))))


def _read(text: str) -> np.ndarray:
    """Mean and standard deviation, float32 (2, 6516), of a text. Raises TypeError, ValueError."""
    values = np.frombuffer(base64.b64decode(text, validate=True), _DTYPE)
    return values.reshape(2, NUM_FEATURES).astype(np.float32)


def _is_readable(text: Any) -> bool:
    try:
        return bool(np.isfinite(_read(text)).all())
    except (TypeError, ValueError):
        return False
