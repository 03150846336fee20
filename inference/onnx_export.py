"""A checkpoint as one file that other programs can run: landmarks in, log-probabilities out.

Features and standardisation are inside the graph, batch and time are free. torch's TorchScript
exporter is used: the newer one needs a further package (onnxscript), and what is here has no
control flow to lose.
"""

import json
import logging
import os
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor, nn
from training.saved_config import read_config

from data.batching import load_batch
from data.corpus import Corpus, Split, describe_corpus, sha256_of
from data.ctc_targets import prepare_split
from data.features import feature_blocks, normalize_landmarks
from data.landmarks import LAYOUT
from data.vocabulary import Vocabulary
from decoding.greedy import greedy_decode
from decoding.scoring import score
from errors import DataError, UsageError
from inference.onnx_model import FORMAT_VERSION, INPUTS, OUTPUTS, ExportedModel, write_decoder
from models.build import is_causal, load_model, model_kind
from models.checkpoint import load_checkpoint

OPSET = 17
TOLERANCE = 1e-4  # between torch and the exported file, of log-probabilities
_CHECKED = 64  # recordings that are compared
_EXAMPLE = (2, 9)  # sentences and frames that the graph is traced with


@dataclass(frozen=True)
class OnnxExportRequest:
    """What export_model.py was asked: see its --help."""

    checkpoint: Path
    format: str
    output: Path
    int8: bool
    data_dir: str | None


class LandmarkModel(nn.Module):
    """Features, standardisation and model in one: landmarks as stored -> log_probs (B, T', V),
    steps (B,)."""

    def __init__(self, model: nn.Module, aspect_ratio: float):
        super().__init__()
        self.model, self.aspect_ratio = model.requires_grad_(False), aspect_ratio
        self.causal = is_causal(model.config)

    def forward(
        self, landmarks: Tensor, detected: Tensor, lengths: Tensor
    ) -> tuple[Tensor, Tensor]:
        """landmarks float32 (B, T, 543, 3), detected bool (B, T, 4), lengths int64 (B,)."""
        body, detected = normalize_landmarks(
            landmarks, detected, lengths, self.aspect_ratio, self.causal
        )
        output = self.model(feature_blocks(body, lengths), lengths, detected)
        return output.log_probs, output.lengths


def export_model(options: OnnxExportRequest) -> bool:
    """Write the file and compare it with torch on recordings. Returns whether they agree to
    TOLERANCE (int8: always True, its cost in WER is printed). Raises UsageError and DataError."""
    if options.int8 and options.format != "onnx":
        raise UsageError("--int8 quantises ONNX files: use it with --format onnx")
    if options.output.exists():
        raise UsageError(
            f"{options.output} already exists: choose another --output or remove it first"
        )
    checkpoint = load_checkpoint(options.checkpoint)
    config = read_config(checkpoint, options.checkpoint)
    vocabulary = Vocabulary(checkpoint["vocabulary"])
    model = load_model(
        checkpoint, options.checkpoint, config.model, vocabulary, config.training.seed
    ).eval()
    corpus = _corpus(options.data_dir, checkpoint)
    if corpus is None:
        raise DataError(
            f"{options.checkpoint} was trained on the corpus {checkpoint['corpus']['path']}, which does not exist here; its "
            "aspect ratio and frame rate are needed: say where it is with --data_dir"
        )
    whole = LandmarkModel(model, corpus.aspect_ratio).eval()
    facts = _metadata(checkpoint, options.checkpoint, corpus, model, options.int8)
    try:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=options.output.parent, prefix=".export-") as folder:
            partial = Path(folder) / "model"
            if options.format == "torchscript":
                _write_torchscript(whole, partial, facts)
            else:
                write_onnx(whole, partial, facts, options.int8)
            os.replace(partial, options.output)
    except OSError as error:
        raise DataError(f"cannot write {options.output}: {error.strerror}") from error
    size = options.output.stat().st_size / 2**20
    parameters = sum(parameter.numel() for parameter in model.parameters())
    trained_on = describe_corpus(facts["corpus"], facts["simulated"], facts["composed"])
    print(
        f"{options.output}: {facts['kind']} trained on {trained_on}, {parameters:,} parameters, {size:.1f} MiB"
    )
    return _compare(options, whole, corpus, vocabulary)


def _corpus(data_dir: str | None, checkpoint: dict) -> Corpus | None:
    path = Path(data_dir or checkpoint["corpus"]["path"])
    return Corpus(path) if data_dir or path.exists() else None


