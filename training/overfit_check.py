"""The overfit check: can the teacher memorise a few sentences? If not, nothing else can work."""

import math
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from data.batching import plan_evaluation
from data.corpus import Corpus
from data.ctc_targets import PreparedSplit, pad_targets, prepare_split
from data.pipeline import FeatureBatch, FeaturePipeline, feature_statistics
from data.vocabulary import Vocabulary
from decoding.batches import decode_sentences
from decoding.greedy import greedy_decode
from decoding.scoring import breakdown
from errors import DataError, DivergenceError, counted, enough_memory
from inference.posteriors import sentence_posteriors, split_posteriors
from models.devices import Precision, choose_device
from models.i3d_teacher import I3DTeacher, count_parameters
from models.machine_choices import choose_machine
from models.student import Student
from progress_bar import ProgressBar
from reports.decoded_split import DecodedSplit
from reports.evaluation_report import EvaluationReport, write_evaluation_report
from reports.provenance import describe_session, environment_facts, record_session
from reports.result_files import try_to_write, write_hypotheses, write_json
from reports.verdict import Verdict
from settings import Overrides
from training.batchnorm_calibration import calibrate
from training.config import Config, TrainingConfig
from training.corpus_checks import find_bad_sentences
from training.losses import TeacherLoss, make_loss
from training.optimizer import apply_gradients, flat_start_weight, learning_rate, make_optimizer
from training.run_files.run_folder import claim_run_folder, run_folder, writable
from training.run_files.run_log import write_config
from training.setup import make_model, open_corpus
from training.validation import ValidationResult, validate

CHECK_EVERY = 5  # epochs
CHECKS_IN_A_ROW = 3  # at 0 % WER
FEWEST_EPOCHS = CHECK_EVERY * (CHECKS_IN_A_ROW - 1) + 1  # the last epoch is checked, too
# Settings of a training that the check does not use; it uses none of the section `augmentation`
_UNUSED = (
    "skip_bad",
    "checkpoint_minutes",
    "frames_per_batch",
    "accumulation_steps",
    "patience",
    "decoder",
    "compile",
    "part_mask",
)
_LOOKED_AT = 64  # train sentences that are checked at a time, until enough are found


@dataclass(frozen=True)
class OverfitResult:
    """How the check ended.

    Attributes:
        reached: WER was 0 in three checks in a row.
        epochs, seconds: until then, or until the check gave up.
        validation: WER, loss and blank share of the last check.
        gradient_norm: of the last update, before clipping.
    """

    reached: bool
    epochs: int
    seconds: float
    validation: ValidationResult
    gradient_norm: float


def run_overfit_check(config: Config, num_samples: int) -> OverfitResult:
    """Train a new teacher on a few train sentences until it predicts them without an error.

    The sentences are the first of the train split that can be trained on; the others are named.
    Every batch is one update; every 5 epochs WER is checked, without dropout and with calibrated
    batch normalisation, as after each epoch of a training. Prints the curve; writes result.json,
    hypotheses.csv and report.html. These files and config.yaml have the settings that are used.

    Raises DataError when the corpus has too few such sentences, DivergenceError when the gradient
    is not finite, UsageError when the memory is too small.
    """
    options = config.training
    device = choose_device(options.device, options.deterministic)
    precision = Precision(options.precision, device)
    corpus = open_corpus(options.data_dir)
    vocabulary, samples = _choose_samples(corpus, num_samples)
    folder = run_folder(options.output_dir)
    less_memory = (
        f"lower --batch_size (now {options.batch_size}) or --num_samples (now {num_samples}), or "
        "lower the model's sizes"
    )
    with (
        writable(folder),
        enough_memory(less_memory),
        claim_run_folder(folder, [corpus.path]),
    ):
        start = f"fresh, {num_samples} train sentences"
        model = make_model(config, vocabulary, device)
        left_open = options.precision == "auto"
        machine = choose_machine(options.linear_layers, [model], precision, any_precision=left_open)
        precision = Precision(machine.precision, device)
        session = describe_session(corpus, device, machine, options.seed, start)
        write_config(folder, used_settings(config.to_dict()))
        record_session(folder, session)
        pipeline = FeaturePipeline(
            corpus.aspect_ratio, device, leading_hand=config.model.leading_hand
        )
        model.set_statistics(*feature_statistics(pipeline, samples.split))
        print(
            f"corpus {corpus.describe()}: {counted(num_samples, 'sentence')}, "
            f"{counted(int(samples.split.lengths.sum()), 'frame')}, "
            f"{counted(sum(map(len, samples.references)), 'gloss')} of {len(vocabulary.glosses)}\n"
            f"teacher: {count_parameters(model) / 1e6:.1f} M parameters, {precision.name} on "
            f"{device}\n{machine}\n"
            "epoch        loss   WER %   blank %   gradient norm   seconds"
        )
        result, history = _memorise(config, samples, vocabulary, model, pipeline, precision)
        _write_results(folder, config, corpus, samples, model, result)
        model_on_samples = model, pipeline, samples.split, precision
        found = decode_sentences(
            split_posteriors(*model_on_samples), num_samples, {"greedy": greedy_decode}
        )
        decoded = DecodedSplit(
            corpus,
            samples.split,
            vocabulary,
            partial(sentence_posteriors, *model_on_samples),
            found.predictions["greedy"],
            result.validation.hypotheses,
            found.blank_share,
        )
        report = _report(folder, config, result, history, decoded, session)
        page = folder / "report.html"
        if try_to_write(page, lambda path: write_evaluation_report(path, report, decoded)):
            print(f"report: {page}")
    return result


