"""What a run does at its end: evaluate the best model on dev, and write result.json and report."""

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from decoding.batches import decode_sentences
from decoding.decoders import decoder_entry, make_decoder
from decoding.language_model import LanguageModel, train_language_model_if_small
from decoding.length_normalization import LengthNormalization, tune
from decoding.novelty import TrainText, errors_by_novelty
from decoding.scoring import Score, align, bootstrap_interval, total
from inference.posteriors import sentence_posteriors, split_posteriors
from models.build import set_prediction
from models.checkpoint import BEST, load_checkpoint, save_checkpoint
from models.i3d_teacher import count_parameters
from models.prediction import SEQUENCE_ALONE, log_prior_of
from reports.decoded_split import DecodedSplit
from reports.interval_words import interval_text
from reports.novelty_tables import novelty_lines
from reports.result_files import write_hypotheses, write_json
from reports.run_report import FinishedRun, decoders_of_run, write_run_report
from reports.verdict import GREEDY
from training.head_tuning import tune_heads
from training.setup import Run


def evaluate_best_model(run: Run, session: dict[str, Any]) -> dict[str, Any]:
    """Evaluate best_model.pth on dev with the decoder of the configuration.

    Writes result.json, dev_hypotheses.csv, MODEL_CARD.md and report.html.

    Args:
        run: a run that has been trained.
        session: what environment.json records of this session.

    Returns the content of result.json.
    """
    trainer, options = run.trainer, run.config.training
    checkpoint = load_checkpoint(run.folder / BEST)
    trainer.model.load_state_dict(checkpoint["model"])
    set_prediction(trainer.model, checkpoint, run.folder / BEST)  # of an earlier final evaluation
    of_dev = trainer.model, trainer.pipeline, trainer.dev.split, trainer.precision
    settings, decoder = trainer.decoder_settings, None
    if options.decoder == "adaptive":
        heads = _join_heads(run)
        settings, language_model = _tune_decoder(run, split_posteriors(*of_dev))
        decoder = make_decoder("adaptive", settings, language_model)
        tuned_on = f"dev of {run.corpus.name}"
        entry = decoder_entry(settings, language_model, tuned_on)
        tuned = checkpoint | {"heads": heads, "decoder": entry}
        if _plain(tuned) != _plain(checkpoint):
            save_checkpoint(run.folder / BEST, tuned)
    decoders = decoders_of_run(options.decoder, settings, trainer.model.prediction, decoder)
    found = decode_sentences(
        split_posteriors(*of_dev),
        len(trainer.dev.split),
        {name: one.decode for name, one in decoders.items()},
    )
    classes = found.predictions[options.decoder]
    hypotheses = [trainer.vocabulary.decode(row) for row in classes]
    aligned = align(trainer.dev.references, hypotheses)
    score, interval = total(aligned), bootstrap_interval(aligned)
    in_words = decoders[options.decoder].settings
    result = _result(run, score, list(interval), in_words)
    trained = [trainer.train.references[index] for index in trainer.train.trainable]
    train_text = TrainText.of(trained, run.corpus.describe())
    result["novelty"] = errors_by_novelty(trainer.dev.references, hypotheses, aligned, train_text)
    write_json(run.folder / "result.json", result)
    write_hypotheses(run.folder / "dev_hypotheses.csv", trainer.dev.split.sentences, hypotheses)
    _print_result(run, score, interval, hypotheses)
    print("\n".join(f"  {line}" for line in novelty_lines(result["novelty"])))
    decoded = DecodedSplit(
        run.corpus,
        trainer.dev.split,
        trainer.vocabulary,
        partial(sentence_posteriors, *of_dev),
        classes,
        hypotheses,
        found.blank_share,
    )
    finished = FinishedRun(
        folder=run.folder,
        history=trainer.progress.history,
        result=result,
        settings=run.config.to_dict(),
        session=session,
        loaded_wer=trainer.progress.loaded_wer,
    )
    write_run_report(finished, decoded, found, decoders.values())
    print(f"run folder: {run.folder}")
    return result


