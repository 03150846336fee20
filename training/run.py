"""A whole run: corpus and model made ready, trained, the best checkpoint evaluated, results written."""

import contextlib
import math
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from data.batching import padding_waste
from data.corpus import Corpus
from data.landmarks import Layout
from data.randomness import key
from data.vocabulary import Vocabulary
from decoding.language_model import train_language_model
from decoding.length_normalization import LengthNormalization, tune
from decoding.posteriors import Decoder, decode_posteriors
from decoding.scoring import align, bootstrap_interval, total
from errors import DataError, UsageError
from models.i3d_teacher import count_parameters
from training.checkpoint import (
    BEST,
    LAST,
    check_space,
    copy_checkpoint,
    load_checkpoint,
    remove_leftovers,
    save_checkpoint,
)
from training.config import Config, TrainingConfig
from training.devices import Precision, choose_device, peak_memory
from training.evaluation import decoder_entry, evaluate, make_decoder, read_posteriors
from training.intake import say_changes, take_in
from training.kinds import build_model, reads_causally
from training.pipeline import FeaturePipeline, feature_statistics
from training.provenance import describe_session, record_session
from training.ranks import Ranks
from training.report import Reading
from training.resume import CONTINUE, FINE_TUNE, FRESH, Start
from training.run_lock import LOCK, RunLock
from training.run_log import RunLog, write_config, write_hypotheses, write_json
from training.run_report import write_papers
from training.sentences import PreparedSplit, ctc_steps, prepare_split
from training.stop_signals import InterruptedRunError
from training.trainer import Trainer

HEADS = ("head.weight", "conv_head.weight")  # one row a class


def open_corpus(data_dir: str | None) -> Corpus:
    """The corpus folder, or the built-in simulated corpus (made on first use) when none is given; says which."""
    if data_dir is None:
        from data.simulated_signer import builtin_corpus

        path = builtin_corpus()
        print(f"no --data_dir: using the built-in corpus of simulated signers, {path}")
        return Corpus(path)
    return Corpus(data_dir)


def steps_per_gloss(split: PreparedSplit) -> float:
    """Output steps for each gloss of the train split: what the adaptive decoder expects of a sentence."""
    steps = sum(ctc_steps(sentence.frames) for sentence in split.split.sentences)
    return steps / max(sum(len(glosses) for glosses in split.references), 1)


@contextlib.contextmanager
def enough_memory(options: TrainingConfig) -> Iterator[None]:
    """What is done in it raises UsageError where the memory is too small for the model or for a batch."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        reason = (str(error) or "no memory").splitlines()[0]
        # CUDA's error has a type of its own, the CPU's is told by its words.
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and "can't allocate memory" not in reason:
            raise
        size = "frames_per_batch" if options.frames_per_batch else "batch_size"
        raise UsageError(
            f"the memory is too small: lower --{size} (now {getattr(options, size)}) and raise --accumulation_steps "
            f"(now {options.accumulation_steps}) by as much, or lower the model's sizes: {reason}"
        ) from None


@contextlib.contextmanager
def able_to_compile(options: TrainingConfig) -> Iterator[None]:
    """What is done in it raises UsageError where torch.compile has no compiler that works."""
    try:
        yield
    except RuntimeError as error:
        if not options.compile or not isinstance(error, torch._dynamo.exc.TorchDynamoException):
            raise
        reason = str(getattr(error, "inner_exception", error)).splitlines()[0]
        raise UsageError(
            f"--compile: torch cannot compile on this machine ({reason}): install what it misses, a C++ compiler for the CPU "
            "or Triton for GPUs, or leave --compile out"
        ) from None


def make_model(config: Config, vocabulary: Vocabulary, device: torch.device) -> nn.Module:
    """A new teacher or student whose weights depend on the seed alone. Raises UsageError when the memory is too small."""
    torch.manual_seed(key(config.training.seed, "weights") % 2**63)
    with enough_memory(config.training):
        return build_model(config.model, vocabulary.size).to(device)


def load_model(checkpoint: dict, path: Path | str, model_config, vocabulary: Vocabulary, seed: int) -> nn.Module:
    """The checkpoint's teacher or student, on the CPU; its heads are widened where the vocabulary grew. Raises DataError."""
    weights = dict(checkpoint["model"])
    try:
        _check_shapes(weights, model_config, vocabulary)
        torch.manual_seed(key(seed, "weights") % 2**63)
        model = build_model(model_config, vocabulary.size)
        for name in HEADS:
            if len(weights[name]) < vocabulary.size:
                weights[name] = torch.cat([weights[name], model.state_dict()[name][len(weights[name]) :]])
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise DataError(
            f"checkpoint {path} does not fit its own configuration: {str(error).splitlines()[-1]}"
        ) from None
    return model


