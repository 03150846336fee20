"""Runs an ONNX file of export_model.py.

Everything about the model is in the file's metadata, one JSON value per key.
"""

import base64
import binascii
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from data.landmarks import LAYOUT, NUM_COORDINATES, NUM_LANDMARKS, PARTS
from errors import DataError

FORMAT_VERSION = 1
INPUTS = ("landmarks", "detected", "lengths")
OUTPUTS = ("log_probs", "steps")
# Keys of the metadata, and the type of each value
_METADATA: dict[str, type | tuple[type, ...]] = {
    "format_version": int,
    "kind": str,
    "layout": str,
    "vocabulary": list,
    "decoder": dict,
    "fps": (int, float),
    "aspect_ratio": (int, float),
    "corpus": str,
    "simulated": bool,
    "composed": bool,
    "lookahead": (int, type(None)),
    "int8": bool,
    "checkpoint_sha256": str,
    "versions": dict,
}
_CLOSE = 1e-5  # nats; a bigram this close to its back-off value is left out


class ExportedModel:
    """An ONNX file of export_model.py.

    model = ExportedModel(Path("model.onnx"))
    log_probs, steps = model(landmarks, detected, lengths)

    Attributes:
        vocabulary: the glosses; class 0 is the blank.
        decoder: as a checkpoint's `decoder` entry.
        fps, aspect_ratio: of the corpus that it was trained on.
        corpus, simulated, composed: that corpus's name, and how it was made.
        kind: 'teacher' or 'student'.
        lookahead: frames that a causal student looks ahead; None for other models, which need the
            whole sentence.
        extractor: of that corpus; None: not known.
        facts: the metadata as it is in the file.
    """

    def __init__(self, path: Path, threads: int = 0):
        """threads: of onnxruntime; 0 lets it choose. Raises DataError if the file is missing,
        damaged or not from export_model.py."""
        if not path.is_file():
            raise DataError(
                f"exported model {path} does not exist: expected an .onnx file of export_model.py"
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4  # errors are reported below, in one line
        try:
            self._session = onnxruntime.InferenceSession(
                path, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's exceptions have no narrower common base
            raise DataError(
                f"{path} is not a readable ONNX file: {' '.join(str(error).split())[:200]}"
            ) from None
        names = (
            [node.name for node in self._session.get_inputs()],
            [node.name for node in self._session.get_outputs()],
        )
        metadata = self._session.get_modelmeta().custom_metadata_map
        if names != (list(INPUTS), list(OUTPUTS)) or not metadata.keys() >= _METADATA.keys():
            raise DataError(f"{path} is an ONNX file, but not one of export_model.py")
        self.path = path
        self.facts = facts = _read_metadata(path, metadata)
        try:
            self.decoder = unpack_decoder(facts["decoder"], len(facts["vocabulary"]) + 1)
        except ValueError as error:
            raise DataError(f"{path}: its metadata holds {error}; export it again") from None
        self.vocabulary: tuple[str, ...] = tuple(facts["vocabulary"])
        self.fps: float = facts["fps"]
        self.aspect_ratio: float = facts["aspect_ratio"]
        self.corpus: str = facts["corpus"]
        self.simulated: bool = facts["simulated"]
        self.composed: bool = facts["composed"]
        self.kind: str = facts["kind"]
        self.lookahead: int | None = facts["lookahead"]
        self.extractor: object = facts["extractor"]

    def __call__(
        self,
        landmarks: np.ndarray,
        detected: np.ndarray,
        lengths: np.ndarray,
        aspect_ratio: float | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns log_probs float32 (B, ceil(T / 4), V) and steps int64 (B,).

        Args:
            landmarks: float (B, T, 543, 3) as MediaPipe gives them.
            detected: bool (B, T, 4).
            lengths: int (B,).
            aspect_ratio: width / height of the images; None if it is the training corpus's.
        """
        shape = landmarks.shape[:2]
        assert landmarks.shape == (*shape, NUM_LANDMARKS, NUM_COORDINATES)
        assert detected.shape == (*shape, len(PARTS))
        landmarks = landmarks.astype(np.float32)
        if aspect_ratio is not None:  # x and z are fractions of the width
            ratio = aspect_ratio / self.aspect_ratio
            landmarks *= np.array([ratio, 1.0, ratio], np.float32)
        values = (
            np.ascontiguousarray(landmarks),
            detected.astype(bool),
            np.asarray(lengths, dtype=np.int64),
        )
        log_probs, steps = self._session.run(None, dict(zip(INPUTS, values, strict=True)))
        return log_probs, steps


def _read_metadata(path: Path, metadata: dict[str, str]) -> dict[str, Any]:
    """The values of all keys. Raises DataError if one is not usable."""
    try:
        facts = {name: json.loads(metadata[name]) for name in _METADATA}
        facts["extractor"] = json.loads(metadata.get("extractor", "null"))  # older files lack it
    except (ValueError, RecursionError):
        raise DataError(f"{path}: its metadata cannot be read; export it again") from None
    wrong = [name for name, kind in _METADATA.items() if not isinstance(facts[name], kind)]
    if wrong or not all(isinstance(gloss, str) for gloss in facts["vocabulary"]):
        raise DataError(
            f"{path}: '{(wrong or ['vocabulary'])[0]}' of its metadata is not usable; export it "
            "again"
        )
    version, layout = facts["format_version"], facts["layout"]
    if (version, layout) != (FORMAT_VERSION, LAYOUT):
        raise DataError(
            f"{path}: format {version}, layout {layout}; this program reads {FORMAT_VERSION}, "
            f"{LAYOUT}"
        )
    return facts


def pack_decoder(entry: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint's `decoder` entry as plain JSON values.

    Of a language model's bigrams, only those that differ from their back-off value are stored.
    """
    if not entry.get("language_model"):
        return entry
    table, unigram, backoff = (
        entry["language_model"][name].numpy() for name in ("table", "unigram", "backoff")
    )
    listed = np.flatnonzero(np.abs(table - (backoff[:, None] + unigram)) > _CLOSE)
    packed = {
        "unigram": _base64(unigram.astype("<f4")),
        "backoff": _base64(backoff.astype("<f4")),
        "bigrams": _base64(listed.astype("<u4")),
        "values": _base64(table.ravel()[listed].astype("<f4")),
    }
    return {**entry, "language_model": packed}


def unpack_decoder(entry: dict[str, Any], classes: int) -> dict[str, Any]:
    """A checkpoint's `decoder` entry from the output of `pack_decoder`. Raises ValueError if its
    language model is damaged or has another number of classes."""
    packed = entry.get("language_model")
    if not packed:
        return entry
    try:
        unigram, backoff, values = (
            np.frombuffer(base64.b64decode(packed[name], validate=True), "<f4").copy()
            for name in ("unigram", "backoff", "values")
        )
        listed = np.frombuffer(base64.b64decode(packed["bigrams"], validate=True), "<u4")
    except (KeyError, TypeError, binascii.Error) as error:
        raise ValueError(f"language model: {error!r}") from None
    if (
        not len(unigram) == len(backoff) == classes
        or len(listed) != len(values)
        or listed.max(initial=0) >= classes**2
    ):
        raise ValueError(f"a language model that is not of {classes} classes")
    table = backoff[:, None] + unigram
    np.put(table, listed, values)
    arrays = {"table": table, "unigram": unigram, "backoff": backoff}
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    return {**entry, "language_model": tensors}


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(values.tobytes()).decode("ascii")