def _metadata(checkpoint: dict, path: Path, corpus: Corpus, model: nn.Module, int8: bool) -> dict:
    return {
        "format_version": FORMAT_VERSION,
        "kind": model_kind(checkpoint),
        "layout": LAYOUT,
        "vocabulary": checkpoint["vocabulary"],
        "decoder": write_decoder(checkpoint["decoder"]),
        "fps": corpus.fps,
        "aspect_ratio": corpus.aspect_ratio,
        "corpus": checkpoint["corpus"]["name"],
        "simulated": checkpoint["corpus"]["simulated"],
        "composed": checkpoint["corpus"]["composed"],
        "lookahead": getattr(model, "lookahead", None),
        "int8": int8,
        "checkpoint_sha256": sha256_of(path),
        "versions": {"torch": torch.__version__, "onnx": onnx.__version__},
    }


def _example() -> tuple[Tensor, Tensor, Tensor]:
    batch, frames = _EXAMPLE
    landmarks = torch.linspace(0, 1, batch * frames * 543 * 3).reshape(batch, frames, 543, 3)
    return (
        landmarks,
        torch.ones(batch, frames, 4, dtype=torch.bool),
        torch.tensor([frames, frames - 2]),
    )


def _write_torchscript(whole: LandmarkModel, path: Path, facts: dict) -> None:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of tracing, whose result is compared with the model below
        traced = torch.jit.trace(whole, _example())
        torch.jit.save(
            traced, path, _extra_files={"metadata.json": json.dumps(facts, ensure_ascii=False)}
        )


def write_onnx(whole: LandmarkModel, path: Path, facts: dict, int8: bool) -> None:
    """Write the ONNX file with `facts` as its metadata, one JSON value a key. A file `full` beside
    it is used and removed."""
    free = {0: "batch", 1: "frames"}
    axes = {"landmarks": free, "detected": free, "lengths": {0: "batch"}}
    axes |= {"log_probs": {0: "batch", 1: "steps"}, "steps": {0: "batch"}}
    full = path.with_name("full")
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # as above; also that another exporter is the default now
        torch.onnx.export(
            whole,
            _example(),
            full,
            dynamo=False,
            opset_version=OPSET,
            input_names=list(INPUTS),
            output_names=list(OUTPUTS),
            dynamic_axes=axes,
        )
    if int8:
        logging.disable(logging.WARNING)  # advice to run a pre-processing that changes nothing here
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
    options: OnnxExportRequest, whole: LandmarkModel, corpus: Corpus, vocabulary: Vocabulary
) -> bool:
    """Both on the dev split's first recordings: the largest difference of log-probabilities, and
    the WER of each."""
    split = corpus.split("dev")
    prepared = prepare_split(split, vocabulary)
    if options.format == "torchscript":
        loaded = torch.jit.load(options.output)

        def run(landmarks, detected, lengths):
            return tuple(
                tensor.numpy()
                for tensor in loaded(*map(torch.from_numpy, (landmarks, detected, lengths)))
            )

    else:
        run = ExportedModel(options.output)
    count = min(_CHECKED, len(split))
    worst, readings = 0.0, ([], [])
    for index in range(count):
        inputs = _inputs(split, index)
        with torch.inference_mode():
            own, steps = whole(*map(torch.from_numpy, inputs))
        other, other_steps = run(*inputs)
        if other.shape != own.shape or other_steps.tolist() != steps.tolist():
            raise DataError(
                f"{options.output}: dev sentence {split.sentences[index].id} has other steps than in torch"
            )
        worst = max(worst, float(np.abs(other - own.numpy()).max()))
        for reading, log_probs in zip(
            readings, (own, torch.from_numpy(np.asarray(other))), strict=True
        ):
            reading.append(vocabulary.decode(greedy_decode(log_probs, steps)[0]))
    what = "int8" if options.int8 else options.format
    print(f"{count} dev sentences of {corpus.describe()}: largest difference to torch {worst:.1e}")
    if prepared.unknown_glosses:
        print(
            f"no WER: {len(prepared.unknown_glosses)} of the split's glosses are not in the model's vocabulary"
        )
    else:
        before, after = (score(prepared.references[:count], reading).wer for reading in readings)
        print(f"greedy WER: {before:.2f} % in torch, {after:.2f} % as {what}")
    return options.int8 or worst <= TOLERANCE


def _inputs(split: Split, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    batch = load_batch(split, np.array([index]))
    return batch.landmarks.float().numpy(), batch.detected.numpy(), batch.lengths.numpy()
