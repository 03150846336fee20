"""Exports a checkpoint to a file that other programs can run: landmarks in, log-probabilities out.

Features and standardisation are inside the graph; batch size and number of frames are free. The
ONNX files are made with torch's TorchScript exporter: the newer exporter needs another package
(onnxscript), and these models have no control flow that tracing could lose.
"""

import io
import json
import logging
import math
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor, nn

from data.checks.changed_files import verify_as_for_training
from data.checks.file_hash import sha256_of
from data.corpus import Corpus, Split, describe_corpus
from data.features import feature_blocks, frame_mask, normalize_landmarks
from data.landmarks import LAYOUT, NUM_COORDINATES, NUM_LANDMARKS, PARTS
from data.output_place import check_output_files, is_device
from data.resampling import same_rate
from data.vocabulary import Vocabulary
from decoding.greedy import greedy_decode
from decoding.scoring import score
from errors import DataError, UsageError, counted
from inference.onnx_model import FORMAT_VERSION, INPUTS, OUTPUTS, ExportedModel, pack_decoder
from inference.opened_checkpoint import (
    FrameFormat,
    OpenedCheckpoint,
    open_checkpoint,
    other_corpus_in_place,
)
from inference.posteriors import check_finite
from inference.presence import blank_without_pose
from inference.requests import ExportRequest
from models.build import is_causal, leading_hand_rule, model_kind
from models.part_encoder import PartEncoderModel

OPSET = 17
TOLERANCE = 1e-4  # largest allowed difference between torch and the file, see `_difference`
_CHECKED = 64  # recordings that are compared
_MADE_UP_FRAMES = (1, 30, 75, 200)  # of the recordings that are compared without a corpus
_EXAMPLE = (2, 9)  # sentences and frames of the input that the graph is traced with

# landmarks, detected, lengths -> log_probs, steps
_ExportedFunction = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


class LandmarkModel(nn.Module):
    """Features, standardisation and model in one module: landmarks as stored in a corpus ->
    log_probs (B, T', V), steps (B,). The blank where nobody is seen (`blank_without_pose`)."""

    def __init__(self, model: PartEncoderModel, aspect_ratio: float):
        """model: teacher or student; aspect_ratio: width / height of the images."""
        super().__init__()
        self.model, self.aspect_ratio = model.requires_grad_(False), aspect_ratio
        self.causal = is_causal(model.config)
        self.leading_hand = leading_hand_rule(model.config)

    def forward(
        self, landmarks: Tensor, detected: Tensor, lengths: Tensor
    ) -> tuple[Tensor, Tensor]:
        """landmarks float32 (B, T, 543, 3), detected bool (B, T, 4), lengths int64 (B,)."""
        body, detected = normalize_landmarks(
            landmarks,
            detected,
            lengths,
            self.aspect_ratio,
            self.causal,
            leading_hand=self.leading_hand,
        )
        output = self.model(feature_blocks(body, lengths), lengths, detected)
        inside = frame_mask(lengths, landmarks.shape[1])[..., None]
        log_probs = self.model.predict(output)
        return blank_without_pose(log_probs, detected & inside), output.lengths


def export_model(request: ExportRequest) -> bool:
    """Write the file, and compare it with torch: on recordings of the dev split, or without a
    corpus on made-up ones.

    Frame rate and aspect ratio of the file are the checkpoint's, whatever the corpus has. Returns
    whether file and torch agree to TOLERANCE. For int8 it is always True; what int8 costs in WER is
    printed. Raises UsageError and DataError.
    """
    _check_output(request)
    opened = open_checkpoint(request.checkpoint, "cpu")
    corpus = _open_corpus(request, opened.content)
    frames = opened.frame_format(corpus)
    if frames is None:
        raise DataError(
            f"{request.checkpoint} is of an older version and does not give its frame rate and "
            "aspect ratio: give the corpus that it was trained on with --data_dir"
        )
    model = LandmarkModel(opened.model, frames.aspect_ratio).eval()
    facts = _metadata(request, opened, frames)
    output = Path(os.path.realpath(request.output))  # a link stays, its file is replaced
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=".export-") as folder:
            partial = Path(folder) / "model"
            if request.format == "torchscript":
                _write_torchscript(model, partial, facts)
            else:
                write_onnx(model, partial, facts, request.int8)
            os.replace(partial, output)
    except OSError as error:
        raise DataError(f"cannot write {request.output}: {error.strerror}") from error
    size = request.output.stat().st_size / 2**20
    parameters = sum(parameter.numel() for parameter in opened.model.parameters())
    trained_on = describe_corpus(facts["corpus"], facts["simulated"], facts["composed"])
    print(
        f"{request.output}: {facts['kind']} trained on {trained_on}, {parameters:,} parameters, "
        f"{size:.1f} MiB"
    )
    if corpus is None:
        return _compare_on_made_up_recordings(request, model)
    return _compare(request, model, corpus, frames, opened.vocabulary)


