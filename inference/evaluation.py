"""Evaluates a checkpoint on a split: predicts, decodes, scores, and writes the results."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data.checks.file_hash import sha256_of
from data.checks.unseen_sentences import parts_seen
from data.corpus import Corpus, Split
from data.ctc_targets import PreparedSplit
from data.landmarks import PARTS
from data.output_place import writing_into
from data.sentences import NO_SIGNER
from data.sources.annotations.phoenix_cleanup import (
    normalize_phoenix2014,
)
from data.vocabulary import Vocabulary
from decoding.batches import DecodedSentences, decode_sentences
from decoding.closed_set import ClosedSet
from decoding.novelty import TrainText, errors_by_novelty
from decoding.sclite import sclite_warning
from decoding.scoring import (
    SentenceErrors,
    align,
    bootstrap_interval,
    breakdown,
    paired_p_value,
    total,
)
from errors import DataError, UsageError
from inference.evaluating.clean_up import (
    clean_hypothesis,
    cleaned_glosses,
    with_unknown_after_clean_up,
)
from inference.evaluating.closed_evaluation import (
    closed_set_lines,
    closed_set_report,
    closed_set_results,
)
from inference.evaluating.evaluation_files import (
    SUBMISSION,
    Baseline,
    check_folder,
    read_baseline,
    write_predictions,
    write_results,
)
from inference.evaluating.split_warnings import (
    presence_warnings,
    reference_warning,
    what_is_simulated,
)
from inference.model_on_corpus import ModelOnCorpus, open_model_on_corpus
from inference.requests import EvaluationRequest
from reports.decoded_split import DecodedSplit
from reports.decoder_comparison import (
    ComparedDecoder,
    DecoderResult,
    compare_decoders,
    compared_decoders,
)
from reports.evaluation_report import EvaluationReport, write_evaluation_report
from reports.interval_words import wer_interval_text
from reports.no_reference import no_reference_lines
from reports.novelty_tables import novelty_lines
from reports.provenance import describe_session, environment_facts
from reports.result_files import try_to_write
from reports.verdict import GREEDY, evaluation_verdict


def evaluate_checkpoint(request: EvaluationRequest) -> dict[str, Any]:
    """Decode and score the split. Print a summary, and write hypotheses.csv, sentences.csv,
    submission.csv, hypotheses.ctm, references.stm, result.json, environment.json and report.html.
    For a test split without glosses, write the hypotheses alone.

    Returns the content of result.json. Raises UsageError and DataError.
    """
    model = open_model_on_corpus(request.checkpoint, request.data_dir, request.device)
    folder = request.folder(None if model.is_corpus_of_training else model.corpus.name)
    check_folder(folder, request.input_files, request.overwrite)
    with writing_into(folder):
        # Another evaluation may just have ended
        check_folder(folder, request.input_files, request.overwrite)
        return _evaluate(request, model, folder)


def _evaluate(request: EvaluationRequest, model: ModelOnCorpus, folder: Path) -> dict[str, Any]:
    """`evaluate_checkpoint`, with the results in this folder."""
    # The checkpoint of a training that goes on will be another one when this is done
    session = _describe_session(request, model)
    corpus, prepared = model.corpus, model.prepared(request.split)
    split = prepared.split
    can_score = any(prepared.references)
    if not can_score and request.split != "test":
        raise DataError(f"{corpus.path}: the {request.split} split has no glosses to score")
    if not can_score and request.compare_with:
        raise UsageError(f"--compare_with: the test split of {corpus.path} has no glosses to score")
    baseline = (
        read_baseline(request.compare_with, split, request.scoring)
        if request.compare_with
        else None
    )
    closed_set = model.closed_set(request.closed_set) if request.decoder == "closed" else None
    if request.cleans_up:  # as the references are, and the hypotheses will be
        train_text = model.train_text(normalize_phoenix2014)
        prepared = with_unknown_after_clean_up(prepared, model.vocabulary)
    else:
        train_text = model.train_text()
    seen = parts_seen(split)  # where no pose was detected, there is no gloss
    unseen = np.flatnonzero(~seen[:, PARTS.index("pose")]).tolist()
    if len(unseen) == len(split):
        raise DataError(
            f"{corpus.path}: no pose was detected in any sentence of the {request.split} split: "
            "there is nothing to evaluate; look at the corpus with prepare_data.py check"
        )
    without_reference = sum(not reference for reference in prepared.references)
    for line in [
        *prepared.warnings(),
        *presence_warnings(split, seen, unseen),
        *reference_warning(split, without_reference),
    ]:
        print(f"warning: {line}")

    predicted = _predict(request, model, split, closed_set)
    if warning := sclite_warning(chain(predicted.hypotheses, prepared.references)):
        print(f"warning: {warning}")
    if simulated := [*what_is_simulated(model)]:
        tell = "result.json, report.html and environment.json" if can_score else "environment.json"
        print(
            f"note: {' and '.join(simulated)}; of the results, only {tell} can say so, and the "
            "csv, ctm and stm files cannot"
        )
    if not can_score:
        _write_predictions(folder, corpus, split, predicted, session)
        return {"sentences": len(split), "decoder_settings": predicted.settings}

    aligned = align(prepared.references, predicted.hypotheses)
    result = {
        "checkpoint": str(request.checkpoint),
        "corpus": corpus.name,
        "corpus_path": str(corpus.path),
        "corpus_fingerprint": corpus.fingerprint,
        "simulated": corpus.simulated,
        "composed": corpus.composed,
        "trained_on": model.trained_on,
        "trained_on_simulated": bool(model.checkpoint["corpus"]["simulated"]),
        "split": request.split,
        "decoder": request.decoder,
        "decoder_settings": predicted.settings,
        "scoring": request.scoring,
        "sentences_without_reference": without_reference,
        "sentences_without_pose": [split.sentences[index].id for index in unseen],
        **_scores(prepared, predicted, aligned, train_text, closed_set, model.vocabulary),
    }
    if baseline is not None:
        result["compared_with"] = _comparison(aligned, baseline)

    hypotheses, spans = predicted.hypotheses, predicted.spans
    write_results(folder, split, hypotheses, spans, corpus.fps, aligned, result, session)
    kind = "closed-set " if closed_set is not None else ""
    _print_summary(result, f"{request.split} of {corpus.describe()}: {kind}{total(aligned)}")
    _write_page(folder / "report.html", request, model, split, predicted, result, session)
    print(f"evaluation: {folder}")
    return result


class _Predicted(NamedTuple):
    """The predictions for a split.

    decoders: those that were run, by name. found: what they predicted.
    classes: the class indices of the requested decoder. settings: its settings in words.
    hypotheses, spans: its glosses and their steps, after the clean-up if it is requested.
    clean_up: of a hypothesis.
    """

    decoders: dict[str, ComparedDecoder]
    found: DecodedSentences
    classes: Sequence[list[int]]
    settings: str
    hypotheses: list[list[str]]
    spans: Sequence[list[tuple[int, int]]]
    clean_up: Callable[[Sequence[str]], list[str]]


def _predict(
    request: EvaluationRequest, model: ModelOnCorpus, split: Split, closed_set: ClosedSet | None
) -> _Predicted:
    """Decode the split with the requested decoder and those that it is compared with."""
    decoders = _decoders(request, model, closed_set)
    found = decode_sentences(
        model.posteriors(request.split),
        len(split),
        {name: decoder.decode for name, decoder in decoders.items()},
        spans_of=request.decoder,
    )
    classes = found.predictions[request.decoder]
    hypotheses, spans = [model.vocabulary.decode(indices) for indices in classes], found.spans
    if request.cleans_up:
        for index, hypothesis in enumerate(hypotheses):
            hypotheses[index], spans[index] = clean_hypothesis(hypothesis, spans[index])
    clean_up = cleaned_glosses if request.cleans_up else list
    settings = decoders[request.decoder].settings
    return _Predicted(decoders, found, classes, settings, hypotheses, spans, clean_up)


def _write_predictions(
    folder: Path, corpus: Corpus, split: Split, predicted: _Predicted, session: dict[str, Any]
) -> None:
    """Write the files of a test split that has no glosses to score."""
    write_predictions(folder, split, predicted.hypotheses, predicted.spans, corpus.fps, session)
    print(f"decoder: {predicted.settings}")
    print(
        f"test of {corpus.describe()}: {len(split):,} sentences predicted; they have no "
        f"glosses to score\nsubmission: {folder / SUBMISSION}"
    )


def _scores(
    prepared: PreparedSplit,
    predicted: _Predicted,
    aligned: Sequence[SentenceErrors],
    train_text: TrainText | None,
    closed_set: ClosedSet | None,
    vocabulary: Vocabulary,
) -> dict[str, Any]:
    """The error rates of the split, for result.json."""
    references = prepared.references
    figures = {
        **breakdown(aligned, [sentence.signer_name for sentence in prepared.split.sentences]),
        "novelty": train_text
        and errors_by_novelty(references, predicted.hypotheses, aligned, train_text),
    }
    if closed_set is None:
        return figures
    greedy = predicted.found.predictions["greedy"]
    return closed_set_results(
        closed_set, figures, aligned, references, greedy, vocabulary, predicted.clean_up
    )


def _write_page(
    page: Path,
    request: EvaluationRequest,
    model: ModelOnCorpus,
    split: Split,
    predicted: _Predicted,
    result: dict[str, Any],
    session: dict[str, Any],
) -> None:
    """Write report.html, with all decoders on the same log-probabilities."""
    found = predicted.found
    decoded = DecodedSplit(
        model.corpus,
        split,
        model.vocabulary,
        partial(model.posteriors_of, request.split),
        predicted.classes,
        predicted.hypotheses,
        found.blank_share,
    )

    def write(path: Path) -> None:
        decoders = compare_decoders(decoded, found, predicted.decoders.values(), predicted.clean_up)
        report = _report(request, model, decoded, result, decoders, session)
        write_evaluation_report(path, report, decoded)

    if try_to_write(page, write):
        print(f"report: {page}")


def _decoders(
    request: EvaluationRequest, model: ModelOnCorpus, closed_set: ClosedSet | None
) -> dict[str, ComparedDecoder]:
    """The decoder of the request, and those that the report compares it with, by name."""
    decoder, settings = model.make_or_tune_decoder(
        request.decoder, request.language_model, closed_set
    )
    used = ComparedDecoder(request.decoder, settings, decoder)
    names = {"beam": "none"} | (
        {"adaptive": None} if model.checkpoint["decoder"].get("tuned_on") else {}
    )
    others = [
        ComparedDecoder(name, words, other)
        for name, language_model in names.items()
        for other, words in (model.make_or_tune_decoder(name, language_model),)
    ]
    return compared_decoders(used, others, model.model.prediction.named_beside)


def _comparison(aligned: Sequence[SentenceErrors], baseline: Baseline) -> dict[str, Any]:
    """The other evaluation's WER, and the p-value of a paired test, for result.json."""
    return {
        "folder": str(baseline.folder),
        **baseline.facts,
        "wer": total(baseline.aligned).wer,
        "wer_interval": list(bootstrap_interval(baseline.aligned)),
        "sentences": len(baseline.aligned),
        "p_value": paired_p_value(aligned, baseline.aligned),
    }


