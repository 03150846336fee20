"""Preparing a run: corpus, vocabulary, model and trainer."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import torch

from data.checks.changed_files import warn_of_changed_files
from data.corpus import Corpus
from data.ctc_lengths import TIME_STRIDE, ctc_steps
from data.ctc_targets import PreparedSplit, prepare_split
from data.extractors import warn_of_other_extractor
from data.keyed_random import key
from data.landmarks import LandmarkSelection
from data.pipeline import FeaturePipeline
from data.vocabulary import Vocabulary
from decoding.length_normalization import LengthNormalization
from errors import DataError, UsageError, counted, enough_memory, shown_names
from inference.opened_checkpoint import refuse_corpus_of_other_rate
from models.build import build_model, is_causal, load_model
from models.devices import Precision, choose_device
from models.i3d_teacher import I3DTeacher, count_parameters
from models.machine_choices import choose_machine, keep_precision, kept_choices
from models.part_encoder import PartEncoderModel
from models.student import Student
from training.config import Config, TrainingConfig
from training.corpus_checks import check_splits, read_content
from training.distributed import Ranks
from training.resume import CONTINUE, Start, StartPlan
from training.run_files.remembered_statistics import remembered_statistics
from training.run_files.run_folder import refuse_file_as_folder, run_folder
from training.trainer import Trainer


@dataclass(frozen=True)
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
    plan: StartPlan,
    extend_vocabulary: bool = False,
    make_trainer: Callable[..., Trainer] = Trainer,
    vocabulary: Vocabulary | None = None,
    ranks: Ranks | None = None,
    beside: PartEncoderModel | None = None,
    check: Callable[[Corpus, Vocabulary, PreparedSplit], None] | None = None,
) -> Run:
    """Open the corpus, decide how the run starts, and make model and trainer. Writes nothing.

    Args:
        plan: what was asked for, and the checkpoint.
        extend_vocabulary: add the corpus's new glosses to the checkpoint's.
        make_trainer: takes the fields of `Trainer`.
        vocabulary: of a fresh run, in place of the glosses of the train split.
        ranks: the ranks of the run (default: one).
        beside: a model that predicts every batch, too, such as a student's teacher.
        check: raises if corpus, vocabulary and train split do not fit; called before anything is
            printed about the splits.

    Raises UsageError and DataError.
    """
    ranks = ranks or Ranks()
    options = plan.config.training
    if not options.frames_per_batch:  # with a frame budget a rank may have no share of a batch
        ranks.check_batch_size(options.batch_size)
    device = choose_device(ranks.device(options.device), options.deterministic)
    precision = Precision(options.precision, device)
    refuse_file_as_folder(run_folder(options.output_dir))
    corpus = _corpus_of(plan)
    content = plan.content or read_content(corpus)
    changed_files = warn_of_changed_files(corpus, content.digests)
    start = plan.decide(corpus.fingerprint, corpus.path, changed_files)
    config = start.config
    if start.checkpoint is not None:
        assert start.path is not None
        refuse_corpus_of_other_rate(corpus, start.checkpoint, start.path)
        warn_of_other_extractor(start.checkpoint, corpus)
    if extend_vocabulary and start.checkpoint is None:
        raise UsageError(
            "--extend_vocabulary extends the vocabulary of a checkpoint, and there is none "
            f"({start.reason})"
        )
    kept = None
    if start.kind == CONTINUE:
        assert start.checkpoint is not None
        kept = kept_choices(start.checkpoint["training"], device)
    precision = keep_precision(options.precision, precision, kept)
    vocabulary = choose_vocabulary(start, corpus, extend_vocabulary, vocabulary)
    train = prepare_split(corpus.split("train"), vocabulary)
    if check is not None:
        check(corpus, vocabulary, train)
    dev = prepare_split(corpus.split("dev"), vocabulary)
    train = check_splits(corpus, train, dev, options.skip_bad, content)
    if not any(dev.references):
        raise DataError(f"{corpus.path}: the dev split has no glosses to score")
    with enough_memory(smaller_batches(config.training)):
        model = _model_of(start, vocabulary, device)
    again = "linear_layers" in plan.overrides.get("training", {})
    models, way = [model, *([beside] if beside else [])], config.training.linear_layers
    left_open = options.precision == "auto"
    steps = _steps_of_batch(options)
    machine = choose_machine(way, models, precision, kept, again, steps, left_open)
    precision = Precision(machine.precision, device)
    selection = LandmarkSelection({*chain(*(one.input_landmarks for one in models))})
    model.set_input_selection(selection)
    pipeline = FeaturePipeline(
        corpus.aspect_ratio,
        device,
        is_causal(config.model),
        selection,
        config.model.leading_hand,
    )
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
        machine,
        ranks=ranks,
    )
    if start.kind == CONTINUE:
        assert start.checkpoint is not None
        trainer.restore(start.checkpoint)
    place = pipeline.keep_resident([train.split, dev.split])
    processes = f"{ranks.world} processes, " if ranks.world > 1 else ""
    print(
        f"corpus {corpus.describe()}: {len(train.split)} train and "
        f"{counted(len(dev.split), 'dev sentence')}, "
        f"{counted(len(vocabulary.glosses), 'gloss')}\n"
        f"{config.kind}: {count_parameters(model) / 1e6:.1f} M parameters, "
        f"{precision.describe()} on {device}, {processes}{place}\n{machine}"
    )
    if options.warmup_epochs >= options.epochs:
        print(
            f"warning: --warmup_epochs {options.warmup_epochs:g} is not shorter than --epochs "
            f"{options.epochs}: the learning rate never reaches {options.learning_rate:g}"
        )
    return Run(start.without_checkpoint(), trainer, corpus)


def _steps_of_batch(options: TrainingConfig) -> int:
    """About how many output steps a batch has: sentences of 140 frames."""
    frames = options.frames_per_batch or 140 * options.batch_size
    return frames // TIME_STRIDE


def folder_of_corpus(plan: StartPlan) -> str | None:
    """The corpus folder of a teacher's run; None for the built-in corpus."""
    return plan.config.training.data_dir