def used_settings(settings: Overrides) -> Overrides:
    """Those of the settings that have an effect on the check."""
    used = {section: dict(keys) for section, keys in settings.items() if section != "augmentation"}
    for key in _UNUSED:
        used.get("training", {}).pop(key, None)
    return used


def unused_settings(settings: Overrides) -> list[str]:
    """The names of those that have no effect; `augmentation` stands for its whole section."""
    names = [f"training.{key}" for key in settings.get("training", {}) if key in _UNUSED]
    return [*names, *(["augmentation"] if settings.get("augmentation") else [])]


def _choose_samples(corpus: Corpus, num_samples: int) -> tuple[Vocabulary, PreparedSplit]:
    """The vocabulary of the train split, and its first sentences that can be trained on."""
    train = corpus.split("train")
    vocabulary = Vocabulary.from_sentences(sentence.glosses for sentence in train.sentences)
    chosen: list[int] = []
    for start in range(0, len(train), _LOOKED_AT):  # no more of a large corpus than is needed
        part = range(start, min(start + _LOOKED_AT, len(train)))
        bad = {part[one.index]: one for one in find_bad_sentences(train.subset(part))}
        chosen += [index for index in part if index not in bad][: num_samples - len(chosen)]
        found_all = len(chosen) == num_samples
        for index, one in bad.items():
            if not found_all or index < chosen[-1]:
                print(f"passed over: train sentence {one.id}: {one.reason}")
        if found_all:
            break
    if len(chosen) < num_samples:
        raise DataError(
            f"{corpus.path}: only {counted(len(chosen), 'train sentence')} can be trained on, "
            f"--num_samples is {num_samples}"
        )
    return vocabulary, prepare_split(train.subset(chosen), vocabulary)


def _memorise(
    config: Config,
    samples: PreparedSplit,
    vocabulary: Vocabulary,
    model: I3DTeacher | Student,
    pipeline: FeaturePipeline,
    precision: Precision,
) -> tuple[OverfitResult, list[dict[str, Any]]]:
    """Train until the samples are memorised. Returns the result and a row for each check."""
    options = config.training
    loss, optimizer = make_loss(options), make_optimizer(model, options)
    plan = plan_evaluation(samples.split.lengths, options.batch_size)
    batches = [
        (batch, pad_targets([samples.targets[index] for index in batch.indices], pipeline.device))
        for batch in pipeline.batches(samples.split, plan)
    ]
    history: list[dict[str, Any]] = []
    in_a_row, started = 0, time.perf_counter()
    with ProgressBar("overfit", options.epochs, "epoch", leave=False) as bar:
        for epoch in range(1, options.epochs + 1):
            train_loss, norm, rate = _train_epoch(
                epoch, batches, model, loss, optimizer, precision, options
            )
            wer = f", WER {history[-1]['dev_wer']:.0f} %" if history else ""
            bar.update(1, f"loss {train_loss:.2f}{wer}")
            if epoch % CHECK_EVERY and epoch < options.epochs:
                continue
            # Without it WER swings between 0 and 15 % after the sentences are memorised: the
            # running statistics are measured with dropout, and they follow the weights late.
            calibrate(model, pipeline, samples.split, precision, np.arange(len(samples.split)))
            check = validate(model, pipeline, samples, vocabulary, loss, precision)
            seconds = time.perf_counter() - started
            in_a_row = in_a_row + 1 if check.score.wer == 0 else 0
            tqdm.write(
                f"{epoch:>5d}  {train_loss:>10.4f}  {check.score.wer:>6.1f}"
                f"  {100 * check.blank_share:>8.1f}  {norm:>14.3f}  {seconds:>8.1f}"
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
                    "learning_rate": rate,
                }
            )
            if in_a_row == CHECKS_IN_A_ROW:
                break
    result = OverfitResult(in_a_row == CHECKS_IN_A_ROW, epoch, seconds, check, norm)
    return result, history


