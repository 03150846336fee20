"""Run a teacher over a corpus and write its soft targets."""

import dataclasses
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data.augmentation.config import AugmentationConfig
from data.augmentation.draws import augmented_lengths, ids_and_lengths
from data.checks.file_hash import sha256_of
from data.ctc_lengths import ctc_steps
from data.ctc_targets import PreparedSplit
from data.pipeline import FeaturePipeline
from distillation.config import SoftTargetExportRequest
from distillation.known_glosses import refuse_unknown_glosses
from distillation.saved_config import read_saved_config
from distillation.soft_target_writer import SoftTargetWriter
from distillation.soft_targets import SoftTargetDescription
from errors import DataError
from inference.model_on_corpus import ModelOnCorpus, open_model_on_corpus
from models.build import is_causal, leading_hand_rule
from models.checkpoint import model_sha256
from progress_bar import ProgressBar


@dataclass(frozen=True)
class _Augmentation:
    """The draws of the views: view k is drawn as epoch k with this seed."""

    ranges: AugmentationConfig
    seed: int


def export_soft_targets(request: SoftTargetExportRequest) -> dict[str, Any]:
    """Write the soft targets, or continue an interrupted export.

    Each split has view 0, the sentence without augmentation. With views > 0 the train split has
    the views 1 to `views` instead. One sentence at a time is in memory.

    Returns the content of soft_targets.json. Raises UsageError and DataError.
    """
    teacher = open_model_on_corpus(
        request.checkpoint, request.data_dir, request.device, refuse_other=True
    )
    config = read_saved_config(teacher.checkpoint, request.checkpoint)
    ranges = dataclasses.replace(config.augmentation, enabled=True)
    description = _describe(request, teacher, ranges)
    splits = {name: teacher.prepared(name) for name in dict.fromkeys(request.splits)}
    if "train" in splits:  # distill_student.py would refuse them
        refuse_unknown_glosses(teacher.corpus.path, splits["train"], request.checkpoint)
    with SoftTargetWriter(request.output_dir, description, list(splits)) as writer:
        augmentation = _Augmentation(ranges, request.seed)
        size = _print_size(request, description, teacher, splits, augmentation)
        found = writer.begin()
        free, missing = shutil.disk_usage(writer.partial).free, size - writer.bytes_written
        if missing > free:
            raise DataError(
                f"{request.output_dir} needs {_in_words(missing)}, "
                f"but only {_in_words(free)} are free there"
            )
        if found:
            print(f"continuing {writer.partial}: {found} sentences and views are complete")
        for name, split in splits.items():
            for view in views_of(name, request.views):
                _export_view(teacher, split, view, augmentation, request.temperature, writer)
        facts = writer.finish()
    for name, entry in facts["splits"].items():
        print(f"{name}: {entry['sentences']:,} sentences and views, {entry['rows']:,} steps")
    print(f"soft targets: {request.output_dir}")
    return facts


def views_of(split: str, views: int) -> list[int]:
    """The views of a split: [0] without augmentation, or 1 to `views` for the train split."""
    return list(range(1, views + 1)) if split == "train" and views else [0]


def _describe(
    request: SoftTargetExportRequest, teacher: ModelOnCorpus, ranges: AugmentationConfig
) -> SoftTargetDescription:
    corpus = teacher.corpus
    augmentation = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in dataclasses.asdict(ranges).items()
    }
    return SoftTargetDescription(
        corpus={
            "name": corpus.name,
            "path": str(corpus.path),
            "fingerprint": corpus.fingerprint,
            "simulated": corpus.simulated,
            "composed": corpus.composed,
        },
        checkpoint={
            "path": str(request.checkpoint),
            "sha256": sha256_of(request.checkpoint),
            "model_sha256": model_sha256(teacher.checkpoint),
        },
        vocabulary=teacher.vocabulary.glosses,
        temperature=request.temperature,
        views=request.views,
        seed=request.seed,
        augmentation=augmentation,
    )


def _print_size(
    request: SoftTargetExportRequest,
    description: SoftTargetDescription,
    teacher: ModelOnCorpus,
    splits: dict[str, PreparedSplit],
    augmentation: _Augmentation,
) -> int:
    """Print the number of steps and the size of the files. Returns the size in bytes."""
    steps = {
        name: _steps(split, views_of(name, request.views), augmentation)
        for name, split in splits.items()
    }
    size = sum(steps.values()) * description.row_bytes
    steps_text = ", ".join(f"{name} {count:,}" for name, count in steps.items())
    print(
        f"soft targets of {teacher.corpus.describe()}: {steps_text} steps, "
        f"{description.classes} classes: {_in_words(size)} in {request.output_dir}"
    )
    return size


def _in_words(size: int) -> str:
    """A number of bytes as '12.5 KiB' or '340.2 MiB'."""
    return f"{size / 2**20:,.1f} MiB" if size >= 2**20 else f"{size / 2**10:,.1f} KiB"


def _steps(split: PreparedSplit, views: Sequence[int], augmentation: _Augmentation) -> int:
    """Output steps of all views together."""
    drawn_from = ids_and_lengths(split.split.sentences)
    total = 0
    for view in views:
        ranges = dataclasses.replace(augmentation.ranges, enabled=view > 0)
        frames = augmented_lengths(ranges, augmentation.seed, view, *drawn_from)
        total += sum(map(ctc_steps, frames.tolist()))
    return total


def _export_view(
    teacher: ModelOnCorpus,
    prepared: PreparedSplit,
    view: int,
    augmentation: _Augmentation,
    temperature: float,
    writer: SoftTargetWriter,
) -> None:
    """Write one view of the sentences that the folder does not have yet."""
    split = prepared.split
    done = writer.done(split.name)
    left = [
        index for index, sentence in enumerate(split.sentences) if (sentence.id, view) not in done
    ]
    title = f"{split.name} view {view}" if view else split.name
    predictions = _predict(teacher, prepared, left, view, augmentation)
    bar = ProgressBar(title, len(left), "sentence", leave=False)
    for index, log_probs in bar.over(predictions):
        id = split.sentences[index].id
        if not log_probs.isfinite().all():
            raise DataError(f"{split.name} sentence {id}: the log-probabilities are not finite")
        writer.add(split.name, id, view, (log_probs / temperature).log_softmax(-1))


@torch.no_grad()
def _predict(
    teacher: ModelOnCorpus,
    prepared: PreparedSplit,
    indices: Sequence[int],
    view: int,
    augmentation: _Augmentation,
) -> Iterator[tuple[int, Tensor]]:
    """The index and the log-probabilities, float32 (steps, V) on the CPU, of each sentence.

    Each sentence is a separate batch, so that its values do not depend on its neighbours.
    """
    model = teacher.model.eval()
    pipeline = FeaturePipeline(
        teacher.corpus.aspect_ratio,
        teacher.device,
        is_causal(model.config),
        leading_hand=leading_hand_rule(model.config),
    )
    plan = [np.array([index]) for index in indices]
    ranges = dataclasses.replace(augmentation.ranges, enabled=view > 0)
    for batch in pipeline.augmented_batches(prepared, plan, ranges, augmentation.seed, view):
        output = model(batch.features, batch.lengths, batch.detected)
        yield int(batch.indices[0]), output.log_probs[0].float().cpu()