def prepare_on_all_ranks(
    ranks: Ranks,
    make_plan: Callable[[], StartPlan],
    prepare: Callable[[StartPlan], Run],
    find_corpus: Callable[[StartPlan], str | None] = folder_of_corpus,
) -> Run:
    """Prepare the run on every rank. Rank 0 plans how it starts; all must have the same corpus.

    One rank of each machine reads the files of the corpus in full.

    Args:
        ranks: the ranks of the run.
        make_plan: called on rank 0.
        prepare: called on every rank, such as `prepare_run`.
        find_corpus: the folder of the corpus that `prepare` opens, as `open_corpus` takes it.

    Raises UsageError and DataError, each printed once.
    """
    with ranks.all_must_succeed():
        plan = ranks.from_rank_0(make_plan)
    if ranks.world > 1:
        with ranks.all_must_succeed():
            content = ranks.once_per_machine(lambda: read_content(open_corpus(find_corpus(plan))))
        plan = replace(plan, content=content)
    with ranks.all_must_succeed():
        run = prepare(plan)
    with ranks.all_must_succeed():
        fingerprints = ranks.gather(run.corpus.fingerprint)
        if run.corpus.fingerprint != fingerprints[0]:
            raise DataError(
                f"{run.corpus.path}: this corpus differs from the one that rank 0 has there"
            )
    return run


def open_corpus(data_dir: str | None) -> Corpus:
    """The corpus folder; without one the built-in simulated corpus, which is made on first use."""
    if data_dir is None:
        from data.simulation.corpora import builtin_corpus

        path = builtin_corpus()
        print(f"no --data_dir: using the built-in corpus of simulated signers, {path}")
        return Corpus(path)
    return Corpus(data_dir)


def _corpus_of(plan: StartPlan) -> Corpus:
    """The corpus of the plan. Raises DataError; if it is that of the checkpoint, with the way to
    give its new place."""
    try:
        return open_corpus(plan.config.training.data_dir)
    except DataError as error:
        if plan.checkpoint is None or "data_dir" in plan.overrides.get("training", {}):
            raise
        raise DataError(
            f"{error}; {plan.path} was trained on it: if it was moved, give its new place with "
            "--data_dir"
        ) from None