def _train_epoch(
    epoch: int,
    batches: list[tuple[FeatureBatch, tuple[Tensor, Tensor]]],
    model: I3DTeacher | Student,
    loss: TeacherLoss,
    optimizer: torch.optim.Optimizer,
    precision: Precision,
    options: TrainingConfig,
) -> tuple[float, float, float]:
    """One update per batch, with clipped gradients.

    Args:
        epoch: its number, from 1.
        batches: the features of each batch, and its padded targets and their lengths.

    Returns the mean loss of the sentences; of the last update the gradient norm before clipping and
    the learning rate. Raises DivergenceError.
    """
    losses: list[float] = []
    for number, (batch, targets) in enumerate(batches):
        step = (epoch - 1) * len(batches) + number
        rate = learning_rate(
            step,
            peak=options.learning_rate,
            minimum=options.min_learning_rate,
            warmup_steps=round(options.warmup_epochs * len(batches)),
            total_steps=options.epochs * len(batches),
        )
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad(set_to_none=True)
        with precision.autocast():
            output = model(batch.features, batch.lengths, batch.detected)
        total = minimised = loss(output, *targets).total
        if weight := flat_start_weight(step, options.flat_start_epochs * len(batches)):
            minimised = total + weight * loss.flat_start(output, *targets)
        precision.scaler.scale(minimised.mean()).backward()
        losses += total.detach().tolist()
        # It skips an update that is not finite
        norm = float(
            apply_gradients(
                model, optimizer, precision.scaler, options.max_grad_norm, total.detach()
            )
        )
        if not math.isfinite(norm) and not precision.scaler.is_enabled():
            raise DivergenceError(
                f"overfit check: the gradient of epoch {epoch} is not finite: lower "
                f"--learning_rate (now {options.learning_rate:g}) or use --precision fp32"
            )
    return float(np.mean(losses)), norm, rate


def _write_results(
    folder: Path,
    config: Config,
    corpus: Corpus,
    samples: PreparedSplit,
    model: I3DTeacher | Student,
    result: OverfitResult,
) -> None:
    """Write result.json and hypotheses.csv. Raises OSError."""
    write_json(
        folder / "result.json",
        {
            "reached": result.reached,
            "wer": result.validation.score.wer,
            "epochs_run": result.epochs,
            "seconds": result.seconds,
            "parameters": count_parameters(model),
            "samples": len(samples.split),
            "corpus": corpus.name,
            "simulated": corpus.simulated,
            "composed": corpus.composed,
            "config": used_settings(config.to_dict()),
        },
    )
    hypotheses = result.validation.hypotheses
    write_hypotheses(folder / "hypotheses.csv", samples.split.sentences, hypotheses)


def _report(
    folder: Path,
    config: Config,
    result: OverfitResult,
    history: list[dict[str, Any]],
    decoded: DecodedSplit,
    session: dict[str, Any],
) -> EvaluationReport:
    """The report of the check: its sentences are those that the model was trained on."""
    wer = result.validation.score.wer
    done = f"{wer:.1f} % WER after {counted(result.epochs, 'epoch')}, {result.seconds:.0f} s."
    if result.reached:
        verdict = Verdict("memorised", done, ())
    else:
        verdict = Verdict("not memorised", done, tuple(advice(result)))
    sentences = decoded.split.sentences
    return EvaluationReport(
        title=f"Overfit check {folder.resolve().name}",
        subtitle=f"{len(sentences)} train sentences of {decoded.corpus.describe()}, memorised and "
        "predicted, greedy decoder",
        verdict=verdict,
        result=breakdown(decoded.aligned, decoded.signers),
        history=history,
        curves_note='In this report "dev" is the train sentences, predicted without dropout.',
        settings=used_settings(config.to_dict()),
        environment=environment_facts(session),
    )


def advice(result: OverfitResult) -> list[str]:
    """What to look at when the check failed, one line each."""
    check = result.validation
    if check.score.wer == 0 and result.epochs < FEWEST_EPOCHS:
        return [
            f"too early to tell: {CHECKS_IN_A_ROW} checks in a row must have 0 % WER, "
            f"{CHECK_EVERY} epochs apart; give --epochs {FEWEST_EPOCHS} or more"
        ]
    if check.score.wer == 0:
        return [
            "the last check had 0 % WER, but 0 % was not yet reached in "
            f"{CHECKS_IN_A_ROW} checks in a row: give more --epochs"
        ]
    lines = [
        f"blank share {100 * check.blank_share:.0f} %: near 100 % the model has collapsed to "
        "blanks; try a longer warm-up or a lower --learning_rate",
        f"gradient norm {result.gradient_norm:.3g} before clipping: if it is near 0, the weights "
        "do not change; if it is not finite, use a lower --learning_rate or --precision fp32",
        "data: only sentences that CTC can align were used; run prepare_data.py check on the "
        "corpus to see whether landmarks are detected and differ between sentences",
    ]
    if check.score.wer < 50:
        lines.append(
            f"WER was {check.score.wer:.1f} % and may still have been falling: give more --epochs"
        )
    return lines
