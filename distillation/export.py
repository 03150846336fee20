"""A checkpoint's log-posteriors written as soft targets, sentence by sentence."""

import dataclasses
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm
from training.saved_config import read_config

from data.augmentation import draw_augmentation
from data.augmentation_config import AugmentationConfig
from data.corpus import sha256_of
from data.ctc_lengths import ctc_steps, min_frames
from data.ctc_targets import PreparedSplit
from data.pipeline import FeaturePipeline
from distillation.soft_targets import SoftTargetRequest, SoftTargetWriter
from errors import DataError
from inference.model_on_corpus import ModelOnCorpus, open_model_on_corpus
from models.build import is_causal


@dataclass(frozen=True)
class SoftTargetExportRequest:
    """What export_soft_targets.py was asked: see its --help."""

    checkpoint: Path
    data_dir: str | None
    splits: tuple[str, ...]
    temperature: float
    top_k: int | None
    views: int
    seed: int
    output_dir: Path
    device: str


def export_soft_targets(options: SoftTargetExportRequest) -> dict:
    """Write the soft targets, or go on with them. Returns soft_targets.json's content. Raises
    UsageError and DataError.

    View 0 of every split is the sentence as it is; with views > 0 the train split has views 1 to
    `views` instead. Memory stays at one sentence.
    """
    judged = open_model_on_corpus(options.checkpoint, options.data_dir, options.device)
    corpus = judged.corpus
    ranges = dataclasses.replace(
        read_config(judged.checkpoint, options.checkpoint).augmentation, enabled=True
    )
    request = SoftTargetRequest(
        corpus={
            "name": corpus.name,
            "path": str(corpus.path),
            "fingerprint": corpus.fingerprint,
            "simulated": corpus.simulated,
            "composed": corpus.composed,
        },
        checkpoint={"path": str(options.checkpoint), "sha256": sha256_of(options.checkpoint)},
        vocabulary=judged.vocabulary.glosses,
        temperature=options.temperature,
        top_k=options.top_k,
        views=options.views,
        seed=options.seed,
        augmentation=_plain(ranges),
    )
    prepared = {name: judged.prepared(name) for name in dict.fromkeys(options.splits)}
    writer = SoftTargetWriter(options.output_dir, request, list(prepared))
    views = {name: views_of(name, options.views) for name in prepared}
    counts = {
        name: _steps(split, views[name], ranges, options.seed) for name, split in prepared.items()
    }
    size = sum(counts.values()) * request.row_bytes
    shown = ", ".join(f"{name} {counts[name]:,}" for name in counts)
    kept = (
        f"{request.classes} classes"
        if request.top_k is None
        else f"{request.top_k} of {request.classes} classes"
    )
    print(
        f"soft targets of {corpus.describe()}: {shown} steps, {kept}: {size / 2**20:,.1f} MiB in {options.output_dir}"
    )
    there = writer.begin()
    free = shutil.disk_usage(writer.partial).free
    if size > free:
        raise DataError(
            f"{options.output_dir} needs {size / 2**20:,.0f} MiB, {free / 2**20:,.0f} MiB are free there"
        )
    if there:
        print(f"going on with {writer.partial}: {there} sentences and views are there")
    for name, split in prepared.items():
        for view in views[name]:
            _export_view(judged, split, view, ranges, options.seed, options.temperature, writer)
    facts = writer.finish()
    for name, entry in facts["splits"].items():
        print(
            f"{name}: {entry['rows']:,} steps; storing lost {entry['lost_nats_per_step']:.2g} nats of information a step"
        )
    print(f"soft targets: {options.output_dir}")
    return facts


def views_of(split: str, views: int) -> list[int]:
    """The views that a split is exported in: the sentence as it is (0), or train's augmented views
    from 1."""
    return list(range(1, views + 1)) if split == "train" and views else [0]


def _plain(ranges: AugmentationConfig) -> dict:
    values = dataclasses.asdict(ranges).items()
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values}


def _steps(
    split: PreparedSplit, views: Sequence[int], ranges: AugmentationConfig, seed: int
) -> int:
    """Output steps of all views together."""
    total = 0
    for sentence in split.split.sentences:
        for view in views:
            frames = sentence.frames
            if view:
                frames = len(
                    draw_augmentation(
                        ranges, seed, view, sentence.id, frames, min_frames(sentence.glosses)
                    ).times
                )
            total += ctc_steps(frames)
    return total


def _export_view(
    judged: ModelOnCorpus,
    prepared: PreparedSplit,
    view: int,
    ranges: AugmentationConfig,
    seed: int,
    temperature: float,
    writer: SoftTargetWriter,
) -> None:
    split = prepared.split
    done = writer.done(split.name)
    left = [
        index for index, sentence in enumerate(split.sentences) if (sentence.id, view) not in done
    ]
    title = f"{split.name} view {view}" if view else split.name
    rows = _log_probs(judged, prepared, left, view, ranges, seed)
    for index, log_probs in tqdm(
        rows, title, len(left), leave=False, unit="sentence", disable=None
    ):  # no bar in a pipe
        if not log_probs.isfinite().all():
            raise DataError(
                f"{split.name} sentence {split.sentences[index].id}: the log-probabilities are not finite"
            )
        writer.add(
            split.name, split.sentences[index].id, view, (log_probs / temperature).log_softmax(-1)
        )


@torch.no_grad()
def _log_probs(
    judged: ModelOnCorpus,
    prepared: PreparedSplit,
    indices: Sequence[int],
    view: int,
    ranges: AugmentationConfig,
    seed: int,
) -> Iterator[tuple[int, torch.Tensor]]:
    """Index and float32 (steps, V) of each sentence, one at a time: no sentence's values depend on
    its neighbours."""
    model = judged.model.eval()
    pipeline = FeaturePipeline(judged.corpus.aspect_ratio, judged.device, is_causal(model.config))
    plan = [np.array([index]) for index in indices]
    ranges = dataclasses.replace(ranges, enabled=view > 0)
    for batch in pipeline.augmented_batches(prepared, plan, ranges, seed, view):
        output = model(batch.features, batch.lengths, batch.detected)
        yield int(batch.indices[0]), output.log_probs[0].float().cpu()