def _check_output(request: ExportRequest) -> None:
    """Raise UsageError or DataError unless the file can be written, and is no file of a run."""
    if is_device(request.output):
        raise UsageError(f"--output {request.output} is a device: expected a file to write")
    if os.path.realpath(request.output) == os.path.realpath(request.checkpoint):
        raise UsageError(f"--output {request.output} is the checkpoint: choose another name")
    # A run has best_model.pth, last.pth, previous.pth and a .sha256 of each; a link can lead there
    for name in (request.output.name, os.path.basename(os.path.realpath(request.output))):
        if name.lower().endswith((".pth", ".sha256")):
            raise UsageError(
                f"--output {request.output}: {name} ends like a checkpoint or its hash, which an "
                "export never replaces: expected a name such as model.onnx or model.pt"
            )
    request.refuse_unknown_ending()
    check_output_files([request.output], request.overwrite)


def _open_corpus(request: ExportRequest, checkpoint: dict[str, Any]) -> Corpus | None:
    """The corpus of --data_dir, or the one that the checkpoint was trained on; None if that one is
    not here any more. Raises DataError if the corpus of --data_dir has no dev split."""
    trained_on = checkpoint["corpus"]["path"]
    try:
        corpus = Corpus(request.data_dir or trained_on)
        corpus.split("dev")
    except DataError:
        if request.data_dir:
            raise
        print(
            f"note: {trained_on}, the corpus that the model was trained on, is not here with its "
            "dev split: no WER, and file and torch are compared on made-up recordings (--data_dir "
            "gives another corpus)"
        )
        return None
    if not request.data_dir:
        verify_as_for_training(corpus)
        if other := other_corpus_in_place(corpus, checkpoint, request.checkpoint):
            print(f"warning: {other}")
    return corpus


def _metadata(
    request: ExportRequest, opened: OpenedCheckpoint, frames: FrameFormat
) -> dict[str, Any]:
    """What the file states about its model, as plain values."""
    checkpoint = opened.content
    return {
        "format_version": FORMAT_VERSION,
        "kind": model_kind(checkpoint),
        "layout": LAYOUT,
        "vocabulary": checkpoint["vocabulary"],
        "decoder": pack_decoder(checkpoint["decoder"]),
        "fps": frames.fps,
        "aspect_ratio": frames.aspect_ratio,
        "corpus": checkpoint["corpus"]["name"],
        "simulated": checkpoint["corpus"]["simulated"],
        "composed": checkpoint["corpus"]["composed"],
        "extractor": checkpoint["corpus"].get("extractor"),
        "lookahead": getattr(opened.model, "lookahead", None),
        "int8": request.int8,
        "checkpoint_sha256": sha256_of(request.checkpoint),
        "versions": {"torch": torch.__version__, "onnx": onnx.__version__},
    }


def _example() -> tuple[Tensor, Tensor, Tensor]:
    """The input that the graph is traced with: landmarks, detected, lengths."""
    batch, frames = _EXAMPLE
    landmarks = torch.linspace(0, 1, batch * frames * 543 * 3).reshape(batch, frames, 543, 3)
    return (
        landmarks,
        torch.ones(batch, frames, 4, dtype=torch.bool),
        torch.tensor([frames, frames - 2]),
    )