def _check_shapes(weights: dict, model_config, vocabulary: Vocabulary) -> None:
    """Raise RuntimeError unless the weights are those of such a model but for rows of its heads. Takes no memory for one:
    a small file may describe a model of any size."""
    known = {name: tuple(one.shape) for name, one in weights.items() if isinstance(one, torch.Tensor)}
    sizes = {"weights": sum(map(math.prod, known.values())), "layers": len(known)}
    for name, value in vars(model_config).items():
        if isinstance(value, int) and value > sizes["layers" if name.endswith("layers") else "weights"]:
            raise RuntimeError(f"it is too small for model.{name} {value}")
    with torch.device("meta"):
        expected = {
            name: tuple(one.shape) for name, one in build_model(model_config, vocabulary.size).state_dict().items()
        }
    for name in HEADS:
        if name in known and len(known[name]) == 2 and known[name][0] < vocabulary.size:
            expected[name] = (known[name][0], *expected[name][1:])
    for name in sorted({*known, *expected, *weights}, key=str):
        if known.get(name) != expected.get(name):
            raise RuntimeError(f"{name} has the shape {known.get(name)}, expected {expected.get(name)}")


def choose_vocabulary(start: Start, corpus: Corpus, extend: bool, given: Vocabulary | None = None) -> Vocabulary:
    """From the train split, or the one given, or the checkpoint's; its new glosses are an error unless `extend`. Raises
    UsageError."""
    sentences = [sentence.glosses for sentence in corpus.split("train").sentences]
    if start.kind == FRESH:
        return given or Vocabulary.from_sentences(sentences)
    known = Vocabulary(start.checkpoint["vocabulary"])
    new = sorted(set(known.unknown(sentences)))
    if new and not extend:
        shown = ", ".join(new[:5]) + (", …" if len(new) > 5 else "")
        raise UsageError(
            f"{corpus.path} has {len(new)} glosses that the checkpoint {start.path} does not know ({shown}): "
            "add --extend_vocabulary to learn them, or train anew without --resume"
        )
    return known.extended(sentences)


def claim(folder: Path, aside: bool) -> RunLock:
    """Make a run's folder and hold it against other runs until the lock is released.

    aside: an earlier run in it is moved out of the way, so that nothing is overwritten. Raises UsageError when another
    run holds it, DataError when it cannot be made or written to.
    """
    make_folder(folder)
    try:
        lock = RunLock(folder)
        if aside and set_aside(folder):
            make_folder(folder)
            moved, lock = lock, RunLock(folder)
            moved.release()
        remove_leftovers(folder)
    except OSError as error:
        raise DataError(f"cannot write to the output folder {folder}: {error.strerror}") from error
    return lock


def set_aside(folder: Path) -> bool:
    """Move an earlier run out of the way of a fresh one; False when there is none."""
    if not any((folder / name).exists() for name in (BEST, LAST, "result.json", "metrics.jsonl")):
        return False
    number = 1
    while (kept := folder.with_name(f"{folder.name}.earlier-{number}")).exists():
        number += 1
    try:
        folder.rename(kept)
        (kept / LOCK).unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"cannot move the earlier run {folder} to {kept}: {error.strerror}") from error
    print(f"{folder} held an earlier run: moved to {kept}")
    return True


def run_folder(output_dir: str) -> Path:
    """The run's folder, by a name that still means it after an earlier run there was moved aside (not '.')."""
    folder = Path(output_dir)
    return folder if folder.name else folder.resolve()