def _join_heads(run: Run) -> dict[str, Any]:
    """Choose on dev how the model joins its heads, and let it predict so from now on. Returns
    `heads` of the checkpoint."""
    trainer = run.trainer
    model, vocabulary = trainer.model, trainer.vocabulary
    counts = torch.from_numpy(trainer.train.class_counts(vocabulary.size))
    log_prior = log_prior_of(counts)
    tuned = tune_heads(
        model, trainer.pipeline, trainer.dev, vocabulary, trainer.precision, log_prior
    )
    model.prediction.use(tuned.heads, log_prior)
    gain = f" (greedy WER {tuned.wer:.2f} %; the sequence head alone: {tuned.wer_alone:.2f} %)"
    print(f"heads chosen on dev: {tuned.heads}{'' if tuned.heads == SEQUENCE_ALONE else gain}")
    return {**asdict(tuned.heads), "log_prior": log_prior}


def _plain(checkpoint: dict[str, Any]) -> list[dict[str, Any]]:
    """What was tuned, without the tables that follow from the train split."""
    tables = ("language_model", "log_prior")
    return [
        {key: value for key, value in checkpoint.get(name, {}).items() if key not in tables}
        for name in ("decoder", "heads")
    ]


def _tune_decoder(
    run: Run, posteriors: Iterator[tuple[int, Tensor]]
) -> tuple[LengthNormalization, LanguageModel | None]:
    """Choose the settings of the adaptive decoder on dev."""
    trainer = run.trainer
    language_model = train_language_model_if_small(trainer.train.references, trainer.vocabulary)
    settings = tune(
        posteriors,
        trainer.dev.references,
        trainer.vocabulary,
        trainer.decoder_settings.steps_per_gloss,
        language_model,
    )
    print(f"decoder settings chosen on dev: {settings}")
    return settings, language_model


def _result(run: Run, found: Score, interval: list[float], decoder: str) -> dict[str, Any]:
    """The content of result.json. decoder: its settings in words."""
    trainer, progress, corpus = run.trainer, run.trainer.progress, run.corpus
    seconds = progress.total_seconds
    result = {
        "best_dev_wer": found.wer,
        "best_dev_wer_interval": interval,
        "best_epoch": trainer.stopping.best_epoch,
        "epochs_run": len(progress.history),
        "parameters": count_parameters(trainer.model),
        "seconds": seconds,
        "frames_per_second": progress.total_frames / seconds if seconds else 0.0,
        # Epochs that an earlier version trained do not have it.
        "peak_memory_gb": max(row.get("peak_memory_gb", 0.0) for row in progress.history),
        "decoder": run.config.training.decoder,
        # Of best_dev_wer. greedy_dev_wer is the WER that chose the best epoch.
        "decoder_settings": decoder,
        "heads": str(trainer.model.prediction.heads),
        "greedy_dev_wer": trainer.stopping.best_wer,
        "greedy_dev_wer_heads": str(SEQUENCE_ALONE),
        "substitutions": found.substitutions,
        "deletions": found.deletions,
        "insertions": found.insertions,
        "reference_glosses": found.reference_glosses,
        "skipped_updates": sum(row["skipped_updates"] for row in progress.history),
        "train_sentences_left_out": len(trainer.train.split) - len(trainer.plan.trainable),
        "dev_glosses_unknown": len(trainer.dev.unknown_glosses),
        "corpus": corpus.name,
        "corpus_path": str(corpus.path),
        "corpus_fingerprint": corpus.fingerprint,
        "simulated": corpus.simulated,
        "composed": corpus.composed,
    }
    if trainer.teacher is not None:
        result["teacher"] = trainer.teacher
    if progress.loaded_wer is not None:
        result["loaded_dev_wer"] = progress.loaded_wer
    return result


def _print_result(
    run: Run, found: Score, interval: tuple[float, float], hypotheses: list[list[str]]
) -> None:
    """Print the WER and three sentences spread over dev."""
    trainer, stopping = run.trainer, run.trainer.stopping
    print(f"\nbest epoch {stopping.best_epoch}, dev WER {stopping.best_wer:.2f} % ({GREEDY})")
    if (loaded := trainer.progress.loaded_wer) is not None:
        verdict = "better than" if stopping.best_wer < loaded else "not better than"
        print(f"fine-tuning is {verdict} the loaded model ({loaded:.2f} %)")
    in_words = interval_text(found.wer, interval, found.sentences)
    decoder = run.config.training.decoder
    print(f"dev of {run.corpus.describe()}, {decoder} decoder: {found}, {in_words}")
    sentences = trainer.dev.split.sentences
    for index in np.linspace(0, len(sentences) - 1, min(3, len(sentences))).astype(int):
        print(f"  {sentences[index].id}")
        print(f"    reference   {' '.join(sentences[index].glosses)}")
        print(f"    hypothesis  {' '.join(hypotheses[index]) or '(empty)'}")
