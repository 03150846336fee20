"""A model exported as ONNX, read back: all that it knows is in the file's metadata, JSON under one
key a fact."""

import base64
import binascii
import json
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from data.landmarks import LAYOUT, NUM_COORDINATES, NUM_LANDMARKS, PARTS
from errors import DataError

FORMAT_VERSION = 1
INPUTS = ("landmarks", "detected", "lengths")
OUTPUTS = ("log_probs", "steps")
_KINDS = {
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


_CLOSE = 1e-5  # nats: a bigram this near to its back-off is not listed


def _text(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values)).decode("ascii")


def write_decoder(entry: dict) -> dict:
    """A checkpoint's `decoder` entry as plain JSON values; of a language model, the bigrams that
    its back-off does not give."""
    if not entry.get("language_model"):
        return entry
    table, unigram, backoff = (
        entry["language_model"][name].numpy() for name in ("table", "unigram", "backoff")
    )
    listed = np.flatnonzero(np.abs(table - (backoff[:, None] + unigram)) > _CLOSE)
    packed = {
        "unigram": _text(unigram.astype("<f4")),
        "backoff": _text(backoff.astype("<f4")),
        "bigrams": _text(listed.astype("<u4")),
        "values": _text(table.ravel()[listed].astype("<f4")),
    }
    return {**entry, "language_model": packed}


def read_decoder(entry: dict, classes: int) -> dict:
    """What `write_decoder` made, as in a checkpoint. Raises ValueError where it does not fit so
    many classes."""
    packed = entry.get("language_model")
    if not packed:
        return entry
    try:
        values = {
            name: base64.b64decode(packed[name], validate=True)
            for name in ("unigram", "backoff", "values")
        }
        unigram, backoff, values = (np.frombuffer(one, "<f4").copy() for one in values.values())
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
    model = {"table": table, "unigram": unigram, "backoff": backoff}
    return {**entry, "language_model": {name: torch.from_numpy(one) for name, one in model.items()}}


class ExportedModel:
    """An ONNX file of export_model.py.

    model = ExportedModel(Path("model.onnx"))
    log_probs, steps = model(landmarks, detected, lengths)

    Attributes: `vocabulary` (glosses; class 0 is the blank), `decoder` (as a checkpoint's `decoder`
    entry), `fps` and `aspect_ratio` that it was trained at, `corpus`, `simulated`, `composed`,
    `kind` ('teacher' or 'student'), `lookahead` (frames, or None: it reads whole sentences),
    `facts` (the metadata as it stands).
    """

    def __init__(self, path: Path, threads: int = 0):
        """threads: of onnxruntime, 0 for its own choice. Raises DataError when the file is missing,
        broken or not one of this project's."""
        if not path.is_file():
            raise DataError(f"exported model {path} does not exist")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4  # what fails is said below, in one line
        try:
            self._session = onnxruntime.InferenceSession(
                path, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its exceptions have no common base but this
            raise DataError(
                f"{path} is not a readable ONNX file: {' '.join(str(error).split())[:200]}"
            ) from None
        found = self._session.get_modelmeta().custom_metadata_map
        names = (
            [node.name for node in self._session.get_inputs()],
            [node.name for node in self._session.get_outputs()],
        )
        if names != (list(INPUTS), list(OUTPUTS)) or not found.keys() >= _KINDS.keys():
            raise DataError(f"{path} is an ONNX file, but not one of export_model.py")
        try:
            self.facts = {name: json.loads(found[name]) for name in _KINDS}
        except (ValueError, RecursionError):
            raise DataError(f"{path}: its metadata cannot be read; export it again") from None
        wrong = [name for name, kind in _KINDS.items() if not isinstance(self.facts[name], kind)]
        if wrong or not all(isinstance(gloss, str) for gloss in self.facts["vocabulary"]):
            raise DataError(
                f"{path}: '{(wrong or ['vocabulary'])[0]}' of its metadata is not usable; export it again"
            )
        if (self.facts["format_version"], self.facts["layout"]) != (FORMAT_VERSION, LAYOUT):
            version, layout = self.facts["format_version"], self.facts["layout"]
            raise DataError(
                f"{path}: format {version}, layout {layout}; this program reads {FORMAT_VERSION}, {LAYOUT}"
            )
        self.path = path
        try:
            self.decoder = read_decoder(self.facts["decoder"], len(self.facts["vocabulary"]) + 1)
        except ValueError as error:
            raise DataError(f"{path}: its metadata holds {error}; export it again") from None
        for name in ("fps", "aspect_ratio", "corpus", "simulated", "composed", "kind", "lookahead"):
            setattr(self, name, self.facts[name])
        self.vocabulary = tuple(self.facts["vocabulary"])

    def __call__(
        self,
        landmarks: np.ndarray,
        detected: np.ndarray,
        lengths: np.ndarray,
        aspect_ratio: float | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """landmarks float (B, T, 543, 3) as MediaPipe gives them, detected bool (B, T, 4), lengths int (B,)
        -> log_probs float32 (B, ceil(T / 4), V), steps int64 (B,).

        aspect_ratio: width / height of the images where it is not the training corpus's.
        """
        shape = landmarks.shape[:2]
        assert landmarks.shape == (*shape, NUM_LANDMARKS, NUM_COORDINATES) and detected.shape == (
            *shape,
            len(PARTS),
        )
        landmarks = landmarks.astype(np.float32)
        if aspect_ratio is not None:  # x and z are fractions of the width
            landmarks *= np.array(
                [aspect_ratio / self.aspect_ratio, 1.0, aspect_ratio / self.aspect_ratio],
                np.float32,
            )
        values = (
            np.ascontiguousarray(landmarks),
            detected.astype(bool),
            np.asarray(lengths, dtype=np.int64),
        )
        return tuple(self._session.run(None, dict(zip(INPUTS, values, strict=True))))
