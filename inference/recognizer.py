"""What transcription needs from a model: landmarks in, glosses out, and what it was trained on.

Only `open_recognizer` knows where a model comes from. Everything else works with a `Recognizer`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data.corpus import Split, describe_corpus
from data.ctc_lengths import TIME_STRIDE
from data.handedness.leading_hand_rules import BY_SIGNER
from data.pipeline import FeaturePipeline
from data.sentences import Sentence
from data.vocabulary import Vocabulary
from decoding.alignment import timed_glosses
from decoding.batches import Decoder
from decoding.closed_set import ClosedSet
from decoding.decoders import describe_decoder, make_decoder, read_decoder_entry
from decoding.timed_gloss import TimedGloss
from errors import DataError, UsageError
from inference.opened_checkpoint import FrameFormat, corpus_of_training, open_checkpoint
from inference.posteriors import sentence_posteriors
from inference.presence import blank_without_pose
from inference.requests import TRAIN
from inference.sentence_lists import open_closed_set
from models.build import is_causal, leading_hand_rule
from models.devices import Precision
from models.student import Student

# Of a checkpoint that does not give it and whose corpus is not on this machine
ASSUMED_FRAME_FORMAT = FrameFormat(25.0, 4 / 3)


@dataclass(frozen=True)
class Recognizer:
    """A model and its decoder, ready to transcribe.

    Args:
        log_probs: landmarks float (T, 543, 3) in fractions of the image, at `fps` and
            `aspect_ratio`, T >= 1, and detected bool (T, 4) -> log-probabilities float32 (T', V) on
            the CPU, T' = ceil(T / 4); the blank where nobody is seen (`blank_without_pose`).
        decoder_description: the decoder's settings in words.
        fps: frames per second of the corpus that the model was trained on.
        aspect_ratio: width / height of that corpus's pictures.
        trained_on: that corpus in words.
        simulated: whether that corpus is of simulated signers.
        format_is_assumed: whether `fps` and `aspect_ratio` are unknown and only assumed.
        recording_decides: whether `log_probs` takes a third argument: whether the left hand leads,
            as decided for the recording as a whole. None lets the frames decide. Causal models,
            older models and exported files take no third argument.
        streaming_student: a causal student with greedy decoding, which can transcribe frame by
            frame; None for all other models and decoders.
        streaming_obstacle: why a causal student cannot transcribe frame by frame; None where
            it can, and for other models.
        whole_only: whether `decoder` needs the whole recording, so that windows make no sense.
        extractor: the extractor of that corpus, as `extractor_of` returns it; None: not known.
    """

    log_probs: Callable[..., Tensor]
    vocabulary: Vocabulary
    decoder: Decoder
    decoder_description: str
    fps: float
    aspect_ratio: float
    trained_on: str
    simulated: bool
    format_is_assumed: bool = False
    recording_decides: bool = False
    streaming_student: Student | None = None
    streaming_obstacle: str | None = None
    whole_only: bool = False
    extractor: object = None

    def transcribe(
        self,
        landmarks: np.ndarray,
        detected: np.ndarray,
        rate: float,
        left: bool | None = None,
    ) -> list[TimedGloss]:
        """The glosses of a recording, or of a window of one, with times from its first frame on.

        Args:
            landmarks: float (T, 543, 3), T >= 1.
            detected: bool (T, 4).
            rate: frames per second, for the times.
            left: whether the left hand leads; None: not decided. Only if `recording_decides`.
        """
        decided = () if left is None else (left,)
        log_probs = self.log_probs(landmarks, detected, *decided)
        (hypothesis,) = self.decoder(log_probs[None], torch.tensor([len(log_probs)]))
        return timed_glosses(
            log_probs, hypothesis, self.vocabulary, TIME_STRIDE / rate, len(landmarks) / rate
        )


def open_recognizer(
    path: Path, decoder: str | None, device: str, closed_set: str | None = None
) -> Recognizer:
    """The recognizer of a checkpoint, computed in fp32, or of a file of export_model.py.

    Args:
        decoder: 'greedy', 'adaptive', 'beam' or 'closed'; None for the one that was tuned on dev,
            else greedy.
        device: 'auto', 'cpu', 'cuda' or 'cuda:N'; an exported file runs on the CPU only.
        closed_set: of the decoder 'closed': the path of a text file; None or 'train' for the train
            split that the checkpoint was trained on.

    Raises UsageError and DataError.
    """
    if path.suffix == ".onnx":
        if device not in ("auto", "cpu"):
            raise UsageError(
                f"--device {device}: {path} runs on the CPU; leave --device out, or give the "
                "checkpoint instead"
            )
        return _open_exported(path, decoder, closed_set)
    if not path.exists():
        raise DataError(
            f"checkpoint {path} does not exist: expected best_model.pth of a run, or an .onnx file "
            "of export_model.py"
        )
    opened = open_checkpoint(path, device)
    model, corpus = opened.model, opened.content["corpus"]
    frames, assumed = opened.frame_format(), False
    if frames is None:
        frames, assumed = ASSUMED_FRAME_FORMAT, True
    causal = is_causal(model.config)
    rule = leading_hand_rule(model.config)
    pipeline = FeaturePipeline(frames.aspect_ratio, opened.device, causal, leading_hand=rule)
    precision = Precision("fp32", opened.device)

    def log_probs(landmarks: np.ndarray, detected: np.ndarray, left: bool | None = None) -> Tensor:
        pipeline.left = left
        split = Split("recording", [Sentence("", "", len(landmarks), ())], landmarks, detected)
        return sentence_posteriors(model, pipeline, split, precision, 0)

    sentences = None
    if decoder == "closed":
        sentences = open_closed_set(
            closed_set, corpus_of_training(opened.content), opened.vocabulary
        )
    chosen = _choose_decoder(opened.content["decoder"], decoder, sentences)
    student, obstacle = None, None
    if causal and chosen.is_greedy:
        assert isinstance(model, Student)
        student = model
    elif causal:
        obstacle = f"the {chosen.name} decoder needs the whole window (--decoder greedy does not)"
    return Recognizer(
        log_probs,
        opened.vocabulary,
        chosen.decode,
        model.prediction.named_beside(chosen.description),
        frames.fps,
        frames.aspect_ratio,
        describe_corpus(corpus["name"], corpus["simulated"], corpus["composed"]),
        bool(corpus["simulated"]),
        assumed,
        not causal and rule == BY_SIGNER,
        student,
        obstacle,
        whole_only=sentences is not None,
        extractor=corpus.get("extractor"),
    )


def _open_exported(path: Path, decoder: str | None, closed_set: str | None) -> Recognizer:
    """The recognizer of a file of export_model.py. onnxruntime runs it on the CPU; the file holds
    all it needs but the sentences of a closed set. Raises UsageError and DataError."""
    from inference.onnx_model import ExportedModel

    exported = ExportedModel(path)

    def log_probs(landmarks: np.ndarray, detected: np.ndarray) -> Tensor:
        output, _ = exported(landmarks[None], detected[None], np.array([len(landmarks)]))
        # Files of earlier versions do not do this themselves
        return blank_without_pose(torch.from_numpy(output), torch.tensor(detected[None]))[0]

    vocabulary, sentences = Vocabulary(exported.vocabulary), None
    if decoder == "closed":
        if closed_set in (None, TRAIN):
            raise UsageError(
                f"--decoder closed: {path} is an exported file, which does not have the sentences "
                "of its training: give a text file with one sentence per line as --closed_set"
            )
        sentences = open_closed_set(closed_set, None, vocabulary)
    chosen = _choose_decoder(exported.decoder, decoder, sentences)
    obstacle = None
    if exported.lookahead is not None:
        obstacle = "an exported file predicts whole windows (its checkpoint can stream)"
    return Recognizer(
        log_probs,
        vocabulary,
        chosen.decode,
        chosen.description,
        exported.fps,
        exported.aspect_ratio,
        describe_corpus(exported.corpus, exported.simulated, exported.composed),
        exported.simulated,
        streaming_obstacle=obstacle,
        whole_only=sentences is not None,
        extractor=exported.extractor,
    )


@dataclass(frozen=True)
class _ChosenDecoder:
    """is_greedy: whether it outputs the best class of each step, and nothing else."""

    name: str
    decode: Decoder
    description: str
    is_greedy: bool


def _choose_decoder(
    entry: dict[str, Any], name: str | None, closed_set: ClosedSet | None
) -> _ChosenDecoder:
    """The decoder of that name with the settings of a checkpoint's `decoder` entry. None: adaptive
    if it was tuned on dev, else greedy. Raises DataError."""
    settings, language_model, tuned_on = read_decoder_entry(entry)
    if name is None:
        name = "greedy" if tuned_on is None else "adaptive"
    return _ChosenDecoder(
        name,
        make_decoder(name, settings, language_model, closed_set),
        str(closed_set)
        if closed_set
        else describe_decoder(name, settings, language_model, tuned_on),
        name == "greedy" or (name == "adaptive" and settings.readings == "greedy"),
    )
