"""A run made ready: corpus, vocabulary, model and trainer."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from data.corpus import Corpus
from data.ctc_lengths import ctc_steps
from data.ctc_targets import PreparedSplit, prepare_split
from data.keyed_random import key
from data.landmarks import Layout
from data.pipeline import FeaturePipeline, feature_statistics
from data.vocabulary import Vocabulary
from decoding.length_normalization import LengthNormalization
from errors import DataError, UsageError
from models.build import build_model, is_causal, load_model
from models.devices import Precision, choose_device
from models.i3d_teacher import count_parameters
from training.config import Config, TrainingConfig
from training.corpus_checks import check_splits, warn_of_changed_files
from training.distributed import Ranks
from training.resume import CONTINUE, FRESH, Start
from training.run_folder import run_folder
from training.trainer import Trainer


def open_corpus(data_dir: str | None) -> Corpus:
    """The corpus folder, or the built-in simulated corpus (made on first use) when none is given;
    says which."""
    if data_dir is None:
        from data.simulation.corpora import builtin_corpus

        path = builtin_corpus()
        print(f"no --data_dir: using the built-in corpus of simulated signers, {path}")
        return Corpus(path)
    return Corpus(data_dir)


def steps_per_gloss(split: PreparedSplit) -> float:
    """Output steps for each gloss of the train split: what the adaptive decoder expects of a
    sentence."""
    steps = sum(ctc_steps(sentence.frames) for sentence in split.split.sentences)
    return steps / max(sum(len(glosses) for glosses in split.references), 1)


@contextlib.contextmanager
def enough_memory(options: TrainingConfig) -> Iterator[None]:
    """What is done in it raises UsageError where the memory is too small for the model or for a
    batch."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        reason = (str(error) or "no memory").splitlines()[0]
        # CUDA's error has a type of its own, the CPU's is told by its words.
        if (
            not isinstance(error, MemoryError | torch.OutOfMemoryError)
            and "can't allocate memory" not in reason
        ):
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
    """A new teacher or student whose weights depend on the seed alone. Raises UsageError when the
    memory is too small."""
    torch.manual_seed(key(config.training.seed, "weights") % 2**63)
    with enough_memory(config.training):
        return build_model(config.model, vocabulary.size).to(device)


def choose_vocabulary(
    start: Start, corpus: Corpus, extend: bool, given: Vocabulary | None = None
) -> Vocabulary:
    """From the train split, or the one given, or the checkpoint's; its new glosses are an error
    unless `extend`. Raises UsageError."""
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
    """Open the corpus, choose the vocabulary, build or load the model; prints what it does. Writes
    nothing.

    make_trainer: takes the fields of `Trainer`. vocabulary: of a fresh run, in place of the train
    split's own. ranks: the processes of the run (default: this one alone). also_read: landmarks
    that are wanted in the features besides those that the model reads.
    """
    config, ranks = start.config, ranks or Ranks()
    if not config.training.frames_per_batch:  # else a process may have no share of a batch
        ranks.check_batch_size(config.training.batch_size)
    device = choose_device(ranks.device(config.training.device), config.training.deterministic)
    precision = Precision(config.training.precision, device)
    corpus = open_corpus(config.training.data_dir)
    warn_of_changed_files(corpus)
    if start.kind == CONTINUE:
        start = start.for_corpus(corpus.fingerprint)
        config = start.config
    if extend_vocabulary and start.kind == FRESH:
        raise UsageError(
            f"--extend_vocabulary extends a checkpoint's vocabulary, and there is none ({start.reason})"
        )
    vocabulary = choose_vocabulary(start, corpus, extend_vocabulary, vocabulary)
    train = prepare_split(corpus.split("train"), vocabulary)
    dev = prepare_split(corpus.split("dev"), vocabulary)
    train = check_splits(corpus, train, dev, config.training.skip_bad)
    if not any(dev.references):
        raise DataError(f"{corpus.path}: the dev split has no glosses to score")

    if start.kind == FRESH:
        model = make_model(config, vocabulary, device)
    else:
        model = load_model(
            start.checkpoint, start.path, config.model, vocabulary, config.training.seed
        ).to(device)
    if config.training.compile:
        if not hasattr(model, "compile_front"):
            raise UsageError(
                f"training.compile: only the teacher's front can be compiled, not a {config.kind}'s"
            )
        model.compile_front()
    layout = Layout({*model.input_landmarks, *also_read})
    model.set_input_layout(layout)
    pipeline = FeaturePipeline(corpus.aspect_ratio, device, is_causal(config.model), layout)
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
    # Its tensors are in the model and the optimiser now
    return Run(replace(start, checkpoint=None), trainer, corpus)


def make_ready(ranks: Ranks, plan: Callable[[], Start], prepare: Callable[[Start], Run]) -> Run:
    """A run that is ready on all its processes: they start from what the writer finds, and on the
    same corpus.

    plan: how the run starts. prepare: `prepare_run`, or what ends in it. Raises UsageError and
    DataError, each said once.
    """
    with ranks.together():
        start = ranks.from_writer(plan)
    with ranks.together():
        run = prepare(start)
    with ranks.together():
        fingerprints = ranks.gather(run.corpus.fingerprint)
        if run.corpus.fingerprint != fingerprints[0]:
            raise DataError(
                f"{run.corpus.path}: not the corpus that process 0 of this run has under that name"
            )
    return run


def _statistics(trainer: Trainer, *limits: int) -> list[torch.Tensor]:
    """Mean and standard deviation of the train split's features, on the CPU; the same to the bit on
    all processes."""
    return trainer.ranks.from_writer(
        lambda: [
            one.cpu()
            for one in feature_statistics(
                trainer.pipeline, trainer.train.split, *limits, sentences=trainer.trainable
            )
        ]
    )
