"""A whole run: trained, the best checkpoint evaluated, results written."""

import contextlib
import math
import shlex
import sys
import time

import numpy as np
import torch

from decoding.batches import Decoder, decode_split
from decoding.decoders import decoder_entry, make_decoder
from decoding.language_model import train_language_model
from decoding.length_normalization import LengthNormalization, tune
from decoding.scoring import align, bootstrap_interval, total
from errors import DataError
from inference.posteriors import compute_posteriors
from models.checkpoint import (
    BEST,
    LAST,
    check_space,
    copy_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from models.i3d_teacher import count_parameters
from reports.evaluation_report import DecodedSplit
from reports.provenance import describe_session, record_session
from reports.result_files import write_hypotheses, write_json
from reports.run_report import write_run_report
from training.dry_run import dry_run
from training.resume import CONTINUE, FINE_TUNE, FRESH
from training.run_folder import claim_run_folder
from training.run_log import RunLog, write_config
from training.setup import Run, _statistics, able_to_compile, enough_memory
from training.stop_signals import InterruptedRunError
from training.validation import validate


def carry_out(run: Run, dry: bool, resume: str | None, script: str) -> int:
    """What a training script does with a prepared run: say how it starts where that was asked, then
    train or only show what would be. Returns the exit code; stopped by a signal it says the command
    of `script` that goes on."""
    if resume is not None or run.start.kind != FRESH:
        print(
            f"{run.start.kind}{f' from {run.start.path}' if run.start.path else ''}: {run.start.reason}"
        )
    if dry:
        dry_run(run)
        return 0
    try:
        execute(run)
    except InterruptedRunError as stop:
        command = f"python {script} --resume auto --output_dir {shlex.quote(str(run.folder))}"
        if run.trainer.ranks.is_writer:
            print(f"stopped by {stop}; go on with: {command}", file=sys.stderr)
        return stop.exit_code
    return 0


def execute(run: Run) -> dict:
    """Train the run to its end and write its results. Returns result.json's content, which the
    writer alone has.

    Raises DataError on a full disk and UsageError when the memory is too small or nothing can be
    compiled.
    """
    try:
        with enough_memory(run.config.training), able_to_compile(run.config.training):
            return _execute(run)
    except BrokenPipeError:  # nobody reads the screen any more: no fault of the folder
        raise
    except OSError as error:
        raise DataError(f"cannot write to {run.folder}: {error.strerror or error}") from error


def _execute(run: Run) -> dict:
    trainer, start = run.trainer, run.start
    own = start.kind == CONTINUE and start.path.parent.resolve() == run.folder.resolve()
    with contextlib.ExitStack() as held:
        with trainer.ranks.together():
            if trainer.ranks.is_writer:
                check_space(run.folder, count_parameters(trainer.model), reuse=own)
                held.enter_context(claim_run_folder(run.folder, aside=not own))
                if start.kind == CONTINUE:
                    _adopt_best(run)
        trainer.stopping = trainer.ranks.from_writer(lambda: trainer.stopping)
        trainer.spread()
        session = _train(run)
        trainer.ranks.part()
        return _finish(run, session) if trainer.ranks.is_writer else {}


def _train(run: Run) -> dict:
    """Returns what environment.json says of this session."""
    trainer, start, is_writer = run.trainer, run.start, run.trainer.ranks.is_writer
    session = describe_session(
        run.corpus,
        trainer.device,
        trainer.precision.name,
        run.config.training.seed,
        f"{start.kind}{f' from {start.path}' if start.path else ''} ({start.reason})",
        trainer.ranks.world,
    )
    if is_writer:
        write_config(trainer.folder, run.config)
        record_session(trainer.folder, session)
    if start.kind == FRESH:
        trainer.model.set_statistics(*_statistics(trainer))
        # Whatever happens in the first epoch: there is a good state, and the folder takes one
        trainer.save()
    if start.kind == FINE_TUNE:
        loaded = validate(
            trainer.model,
            trainer.pipeline,
            trainer.dev,
            trainer.vocabulary,
            trainer.loss,
            trainer.precision,
            ranks=trainer.ranks,
        )
        trainer.stopping.best_wer = trainer.progress.loaded_wer = loaded.score.wer
        print(f"loaded model on dev (greedy): {loaded.score}")
        trainer.save(best=True)  # epoch 0 is the best until one beats it
    if trainer.progress.finished:
        print(
            f"this run is complete ({len(trainer.progress.history)} epochs): nothing left to train"
        )
        absent = not (trainer.folder / LAST).exists()
        if trainer.ranks.from_writer(lambda: absent):  # continued in another folder
            if is_writer:
                RunLog(trainer.folder, trainer.progress.history).close()
            trainer.save()
    else:
        trainer.run()
    return session


def _adopt_best(run: Run) -> None:
    """See to it that the run's folder holds its best model: it may be continued in another folder,
    or have been killed between writing last.pth and best_model.pth. A damaged one is passed over,
    which is said: then the best of the epochs that follow is kept. Raises DataError when the best
    model is nowhere."""
    trainer, checkpoint, best = run.trainer, run.start.path, run.folder / BEST
    if not math.isfinite(trainer.stopping.best_wer):
        return  # no epoch is done yet
    itself = (
        trainer.stopping.best_epoch == len(trainer.progress.history) and trainer.progress.group == 0
    )
    source = checkpoint if itself else checkpoint.with_name(BEST)
    if not source.exists():
        raise DataError(
            f"{checkpoint} is to be continued, but its best model so far (epoch {trainer.stopping.best_epoch}) is not "
            f"beside it: put {BEST} there, or give a setting that makes it a fine-tune, e.g. --epochs"
        )
    try:
        if source != checkpoint:
            load_checkpoint(source)  # must be whole
    except DataError as error:
        if trainer.progress.finished:
            raise
        print(
            f"warning: {error}; the best model of the epochs up to {len(trainer.progress.history)} is lost"
        )
        trainer.stopping.best_wer, trainer.stopping.best_epoch = math.inf, 0
    else:
        if source.resolve() != best.resolve():
            copy_checkpoint(source, best)


def _tune(
    run: Run, checkpoint: dict, posteriors: list[torch.Tensor]
) -> tuple[LengthNormalization, Decoder]:
    """Choose the adaptive decoder's settings on dev and keep them in the best checkpoint."""
    trainer = run.trainer
    language_model = train_language_model(trainer.train.references, trainer.vocabulary)
    expected = trainer.decoder_settings.steps_per_gloss
    settings = tune(
        posteriors, trainer.dev.references, trainer.vocabulary, expected, language_model
    )
    entry = decoder_entry(settings, language_model, f"dev of {run.corpus.name}")
    if {**entry, "language_model": None} != {**checkpoint["decoder"], "language_model": None}:
        save_checkpoint(run.folder / BEST, {**checkpoint, "decoder": entry})
    print(f"decoder settings chosen on dev: {settings}")
    return settings, make_decoder("adaptive", settings, language_model)


def _finish(run: Run, session: dict) -> dict:
    """Evaluate the best checkpoint with the chosen decoder; write result.json and hypotheses, then
    curves, card and report."""
    trainer, options = run.trainer, run.config.training
    checkpoint = load_checkpoint(run.folder / BEST)
    trainer.model.load_state_dict(checkpoint["model"])
    posteriors = compute_posteriors(
        trainer.model, trainer.pipeline, trainer.dev.split, trainer.precision
    )
    settings = trainer.decoder_settings
    if options.decoder == "adaptive":
        settings, decoder = _tune(run, checkpoint, posteriors)
    else:
        decoder = make_decoder(options.decoder, settings)
    started = time.perf_counter()
    readings = decode_split(posteriors, decoder)
    milliseconds = 1000 * (time.perf_counter() - started) / len(readings)
    hypotheses = [trainer.vocabulary.decode(classes) for classes in readings]
    aligned = align(trainer.dev.references, hypotheses)
    found = total(aligned)
    interval = list(bootstrap_interval(aligned))
    progress = trainer.progress
    result = {
        "best_dev_wer": found.wer,
        "best_dev_wer_interval": interval,
        "best_epoch": trainer.stopping.best_epoch,
        "epochs_run": len(progress.history),
        "parameters": count_parameters(trainer.model),
        "seconds": progress.total_seconds,
        "frames_per_second": progress.total_frames / progress.total_seconds
        if progress.total_seconds
        else 0.0,
        # Epochs that an earlier version has trained do not say theirs.
        "peak_memory_gb": max(row.get("peak_memory_gb", 0.0) for row in progress.history),
        "decoder": options.decoder,
        "greedy_dev_wer": trainer.stopping.best_wer,
        "substitutions": found.substitutions,
        "deletions": found.deletions,
        "insertions": found.insertions,
        "reference_glosses": found.reference_glosses,
        "skipped_updates": sum(row["skipped_updates"] for row in progress.history),
        "train_sentences_left_out": len(trainer.train.split) - len(trainer.trainable),
        "dev_glosses_unknown": len(trainer.dev.unknown_glosses),
        "corpus": run.corpus.name,
        "corpus_path": str(run.corpus.path),
        "corpus_fingerprint": run.corpus.fingerprint,
        "simulated": run.corpus.simulated,
        "composed": run.corpus.composed,
    }
    if trainer.teacher is not None:
        result["teacher"] = trainer.teacher
    if progress.loaded_wer is not None:
        result["loaded_dev_wer"] = progress.loaded_wer
    write_json(run.folder / "result.json", result)
    write_hypotheses(run.folder / "dev_hypotheses.csv", trainer.dev.split.sentences, hypotheses)
    reading = DecodedSplit(
        run.corpus, trainer.dev.split, trainer.vocabulary, posteriors, readings, hypotheses
    )
    summary = f"{found}, 95 % interval {interval[0]:.2f} to {interval[1]:.2f}"
    _report(run, summary, hypotheses)
    write_run_report(trainer, result, reading, (options.decoder, settings, milliseconds), session)
    print(f"run folder: {run.folder}")
    return result


def _report(run: Run, summary: str, hypotheses: list[list[str]]) -> None:
    """What it came to: WER, and three sentences spread over dev."""
    trainer, options = run.trainer, run.config.training
    stopping = trainer.stopping
    print(f"\nbest epoch {stopping.best_epoch}, dev greedy WER {stopping.best_wer:.2f} %")
    if (started_wer := trainer.progress.loaded_wer) is not None:
        verdict = "better than" if stopping.best_wer < started_wer else "no better than"
        print(f"fine-tuning is {verdict} the loaded model ({started_wer:.2f} %)")
    print(f"dev of {run.corpus.describe()}, {options.decoder} decoder: {summary}")
    sentences = trainer.dev.split.sentences
    for index in np.linspace(0, len(sentences) - 1, min(3, len(sentences))).astype(int):
        print(f"  {sentences[index].id}")
        print(f"    reference   {' '.join(sentences[index].glosses)}")
        print(f"    hypothesis  {' '.join(hypotheses[index]) or '(empty)'}")