def make_folder(folder: Path) -> None:
    """Make a run's folder. Raises DataError when it cannot be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError as error:
        raise DataError(f"cannot make the output folder {folder}: {error.strerror}") from error
    if not writable:
        raise DataError(f"cannot write to the output folder {folder}: permission denied")


@dataclass
class Run:
    """A run that is ready to train."""

    start: Start
    trainer: Trainer
    corpus: Corpus

    @property
    def config(self) -> Config:
        return self.trainer.config

    @property
    def folder(self) -> Path:
        return self.trainer.folder


def prepare_run(
    start: Start,
    extend_vocabulary: bool = False,
    make_trainer: Callable[..., Trainer] = Trainer,
    vocabulary: Vocabulary | None = None,
    ranks: Ranks | None = None,
    also_read: Iterable[int] = (),
) -> Run:
    """Open the corpus, choose the vocabulary, build or load the model; prints what it does. Writes nothing.

    make_trainer: takes the fields of `Trainer`. vocabulary: of a fresh run, in place of the train split's own. ranks: the
    processes of the run (default: this one alone). also_read: landmarks that are wanted in the features besides those that
    the model reads.
    """
    config, ranks = start.config, ranks or Ranks()
    if not config.training.frames_per_batch:  # else a process may have no share of a batch
        ranks.check_batch_size(config.training.batch_size)
    device = choose_device(ranks.device(config.training.device), config.training.deterministic)
    precision = Precision(config.training.precision, device)
    corpus = open_corpus(config.training.data_dir)
    say_changes(corpus)
    if start.kind == CONTINUE:
        start = start.for_corpus(corpus.fingerprint)
        config = start.config
    if extend_vocabulary and start.kind == FRESH:
        raise UsageError(f"--extend_vocabulary extends a checkpoint's vocabulary, and there is none ({start.reason})")
    vocabulary = choose_vocabulary(start, corpus, extend_vocabulary, vocabulary)
    train = prepare_split(corpus.split("train"), vocabulary)
    dev = prepare_split(corpus.split("dev"), vocabulary)
    train = take_in(corpus, train, dev, config.training.skip_bad)
    if not any(dev.references):
        raise DataError(f"{corpus.path}: the dev split has no glosses to score")

    if start.kind == FRESH:
        model = make_model(config, vocabulary, device)
    else:
        model = load_model(start.checkpoint, start.path, config.model, vocabulary, config.training.seed).to(device)
    if config.training.compile:
        if not hasattr(model, "compile_front"):
            raise UsageError(f"training.compile: only the teacher's front can be compiled, not a {config.kind}'s")
        model.compile_front()
    layout = Layout({*model.landmarks_read, *also_read})
    model.read_from(layout)
    pipeline = FeaturePipeline(corpus.aspect_ratio, device, reads_causally(config.model), layout)
    trainer = make_trainer(
        config,
        corpus,
        vocabulary,
        model,
        train,
        dev,
        pipeline,
        precision,
        LengthNormalization(steps_per_gloss(train)),
        run_folder(config.training.output_dir),
        ranks=ranks,
    )
    if start.kind == CONTINUE:
        trainer.restore(start.checkpoint["training"])
    residence = pipeline.keep_resident([train.split, dev.split])
    print(
        f"corpus {corpus.describe()}: {len(train.split)} train and {len(dev.split)} dev sentences, "
        f"{len(vocabulary.glosses)} glosses\n"
        f"{config.kind}: {count_parameters(model) / 1e6:.1f} M parameters, {precision.describe()} on {device}, "
        + (f"{ranks.world} processes, " if ranks.world > 1 else "")
        + residence
    )
    options = config.training
    if options.warmup_epochs >= options.epochs:
        print(
            f"warning: --warmup_epochs {options.warmup_epochs:g} is no shorter than --epochs {options.epochs}: "
            f"the learning rate never reaches {options.learning_rate:g}"
        )
    return Run(replace(start, checkpoint=None), trainer, corpus)  # its tensors are in the model and the optimiser now


def make_ready(ranks: Ranks, plan: Callable[[], Start], prepare: Callable[[Start], Run]) -> Run:
    """A run that is ready on all its processes: they start from what the writer finds, and on the same corpus.

    plan: how the run starts. prepare: `prepare_run`, or what ends in it. Raises UsageError and DataError, each said once.
    """
    with ranks.together():
        start = ranks.from_writer(plan)
    with ranks.together():
        run = prepare(start)
    with ranks.together():
        fingerprints = ranks.gather(run.corpus.fingerprint)
        if run.corpus.fingerprint != fingerprints[0]:
            raise DataError(f"{run.corpus.path}: not the corpus that process 0 of this run has under that name")
    return run


def carry_out(run: Run, dry: bool, resume: str | None, script: str) -> int:
    """What a training script does with a prepared run: say how it starts where that was asked, then train or only show what
    would be. Returns the exit code; stopped by a signal it says the command of `script` that goes on."""
    if resume is not None or run.start.kind != FRESH:
        print(f"{run.start.kind}{f' from {run.start.path}' if run.start.path else ''}: {run.start.reason}")
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


def dry_run(run: Run, updates: int = 3) -> None:
    """Print what training would do, with the time of a few real updates; writes nothing, the model is thrown away.

    Raises UsageError when the memory is too small or nothing can be compiled.
    """
    with enough_memory(run.config.training), able_to_compile(run.config.training):
        _dry_run(run, updates)


def _dry_run(run: Run, updates: int) -> None:
    trainer, options = run.trainer, run.config.training
    trainer.model.set_statistics(*_statistics(trainer, 20_000))
    trainer.spread()
    groups = trainer.begin_epoch(1)
    known = trainer.epoch_train.split.lengths  # of the first epoch, in which sentences may be joined
    lengths, plan = known[trainer.trainable], [batch for group in groups for batch in group]
    shown = np.zeros_like(known)  # as augmentation stretches and cuts them: what is padded and computed
    shown[trainer.trainable] = trainer.shown_lengths(trainer.epoch_train, 1)
    # Groups near the median length stand for the epoch; the first one warms up and is not timed.
    by_frames = sorted(groups, key=lambda group: sum(int(known[b].sum()) for b in group))
    middle = by_frames[max(len(by_frames) // 2 - updates // 2, 0) :][: updates + 1]
    trainer.model.train()
    seconds, frames = [], []
    for group in middle:
        started = time.perf_counter()
        trainer.update(next(trainer.feed([group])))
        trainer.read_last_update()
        seconds.append(time.perf_counter() - started)
        frames.append(sum(int(known[batch].sum()) for batch in group))
    timed = slice(1, None) if len(seconds) > 1 else slice(None)
    rate = sum(frames[timed]) / sum(seconds[timed])
    epoch_seconds = int(lengths.sum()) / rate
    size = f"{options.frames_per_batch:,} frames" if options.frames_per_batch else f"{options.batch_size} sentences"
    rows = {
        "train sentences": f"{len(lengths):,} ({len(trainer.train.split) - len(lengths)} left out)",
        "train frames": f"{int(lengths.sum()):,}",
        "dev sentences": f"{len(trainer.dev.split):,}",
        "dev frames": f"{int(trainer.dev.split.lengths.sum()):,}",
        "glosses": f"{len(trainer.vocabulary.glosses):,}",
        "parameters": f"{count_parameters(trainer.model):,}",
        "batches an epoch": f"{len(plan):,} of up to {size}",
        "updates an epoch": f"{len(groups):,}",
        "padding waste": f"{100 * padding_waste(plan, shown):.1f} %",
        "train frames/s": f"{rate:,.0f} ({len(seconds[timed])} updates timed)",
        "time an epoch": f"{_duration(epoch_seconds)} (estimated, without dev)",
        "time of the run": f"{_duration(epoch_seconds * options.epochs)} for {options.epochs} epochs (estimated)",
    }
    rows["peak memory"] = f"{peak_memory(trainer.device):.2f} GB"
    width = max(map(len, rows))
    print("dry run, nothing is written:")
    for name, value in rows.items():
        print(f"  {name:<{width}}  {value}")


def _statistics(trainer: Trainer, *limits: int) -> list[torch.Tensor]:
    """Mean and standard deviation of the train split's features, on the CPU; the same to the bit on all processes."""
    return trainer.ranks.from_writer(
        lambda: [
            one.cpu()
            for one in feature_statistics(trainer.pipeline, trainer.train.split, *limits, sentences=trainer.trainable)
        ]
    )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def execute(run: Run) -> dict:
    """Train the run to its end and write its results. Returns result.json's content, which the writer alone has.

    Raises DataError on a full disk and UsageError when the memory is too small or nothing can be compiled.
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
                held.enter_context(claim(run.folder, aside=not own))
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
        trainer.save()  # whatever happens in the first epoch: there is a good state, and the folder takes one
    if start.kind == FINE_TUNE:
        loaded = evaluate(
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
        print(f"this run is complete ({len(trainer.progress.history)} epochs): nothing left to train")
        absent = not (trainer.folder / LAST).exists()
        if trainer.ranks.from_writer(lambda: absent):  # continued in another folder
            if is_writer:
                RunLog(trainer.folder, trainer.progress.history).close()
            trainer.save()
    else:
        trainer.run()
    return session


def _adopt_best(run: Run) -> None:
    """See to it that the run's folder holds its best model: it may be continued in another folder, or have been killed
    between writing last.pth and best_model.pth. A damaged one is passed over, which is said: then the best of the epochs
    that follow is kept. Raises DataError when the best model is nowhere."""
    trainer, checkpoint, best = run.trainer, run.start.path, run.folder / BEST
    if not math.isfinite(trainer.stopping.best_wer):
        return  # no epoch is done yet
    itself = trainer.stopping.best_epoch == len(trainer.progress.history) and trainer.progress.group == 0
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
        print(f"warning: {error}; the best model of the epochs up to {len(trainer.progress.history)} is lost")
        trainer.stopping.best_wer, trainer.stopping.best_epoch = math.inf, 0
    else:
        if source.resolve() != best.resolve():
            copy_checkpoint(source, best)


def _tune(run: Run, checkpoint: dict, posteriors: list[torch.Tensor]) -> tuple[LengthNormalization, Decoder]:
    """Choose the adaptive decoder's settings on dev and keep them in the best checkpoint."""
    trainer = run.trainer
    language_model = train_language_model(trainer.train.references, trainer.vocabulary)
    expected = trainer.decoder_settings.steps_per_gloss
    settings = tune(posteriors, trainer.dev.references, trainer.vocabulary, expected, language_model)
    entry = decoder_entry(settings, language_model, f"dev of {run.corpus.name}")
    if {**entry, "language_model": None} != {**checkpoint["decoder"], "language_model": None}:
        save_checkpoint(run.folder / BEST, {**checkpoint, "decoder": entry})
    print(f"decoder settings chosen on dev: {settings}")
    return settings, make_decoder("adaptive", settings, language_model)


def _finish(run: Run, session: dict) -> dict:
    """Evaluate the best checkpoint with the chosen decoder; write result.json and hypotheses, then curves, card and report."""
    trainer, options = run.trainer, run.config.training
    checkpoint = load_checkpoint(run.folder / BEST)
    trainer.model.load_state_dict(checkpoint["model"])
    posteriors = read_posteriors(trainer.model, trainer.pipeline, trainer.dev.split, trainer.precision)
    settings = trainer.decoder_settings
    if options.decoder == "adaptive":
        settings, decoder = _tune(run, checkpoint, posteriors)
    else:
        decoder = make_decoder(options.decoder, settings)
    started = time.perf_counter()
    readings = decode_posteriors(posteriors, decoder)
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
        "frames_per_second": progress.total_frames / progress.total_seconds if progress.total_seconds else 0.0,
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
    reading = Reading(run.corpus, trainer.dev.split, trainer.vocabulary, posteriors, readings, hypotheses)
    summary = f"{found}, 95 % interval {interval[0]:.2f} to {interval[1]:.2f}"
    _report(run, summary, hypotheses)
    write_papers(trainer, result, reading, (options.decoder, settings, milliseconds), session)
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
