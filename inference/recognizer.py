"""What transcription needs of a model: landmarks in, log-probabilities out, a decoder, and what it
was trained on.

`open_recognizer` is the one place that knows where a model comes from; everything behind it sees a
`Recognizer` only.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data.corpus import Corpus, Sentence, Split, describe_corpus
from data.ctc_lengths import TIME_STRIDE
from data.pipeline import FeaturePipeline
from data.vocabulary import Vocabulary
from decoding.alignment import timed_glosses
from decoding.batches import Decoder
from decoding.decoders import describe_decoder, make_decoder, read_decoder_entry
from decoding.timed_gloss import TimedGloss
from errors import DataError, UsageError
from inference.opened_checkpoint import open_checkpoint
from inference.posteriors import compute_posteriors
from models.build import is_causal, load_model
from models.devices import Precision, choose_device

# Of checkpoints that do not say and whose corpus is not here
_ASSUMED_FPS, _ASSUMED_ASPECT_RATIO = 25.0, 4 / 3


@dataclass(frozen=True)
class Recognizer:
    """A model and its decoder, ready to read recordings.

    log_probs: landmarks float16 (T, 543, 3) as a corpus stores them, T >= 1, at `fps` frames a
    second and as fractions of an image of `aspect_ratio`, and detected bool (T, 4) ->
    log-probabilities float32 (T', V) on the CPU, T' = ceil(T / 4). corpus: what it was trained on,
    in words. assumed: fps and aspect ratio are not known but assumed.
    """

    log_probs: Callable[[np.ndarray, np.ndarray], Tensor]
    vocabulary: Vocabulary
    decoder: Decoder
    decoder_description: str
    fps: float
    aspect_ratio: float
    corpus: str
    simulated: bool
    assumed: bool = False

    def read(self, landmarks: np.ndarray, detected: np.ndarray, rate: float) -> list[TimedGloss]:
        """The glosses of a recording, or of a window of one; `rate`: frames a second by the clock
        that times are told in."""
        log_probs = self.log_probs(landmarks, detected)
        reading = self.decoder(log_probs[None], torch.tensor([len(log_probs)]))[0]
        return timed_glosses(
            log_probs, reading, self.vocabulary, TIME_STRIDE / rate, len(landmarks) / rate
        )


def open_recognizer(path: Path, decoder: str | None, device: str) -> Recognizer:
    """The model of a checkpoint, in fp32, or of a file of export_model.py.

    decoder: 'greedy', 'adaptive' or 'beam'; None is what dev chose, greedy where nothing was
    chosen. Raises UsageError and DataError.
    """
    if path.suffix == ".onnx":
        if device not in ("auto", "cpu"):
            raise UsageError(
                f"--device {device}: {path} runs on the CPU; leave --device out, or give the checkpoint itself"
            )
        return _open_exported(path, decoder)
    checkpoint, config, vocabulary = open_checkpoint(path)
    chosen = choose_device(device)
    model = load_model(checkpoint, path, config.model, vocabulary, config.training.seed).to(chosen)
    settings, language_model, tuned_on = read_decoder_entry(checkpoint["decoder"])
    name = decoder or ("greedy" if tuned_on is None else "adaptive")
    fps, aspect_ratio, assumed = _clock_and_shape(checkpoint["corpus"])
    pipeline = FeaturePipeline(aspect_ratio, chosen, is_causal(config.model))
    precision = Precision("fp32", chosen)

    def log_probs(landmarks: np.ndarray, detected: np.ndarray) -> Tensor:
        split = Split("recording", [Sentence("", "", len(landmarks), ())], landmarks, detected)
        return compute_posteriors(model, pipeline, split, precision, progress=False)[0]

    corpus = checkpoint["corpus"]
    return Recognizer(
        log_probs,
        vocabulary,
        make_decoder(name, settings, language_model),
        describe_decoder(name, settings, language_model, tuned_on),
        fps,
        aspect_ratio,
        describe_corpus(corpus["name"], corpus["simulated"], corpus["composed"]),
        bool(corpus["simulated"]),
        assumed,
    )


def _open_exported(path: Path, decoder: str | None) -> Recognizer:
    """A file of export_model.py, run by onnxruntime on the CPU; all it needs is in the file. Raises
    DataError."""
    from inference.onnx_model import ExportedModel

    exported = ExportedModel(path)
    settings, language_model, tuned_on = read_decoder_entry(exported.decoder)
    name = decoder or ("greedy" if tuned_on is None else "adaptive")

    def log_probs(landmarks: np.ndarray, detected: np.ndarray) -> Tensor:
        return torch.from_numpy(
            exported(landmarks[None], detected[None], np.array([len(landmarks)]))[0][0]
        )

    return Recognizer(
        log_probs,
        Vocabulary(exported.vocabulary),
        make_decoder(name, settings, language_model),
        describe_decoder(name, settings, language_model, tuned_on),
        exported.fps,
        exported.aspect_ratio,
        describe_corpus(exported.corpus, exported.simulated, exported.composed),
        exported.simulated,
    )


def _clock_and_shape(corpus: dict) -> tuple[float, float, bool]:
    """Frame rate and aspect ratio of the corpus a checkpoint was trained on, and whether they had
    to be assumed: an older checkpoint does not say them, but its corpus does where it is still
    there."""
    if "fps" in corpus and "aspect_ratio" in corpus:
        return corpus["fps"], corpus["aspect_ratio"], False
    try:
        found = Corpus(corpus["path"])
    except DataError:
        return _ASSUMED_FPS, _ASSUMED_ASPECT_RATIO, True
    same = found.fingerprint == corpus["fingerprint"]
    return (
        (found.fps, found.aspect_ratio, False)
        if same
        else (_ASSUMED_FPS, _ASSUMED_ASPECT_RATIO, True)
    )