def _describe_session(request: EvaluationRequest, model: ModelOnCorpus) -> dict[str, Any]:
    seed = model.checkpoint["config"].get("training", {}).get("seed")
    start = f"checkpoint {request.checkpoint}, SHA-256 {sha256_of(request.checkpoint)}, "
    start += f"trained on {model.trained_on}"
    return describe_session(model.corpus, model.device, model.machine, seed, start)


def _report(
    request: EvaluationRequest,
    model: ModelOnCorpus,
    decoded: DecodedSplit,
    result: dict[str, Any],
    decoders: Sequence[DecoderResult],
    session: dict[str, Any],
) -> EvaluationReport:
    """The evaluation's report, with the training curves that the checkpoint holds."""
    training = model.checkpoint["training"]
    history = training["progress"]["history"]
    tiles = []
    if compared := result.get("compared_with"):
        tiles.append((f"p = {compared['p_value']:.4f}", _compared_with(compared)))
    scored = result.get("closed_set", result)
    report = EvaluationReport(
        title=f"Evaluation of {request.checkpoint.resolve().parent.name}/{request.checkpoint.name}",
        subtitle=f"{request.split} of {decoded.corpus.describe()}, {request.decoder} decoder"
        + (", hypotheses after the official clean-up of PHOENIX-2014" if request.cleans_up else ""),
        verdict=evaluation_verdict(
            scored,
            decoded.blank_share,
            trained_on=request.split == "train" and model.is_corpus_of_training,
        ),
        result=scored,
        tiles=tiles,
        history=history,
        best_epoch=training["stopping"]["best_epoch"],
        curves_note=f"The training of this checkpoint up to epoch {len(history)}. The curves show "
        f"dev and train of {model.checkpoint['corpus']['name']}; dev WER: {GREEDY}.",
        decoders=decoders,
        decoders_note=f"All decoders on {request.split}, from the same log-probabilities. A "
        "decoder looks a little better on the dev split that it was tuned on than on new data.",
        settings=model.checkpoint["config"],
        environment=environment_facts(session),
        trained_on=model.trained_on if result["trained_on_simulated"] else "",
    )
    return closed_set_report(report) if "closed_set" in result else report


