"""The overfit check: can the teacher memorise a handful of sentences? If it cannot, nothing else is
worth trying."""

import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from data.corpus import Corpus
from data.ctc_targets import PreparedSplit, pad_targets, prepare_split
from data.pipeline import FeaturePipeline, feature_statistics
from data.vocabulary import Vocabulary
from decoding.batches import decode_split
from decoding.greedy import greedy_decode
from decoding.scoring import breakdown
from errors import DataError, DivergenceError
from inference.posteriors import compute_posteriors
from models.devices import Precision, choose_device
from models.i3d_teacher import I3DTeacher, count_parameters
from reports.evaluation_report import DecodedSplit, EvaluationReport, write_evaluation_report
from reports.provenance import describe_session, environment_facts, record_session
from reports.result_files import try_to_write, write_hypotheses, write_json
from reports.verdict import Verdict
from training.config import Config
from training.corpus_checks import find_bad_sentences
from training.losses import make_loss
from training.run_folder import claim_run_folder, run_folder
from training.run_log import write_config, write_curves
from training.schedule import learning_rate
from training.setup import make_model, open_corpus
from training.trainer import make_optimizer
from training.validation import ValidationResult, validate

CHECK_EVERY = 5  # epochs
CHECKS_HELD = 3  # checks in a row at 0 % WER


@dataclass(frozen=True)
class OverfitResult:
    """`reached` when WER was 0 in three checks running; evaluation and gradient norm
    (before clipping) of the last."""

    reached: bool
    epochs: int
    seconds: float
    evaluation: ValidationResult
    gradient_norm: float


def run_overfit_check(config: Config, num_samples: int) -> OverfitResult:
    """Train a new teacher on a few train sentences, one batch an epoch, until it reads them without
    an error.

    The sentences are the first of the train split that can be trained on (others are named),
    checked every 5 epochs without dropout. Prints the curve; writes result.json, hypotheses,
    training_curves.png and report.html. Batch size, accumulation, augmentation and hidden parts of
    the configuration play no part. Raises DataError when the corpus has too few.
    """
    options = config.training
    device = choose_device(options.device, options.deterministic)
    precision = Precision(options.precision, device)
    corpus = open_corpus(options.data_dir)
    train = corpus.split("train")
    vocabulary = Vocabulary.from_sentences(sentence.glosses for sentence in train.sentences)
    bad = {one.index: one for one in find_bad_sentences(train)}
    chosen = [index for index in range(len(train)) if index not in bad][:num_samples]
    for one in bad.values():
        if not chosen or one.index < chosen[-1]:
            print(f"passed over: train sentence {one.id}: {one.reason}")
    if len(chosen) < num_samples:
        raise DataError(
            f"{corpus.path}: only {len(chosen)} train sentences can be trained on, --num_samples is {num_samples}"
        )
    samples = prepare_split(train.subset(chosen), vocabulary)
    with claim_run_folder(run_folder(options.output_dir), aside=True):
        return _memorise(config, corpus, samples, vocabulary, device, precision)