def _write_torchscript(model: LandmarkModel, path: Path, facts: dict[str, Any]) -> None:
    with warnings.catch_warnings(), torch.no_grad():
        # About tracing; `_compare` compares the result with the model.
        warnings.simplefilter("ignore")
        # torch's own check fails where the first call fills a cache, and for NaN
        traced = torch.jit.trace(model, _example(), check_trace=False)  # type: ignore[no-untyped-call]
    content = io.BytesIO()  # torch's own writer ends the process on a full disk
    metadata = {"metadata.json": json.dumps(facts, ensure_ascii=False)}
    torch.jit.save(traced, content, _extra_files=metadata)
    path.write_bytes(content.getbuffer())


def write_onnx(model: LandmarkModel, path: Path, facts: dict[str, Any], int8: bool) -> None:
    """Write an ONNX file.

    It also writes and removes a file `full` in the same folder.

    Args:
        facts: the file's metadata, one JSON value per key.
        int8: quantise the weights to 8 bits.
    """
    free = {0: "batch", 1: "frames"}
    axes = {"landmarks": free, "detected": free, "lengths": {0: "batch"}}
    axes |= {"log_probs": {0: "batch", 1: "steps"}, "steps": {0: "batch"}}
    full = path.with_name("full")
    with warnings.catch_warnings(), torch.no_grad():
        # About tracing, and that torch has another exporter by default.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            _example(),
            full,
            dynamo=False,
            opset_version=OPSET,
            input_names=list(INPUTS),
            output_names=list(OUTPUTS),
            dynamic_axes=axes,
        )
    if int8:
        # It advises a preprocessing that changes nothing here.
        logging.disable(logging.WARNING)
        try:
            quantize_dynamic(full, path, weight_type=QuantType.QUInt8)
        finally:
            logging.disable(logging.NOTSET)
        full.unlink()
    else:
        os.replace(full, path)
    graph = onnx.load(path)
    for name, value in facts.items():
        entry = graph.metadata_props.add()
        entry.key, entry.value = name, json.dumps(value, ensure_ascii=False)
    onnx.checker.check_model(graph)
    onnx.save(graph, path)


def _compare(
    request: ExportRequest,
    model: LandmarkModel,
    corpus: Corpus,
    frames: FrameFormat,
    vocabulary: Vocabulary,
) -> bool:
    """Run the model and the file on the dev split's first recordings. Print the largest difference
    of their outputs and the WER of each. Returns whether they agree to TOLERANCE.

    frames: of the model; recordings of another aspect ratio are converted to its own.
    """
    split = corpus.split("dev")
    run_file = _open_exported(request)
    count = min(_CHECKED, len(split))
    largest = 0.0
    in_torch: list[list[str]] = []  # hypotheses
    in_file: list[list[str]] = []
    for index in range(count):
        inputs = _inputs(split, index, corpus.aspect_ratio / frames.aspect_ratio)
        where = f"dev sentence {split.sentences[index].id}"
        expected, found, steps = _run_both(request, model, run_file, inputs, where)
        largest = max(largest, _difference(expected, found))
        for hypotheses, log_probs in ((in_torch, expected), (in_file, found)):
            hypotheses.append(vocabulary.decode(greedy_decode(log_probs, steps)[0]))
    where = f"the {'first ' if count < len(split) else ''}{count} sentences of dev"
    print(f"{where} of {corpus.describe()}: largest difference to torch {largest:.1e}")
    references = [sentence.glosses for sentence in split.sentences[:count]]
    if not any(references):
        print("no WER: these sentences have no glosses")
    elif not same_rate(corpus.fps, frames.fps):
        print(
            f"no WER: the corpus has {corpus.fps:g} frames/s and the model {frames.fps:g} "
            "(prepare_data.py resample makes one of that rate)"
        )
    else:
        if unknown := vocabulary.unknown(references):
            print(
                f"note: {counted(len(unknown), 'occurrence')} of "
                f"{counted(len(set(unknown)), 'gloss')} outside the model's vocabulary, scored as "
                "errors for both"
            )
        before, after = score(references, in_torch).wer, score(references, in_file).wer
        name = "int8" if request.int8 else request.format
        print(f"greedy WER on {where}: {before:.2f} % in torch, {after:.2f} % as {name}")
    return _agrees(request, largest)