def choose_vocabulary(
    start: Start, corpus: Corpus, extend: bool, given: Vocabulary | None = None
) -> Vocabulary:
    """The checkpoint's vocabulary; for a fresh run the given one or that of the train split.

    Glosses of the corpus that the checkpoint does not know are added with `extend`; otherwise they
    raise UsageError.
    """
    sentences = [sentence.glosses for sentence in corpus.split("train").sentences]
    if start.checkpoint is None:
        return given or Vocabulary.from_sentences(sentences)
    known = Vocabulary(start.checkpoint["vocabulary"])
    new = sorted(set(known.unknown(sentences)))
    if new and not extend:
        raise UsageError(
            f"{corpus.path} has {counted(len(new), 'gloss')} that the checkpoint {start.path} does "
            f"not know ({shown_names(new, 5)}): add --extend_vocabulary to learn them, or start a "
            "new training without --resume"
        )
    return known.extended(sentences)


def _model_of(start: Start, vocabulary: Vocabulary, device: torch.device) -> I3DTeacher | Student:
    """The model of a run, on the device. Raises UsageError and DataError."""
    config = start.config
    model: I3DTeacher | Student
    if start.checkpoint is None:
        model = make_model(config, vocabulary, device)
    else:
        assert start.path is not None
        seed = config.training.seed
        model = load_model(start.checkpoint, start.path, config.model, vocabulary, seed).to(device)
    if config.training.compile:
        if not isinstance(model, I3DTeacher):
            raise UsageError(
                "training.compile (--compile of train_teacher.py): only the front of a teacher can "
                f"be compiled, not that of a {config.kind}; leave the key out of the YAML file"
            )
        model.compile_front()
    return model


def make_model(
    config: Config, vocabulary: Vocabulary, device: torch.device
) -> I3DTeacher | Student:
    """A new teacher or student. Its weights depend on the seed alone."""
    torch.manual_seed(key(config.training.seed, "weights") % 2**63)
    return build_model(config.model, vocabulary.size).to(device)


def steps_per_gloss(split: PreparedSplit) -> float:
    """Output steps per gloss of the train split: the length that the adaptive decoder expects."""
    steps = sum(ctc_steps(sentence.frames) for sentence in split.split.sentences)
    return steps / max(sum(len(glosses) for glosses in split.references), 1)


def train_statistics(trainer: Trainer, max_frames: int = 200_000) -> list[torch.Tensor]:
    """Mean and standard deviation of the features of the train split, (6516,) each, on the CPU.

    Rank 0 computes them, so that they are identical on all ranks, or finds them in the memory of
    the corpus. max_frames: about this many frames are used.
    """
    return trainer.ranks.from_rank_0(
        lambda: remembered_statistics(
            trainer.corpus,
            trainer.pipeline,
            trainer.train.split,
            max_frames,
            trainer.plan.trainable,
        )
    )


def smaller_batches(options: TrainingConfig) -> str:
    """Advice for `enough_memory`: how a run needs less memory."""
    size = "frames_per_batch" if options.frames_per_batch else "batch_size"
    return (
        f"lower --{size} (now {getattr(options, size)}) and raise --accumulation_steps (now "
        f"{options.accumulation_steps}) by the same factor, or lower the model's sizes"
    )


@contextlib.contextmanager
def able_to_compile(options: TrainingConfig) -> Iterator[None]:
    """Turn errors of torch.compile inside the block into a UsageError."""
    try:
        yield
    except RuntimeError as error:
        if not options.compile or not isinstance(error, torch._dynamo.exc.TorchDynamoException):
            raise
        reason = str(getattr(error, "inner_exception", error)).splitlines()[0]
        raise UsageError(
            f"--compile: torch cannot compile on this machine ({reason}): install what is missing, "
            "a C++ compiler for the CPU or Triton for GPUs, or leave --compile out"
        ) from None