def _memorise(
    config: Config,
    corpus: Corpus,
    samples: PreparedSplit,
    vocabulary: Vocabulary,
    device: torch.device,
    precision: Precision,
) -> OverfitResult:
    """Train on the samples until they are held, in the run folder that is held."""
    options, num_samples = config.training, len(samples.split)
    folder = run_folder(options.output_dir)
    write_config(folder, config)
    session = describe_session(
        corpus, device, precision.name, options.seed, f"fresh, {num_samples} train sentences"
    )
    record_session(folder, session)
    pipeline = FeaturePipeline(corpus.aspect_ratio, device)
    model = make_model(config, vocabulary, device)
    model.set_statistics(*feature_statistics(pipeline, samples.split))
    loss = make_loss(options)
    optimizer = make_optimizer(model, config)
    print(
        f"corpus {corpus.describe()}: {num_samples} sentences, {int(samples.split.lengths.sum())} frames, "
        f"{sum(map(len, samples.references))} glosses of {len(vocabulary.glosses)}\n"
        f"teacher: {count_parameters(model) / 1e6:.1f} M parameters, {precision.name} on {device}\n"
        "epoch        loss   WER %   blank %   gradient norm   seconds"
    )
    (batch,) = pipeline.batches(samples.split, [np.arange(num_samples)])
    targets = pad_targets(samples.targets, device)
    history, held, started = [], 0, time.perf_counter()
    bar = tqdm(
        range(1, options.epochs + 1),
        "overfit",
        unit="epoch",
        leave=False,
        disable=None,
        dynamic_ncols=True,
    )
    for epoch in bar:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(
                epoch - 1,
                peak=options.learning_rate,
                minimum=options.min_learning_rate,
                warmup_steps=round(options.warmup_epochs),
                total_steps=options.epochs,
            )
        optimizer.zero_grad(set_to_none=True)
        with precision.autocast():
            output = model(batch.features, batch.lengths, batch.detected)
        mean_loss = loss(output, *targets).total.mean()
        precision.scaler.scale(mean_loss).backward()
        train_loss = float(mean_loss.detach())
        wer = f", WER {history[-1]['dev_wer']:.0f} %" if history else ""
        bar.set_postfix_str(f"loss {train_loss:.2f}{wer}", refresh=False)
        precision.scaler.unscale_(optimizer)
        norm = float(nn.utils.clip_grad_norm_(model.parameters(), options.max_grad_norm))
        # A scaler skips such an update by itself
        if not math.isfinite(norm) and not precision.scaler.is_enabled():
            raise DivergenceError(
                f"overfit check: the gradient of epoch {epoch} is not finite: lower --learning_rate "
                f"(now {options.learning_rate:g}) or use --precision fp32"
            )
        precision.scaler.step(optimizer)
        precision.scaler.update()
        if epoch % CHECK_EVERY and epoch < options.epochs:
            continue
        check = validate(model, pipeline, samples, vocabulary, loss, precision)
        seconds = time.perf_counter() - started
        held = held + 1 if check.score.wer == 0 else 0
        tqdm.write(
            f"{epoch:>5d}  {train_loss:>10.4f}  {check.score.wer:>6.1f}  {100 * check.blank_share:>8.1f}"
            f"  {norm:>14.3f}  {seconds:>8.1f}"
        )
        history.append(
            {
                "epoch": epoch,
                "train_loss": train_loss,
                "dev_wer": check.score.wer,
                "dev_loss": check.loss,
                "dev_substitutions": check.score.substitutions,
                "dev_deletions": check.score.deletions,
                "dev_insertions": check.score.insertions,
                "learning_rate": optimizer.param_groups[0]["lr"],
            }
        )
        if held == CHECKS_HELD:
            break
    result = OverfitResult(held == CHECKS_HELD, epoch, seconds, check, norm)
    try:
        _write(folder, config, corpus, samples, model, result, history)
    except OSError as error:
        raise DataError(f"cannot write to {folder}: {error.strerror or error}") from error
    posteriors = compute_posteriors(model, pipeline, samples.split, precision)
    readings = decode_split(posteriors, greedy_decode)
    reading = DecodedSplit(
        corpus, samples.split, vocabulary, posteriors, readings, check.hypotheses
    )
    page = folder / "report.html"
    if try_to_write(
        page,
        lambda path: write_evaluation_report(
            path, _report(folder, config, result, history, reading, session), reading
        ),
    ):
        print(f"report: {page}")
    return result


def _write(
    folder: Path,
    config: Config,
    corpus: Corpus,
    samples: PreparedSplit,
    model: I3DTeacher,
    result: OverfitResult,
    history: list[dict],
) -> None:
    """result.json, hypotheses and curves."""
    write_json(
        folder / "result.json",
        {
            "reached": result.reached,
            "wer": result.evaluation.score.wer,
            "epochs_run": result.epochs,
            "seconds": result.seconds,
            "parameters": count_parameters(model),
            "samples": len(samples.split),
            "corpus": corpus.name,
            "simulated": corpus.simulated,
            "composed": corpus.composed,
            "config": config.to_dict(),
        },
    )
    write_hypotheses(
        folder / "hypotheses.csv", samples.split.sentences, result.evaluation.hypotheses
    )
    title = f"overfit check, {corpus.describe()} (dev: the same sentences)"
    try_to_write(folder / "training_curves.png", lambda path: write_curves(path, history, title))


def _report(
    folder: Path,
    config: Config,
    result: OverfitResult,
    history: list[dict],
    reading: DecodedSplit,
    session: dict,
) -> EvaluationReport:
    """The check's report: the sentences are those that were trained on."""
    done = f"{result.evaluation.score.wer:.1f} % WER after {result.epochs} epochs, {result.seconds:.0f} s."
    verdict = (
        Verdict("memorised", done, ())
        if result.reached
        else Verdict("not memorised", done, tuple(advice(result)))
    )
    return EvaluationReport(
        title=f"Overfit check {folder.resolve().name}",
        subtitle=f"{len(reading.split)} train sentences of {reading.corpus.describe()}, memorised and read again, greedily",
        verdict=verdict,
        result=breakdown(
            reading.aligned, [sentence.signer for sentence in reading.split.sentences]
        ),
        history=history,
        curves_note='Where a figure says "dev", it is the same sentences that are trained on, read without dropout.',
        settings=config.to_dict(),
        environment=environment_facts(session),
    )


def advice(result: OverfitResult) -> list[str]:
    """What to look at when the check failed, one line each."""
    lines = [
        f"blank share {100 * result.evaluation.blank_share:.0f} %: near 100 % the model has collapsed to blanks; "
        "try a longer warm-up or a lower --learning_rate",
        f"gradient norm {result.gradient_norm:.3g} before clipping: near 0 nothing reaches the weights, "
        "not finite means a lower --learning_rate or --precision fp32",
        "feasibility: only sentences that CTC can align were used; run prepare_data.py check on the corpus to see "
        "whether landmarks are there at all (detection rates) and differ between sentences",
    ]
    if result.evaluation.score.wer < 50:
        lines.append(
            f"WER was {result.evaluation.score.wer:.1f} % and may still have been falling: give more --epochs"
        )
    return lines