def _compare_on_made_up_recordings(request: ExportRequest, model: LandmarkModel) -> bool:
    """Run the model and the file on recordings that are random walks. Print the largest difference
    of their outputs. Returns whether they agree to TOLERANCE."""
    run_file, random = _open_exported(request), np.random.default_rng(0)
    largest = 0.0
    for frames in _MADE_UP_FRAMES:
        steps = random.normal(0, 0.01, (1, frames, NUM_LANDMARKS, NUM_COORDINATES))
        start = random.uniform(0.2, 0.8, (1, 1, NUM_LANDMARKS, NUM_COORDINATES))
        inputs = (
            (start + steps.cumsum(1)).astype(np.float32),
            random.random((1, frames, len(PARTS))) < 0.9,
            np.array([frames]),
        )
        expected, found, _ = _run_both(request, model, run_file, inputs, f"{frames} frames")
        largest = max(largest, _difference(expected, found))
    print(f"{len(_MADE_UP_FRAMES)} made-up recordings: largest difference to torch {largest:.1e}")
    return _agrees(request, largest)


def _difference(expected: Tensor, found: Tensor) -> float:
    """The largest difference of the probabilities, or a hundredth of that of the log-probabilities
    if that is larger. Infinite where the file's output has values that are not numbers.

    The log-probabilities of classes that are almost impossible differ most, by rounding alone.
    """
    of_logarithms = float((found - expected).abs().max())
    of_probabilities = float((found.exp() - expected.exp()).abs().max())
    largest = max(of_probabilities, of_logarithms / 100)
    return math.inf if math.isnan(of_logarithms) else largest


def _agrees(request: ExportRequest, largest: float) -> bool:
    """Whether the file can be used. If not, an error says so."""
    allowed = math.inf if request.int8 else TOLERANCE
    agrees = largest < math.inf and largest <= allowed
    if not agrees:
        found = f"differs from torch by {largest:.1e}, expected at most {allowed:.0e}"
        if largest == math.inf:
            found = "predicts values that are not numbers"
        print(
            f"error: {request.output} {found}: do not use it; try another --format",
            file=sys.stderr,
        )
    return agrees


def _run_both(
    request: ExportRequest,
    model: LandmarkModel,
    run_file: _ExportedFunction,
    inputs: tuple[np.ndarray, np.ndarray, np.ndarray],
    where: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """The log-probabilities of the model and of the file, float32 (1, T', V), and the steps.

    Raises DataError, which names `where`, if the steps differ or the model's values are not finite.
    """
    with torch.inference_mode():
        expected, steps = model(*map(torch.from_numpy, inputs))
    check_finite(expected, where)
    found, found_steps = run_file(*inputs)
    if found.shape != expected.shape or found_steps.tolist() != steps.tolist():
        raise DataError(f"{request.output}: the number of steps differs from torch in {where}")
    return expected, torch.from_numpy(np.asarray(found)), steps


def _open_exported(request: ExportRequest) -> _ExportedFunction:
    """The exported file as a function: landmarks, detected, lengths -> log_probs, steps."""
    if request.format == "onnx":
        return ExportedModel(request.output)
    module = torch.jit.load(request.output)  # type: ignore[no-untyped-call]

    def run(
        landmarks: np.ndarray, detected: np.ndarray, lengths: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        log_probs, steps = module(*map(torch.from_numpy, (landmarks, detected, lengths)))
        return log_probs.numpy(), steps.numpy()

    return run


def _inputs(split: Split, index: int, ratio: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """landmarks, detected and lengths of one sentence. ratio: aspect ratio of the split's pictures
    / that of the model."""
    landmarks, detected = split.read(index)
    landmarks = landmarks.astype(np.float32) * np.array([ratio, 1, ratio], np.float32)
    return landmarks[None], np.array(detected)[None], np.array([len(detected)])