def _print_summary(result: dict[str, Any], summary: str) -> None:
    print(f"decoder: {result['decoder_settings']}")
    figures = result.get("closed_set", result)
    print(f"{summary}, {wer_interval_text(figures)}")
    if "closed_set" in result:
        print("\n".join(closed_set_lines(result)))
    for title, groups in (("signer", figures["by_signer"]), ("glosses", figures["by_length"])):
        for name, rates in groups.items():
            group = name if name == NO_SIGNER else f"{title} {name}"
            print(
                f"  {group}: {rates['wer']:.2f} % over {rates['sentences']} sentences, "
                f"{wer_interval_text(rates)}"
            )
        for line in no_reference_lines(figures["no_reference"]):
            print(f"  {line}")
    if novelty := figures["novelty"]:
        print("\n".join(f"  {line}" for line in novelty_lines(novelty)))
    for kind, errors in figures["most_common"].items():
        if errors:
            print(f"  {kind}: {', '.join(f'{gloss} ({count})' for gloss, count in errors[:5])}")
    if compared := result.get("compared_with"):
        print(f"{_compared_with(compared)}: p = {compared['p_value']:.4f}")


def _compared_with(compared: dict[str, Any]) -> str:
    decoder, interval = compared["decoder"], wer_interval_text(compared)
    measure = "closed-set WER" if decoder == "closed" else "WER"
    used = f"{decoder} decoder, " if decoder else ""
    return (
        f"compared with {compared['folder']} ({used}{measure} {compared['wer']:.2f} %, {interval})"
    )
