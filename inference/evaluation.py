"""Evaluates a checkpoint on a split: predicts, decodes, scores, and writes the results."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from data.corpus import Split, sha256_of
from data.ctc_lengths import TIME_STRIDE
from data.landmarks import PARTS
from data.sources.annotations.phoenix_cleanup import normalize_gloss_phoenix2014
from decoding.alignment import gloss_spans
from decoding.batches import batches_by_length, decode_split
from decoding.greedy import greedy_decode
from decoding.novelty import errors_by_novelty
from decoding.scoring import (
    SentenceErrors,
    align,
    bootstrap_interval,
    breakdown,
    paired_p_value,
    total,
)
from errors import DataError, UsageError
from inference.closed_evaluation import closed_set_lines, closed_set_report, closed_set_results
from inference.evaluation_files import (
    FILES,
    SUBMISSION,
    read_baseline,
    write_predictions,
    write_results,
)
from inference.model_on_corpus import ModelOnCorpus, open_model_on_corpus
from inference.requests import EvaluationRequest
from reports.decoded_split import DecodedSplit
from reports.decoder_comparison import compare_decoders
from reports.evaluation_report import EvaluationReport, write_evaluation_report
from reports.novelty_tables import novelty_lines
from reports.provenance import describe_session, environment_facts
from reports.result_files import check_output_files, make_folder, try_to_write
from reports.verdict import evaluation_verdict


def evaluate_checkpoint(request: EvaluationRequest) -> dict[str, Any]:
    """Decode and score the split. Print a summary, and write hypotheses.csv, sentences.csv,
    submission.csv, hypotheses.ctm, references.stm, result.json, environment.json and report.html.
    For a test split without glosses, write the hypotheses alone.

    Returns the content of result.json. Raises UsageError and DataError.
    """
    model = open_model_on_corpus(request.checkpoint, request.data_dir, request.device)
    folder = request.folder(None if model.is_corpus_of_training else model.corpus.name)
    check_output_files([folder / name for name in FILES], request.overwrite)
    corpus, vocabulary, prepared = model.corpus, model.vocabulary, model.prepared(request.split)
    split = prepared.split
    can_score = any(prepared.references)
    if not can_score and request.split != "test":
        raise DataError(f"{corpus.path}: the {request.split} split has no glosses to score")
    if not can_score and request.compare_with:
        raise UsageError(f"--compare_with: the test split of {corpus.path} has no glosses to score")
    baseline = read_baseline(request.compare_with, split) if request.compare_with else None
    closed_set = model.closed_set(request.closed_set) if request.decoder == "closed" else None
    train_text = model.train_text()
    unseen = without_pose(split)
    if len(unseen) == len(split):
        raise DataError(
            f"{corpus.path}: no pose was detected in any sentence of the {request.split} split: "
            "there is nothing to evaluate; look at the corpus with prepare_data.py check"
        )
    for line in [*prepared.warnings(), *_presence_warnings(split, unseen)]:
        print(f"warning: {line}")

    posteriors = model.posteriors(request.split)
    decoder, decoder_settings = model.decoder(request.decoder, request.language_model, closed_set)
    started = time.perf_counter()
    class_indices = decode_split(posteriors, decoder)
    milliseconds = 1000 * (time.perf_counter() - started) / len(class_indices)
    times = gloss_times(posteriors, class_indices, TIME_STRIDE / corpus.fps)
    hypotheses = [vocabulary.decode(indices) for indices in class_indices]
    if request.cleans_up:
        cleaned = [clean_hypothesis(*sentence) for sentence in zip(hypotheses, times, strict=True)]
        hypotheses, times = [glosses for glosses, _ in cleaned], [spans for _, spans in cleaned]

    if not can_score:
        make_folder(folder)
        session = _describe_session(request, model)
        write_predictions(folder, split, hypotheses, times, session)
        print(f"decoder: {decoder_settings}")
        print(
            f"test of {corpus.describe()}: {len(split):,} sentences predicted; they have no "
            f"glosses to score\nsubmission: {folder / SUBMISSION}"
        )
        return {"sentences": len(split), "decoder_settings": decoder_settings}

    references = prepared.references
    aligned = align(references, hypotheses)
    figures = {
        **breakdown(aligned, [sentence.signer for sentence in split.sentences]),
        "novelty": train_text and errors_by_novelty(references, hypotheses, aligned, train_text),
    }
    result = {
        "checkpoint": str(request.checkpoint),
        "corpus": corpus.name,
        "corpus_path": str(corpus.path),
        "corpus_fingerprint": corpus.fingerprint,
        "simulated": corpus.simulated,
        "composed": corpus.composed,
        "split": request.split,
        "decoder": request.decoder,
        "decoder_settings": decoder_settings,
        "scoring": request.scoring,
        "sentences_without_pose": [split.sentences[index].id for index in unseen],
    }
    if closed_set is None:
        result |= figures
    else:
        clean_up = _cleaned_glosses if request.cleans_up else list
        greedy = decode_split(posteriors, greedy_decode)
        result |= closed_set_results(
            closed_set, figures, aligned, references, greedy, vocabulary, clean_up
        )
    if baseline is not None:
        result["compared_with"] = _comparison(request.compare_with, aligned, baseline)

    make_folder(folder)
    session = _describe_session(request, model)
    write_results(folder, split, hypotheses, times, corpus.fps, aligned, result, session)
    kind = "closed-set " if closed_set is not None else ""
    _print_summary(result, f"{request.split} of {corpus.describe()}: {kind}{total(aligned)}")
    decoded = DecodedSplit(corpus, split, vocabulary, posteriors, class_indices, hypotheses)
    page = folder / "report.html"
    if try_to_write(
        page,
        lambda path: write_evaluation_report(
            path, _report(request, model, decoded, result, milliseconds, session), decoded
        ),
    ):
        print(f"report: {page}")
    print(f"evaluation: {folder}")
    return result


def without_pose(split: Split) -> list[int]:
    """Indices of the sentences in which no pose was detected: there is no gloss in them."""
    pose = PARTS.index("pose")
    return [index for index in range(len(split)) if not split.read(index)[1][:, pose].any()]


def _presence_warnings(split: Split, unseen: Sequence[int]) -> Iterator[str]:
    """Lines about sentences without a pose, and about those without hands."""
    if unseen:
        yield (
            f"no pose was detected in {len(unseen)} of {len(split)} {split.name} sentences "
            f"({_ids(split, unseen)}): they get no gloss, and each of their glosses is an error"
        )
    hands = [PARTS.index("left_hand"), PARTS.index("right_hand")]
    handless = [
        index
        for index in sorted(set(range(len(split))).difference(unseen))
        if not split.read(index)[1][:, hands].any()
    ]
    if handless:
        yield (
            f"no hand was detected in {len(handless)} of {len(split)} {split.name} sentences "
            f"({_ids(split, handless)}): the model sees arms and face only"
        )


def _ids(split: Split, indices: Sequence[int]) -> str:
    """The first ids, for a message."""
    shown = ", ".join(split.sentences[index].id for index in indices[:3])
    return shown + (", …" if len(indices) > 3 else "")


def gloss_times(
    posteriors: Sequence[Tensor], class_indices: Sequence[list[int]], step: float
) -> list[list[tuple[float, float]]]:
    """Start and end in seconds of each gloss of each sentence.

    Args:
        posteriors: log-probabilities float (T', V) of each sentence.
        class_indices: the glosses of each sentence, as class indices.
        step: seconds per step of the posteriors.
    """
    times: list[list[tuple[float, float]]] = [[] for _ in posteriors]
    for sentences, log_probs, lengths in batches_by_length(posteriors):
        batch = [class_indices[sentence] for sentence in sentences]
        counts = torch.tensor([len(indices) for indices in batch])
        glosses = torch.zeros(len(batch), max(int(counts.max()), 1), dtype=torch.int64)
        for row, indices in enumerate(batch):
            glosses[row, : len(indices)] = torch.tensor(indices, dtype=torch.int64)
        starts, ends = gloss_spans(log_probs, lengths, glosses, counts)
        for row, sentence in enumerate(sentences):
            spans = zip(starts[row].tolist(), ends[row].tolist(), strict=True)
            times[sentence] = [(start * step, end * step) for start, end in spans][: counts[row]]
    return times


def clean_hypothesis(
    glosses: Sequence[str], times: Sequence[tuple[float, float]]
) -> tuple[list[str], list[tuple[float, float]]]:
    """A hypothesis after the official clean-up of PHOENIX-2014, and the times of its glosses.

    The clean-up renames and removes single glosses. It joins none, and a gloss that is there twice
    stays there twice: see `data.sources.annotations.phoenix_cleanup`.
    """
    cleaned, kept = [], []
    for gloss, span in zip(glosses, times, strict=True):
        if name := normalize_gloss_phoenix2014(gloss):
            cleaned.append(name)
            kept.append(span)
    return cleaned, kept


def _cleaned_glosses(glosses: Sequence[str]) -> list[str]:
    return [name for gloss in glosses if (name := normalize_gloss_phoenix2014(gloss))]


def _comparison(
    folder: Path | None, aligned: Sequence[SentenceErrors], baseline: Sequence[SentenceErrors]
) -> dict[str, Any]:
    """The other evaluation's WER, and the p-value of a paired test, for result.json."""
    return {
        "folder": str(folder),
        "wer": total(baseline).wer,
        "wer_interval": list(bootstrap_interval(baseline)),
        "p_value": paired_p_value(aligned, baseline),
    }


def _describe_session(request: EvaluationRequest, model: ModelOnCorpus) -> dict[str, Any]:
    seed = model.checkpoint["config"].get("training", {}).get("seed")
    start = f"checkpoint {request.checkpoint}, SHA-256 {sha256_of(request.checkpoint)}"
    return describe_session(model.corpus, model.device, model.machine, seed, start)


def _report(
    request: EvaluationRequest,
    model: ModelOnCorpus,
    decoded: DecodedSplit,
    result: dict[str, Any],
    milliseconds: float,
    session: dict[str, Any],
) -> EvaluationReport:
    """The evaluation's report, with the training curves that the checkpoint holds.

    milliseconds: per sentence, for the decoder of the request.
    """
    training = model.checkpoint["training"]
    history = training["progress"]["history"]
    tiles = []
    if compared := result.get("compared_with"):
        tiles.append((f"p = {compared['p_value']:.4f}", _compared_with(compared)))
    others = {"beam": model.decoder("beam", "none")}
    if model.checkpoint["decoder"].get("tuned_on"):
        others["adaptive"] = model.decoder("adaptive", None)
    scored = result.get("closed_set", result)
    report = EvaluationReport(
        title=f"Evaluation of {request.checkpoint.resolve().parent.name}/{request.checkpoint.name}",
        subtitle=f"{request.split} of {decoded.corpus.describe()}, {request.decoder} decoder"
        + (", hypotheses after the official clean-up of PHOENIX-2014" if request.cleans_up else ""),
        verdict=evaluation_verdict(scored, decoded.blank_share),
        result=scored,
        tiles=tiles,
        history=history,
        best_epoch=training["stopping"]["best_epoch"],
        curves_note=f"The training of this checkpoint up to epoch {len(history)}. The curves show "
        f"dev and train of {model.checkpoint['corpus']['name']}.",
        decoders=compare_decoders(
            decoded,
            [(name, settings, decoder) for name, (decoder, settings) in others.items()],
            (request.decoder, result["decoder_settings"], milliseconds),
            _cleaned_glosses if request.cleans_up else list,
        ),
        decoders_note=f"All decoders on {request.split}, from the same log-probabilities. A "
        "decoder looks a little better on the dev split that it was tuned on than on new data.",
        settings=model.checkpoint["config"],
        environment=environment_facts(session),
    )
    return closed_set_report(report) if "closed_set" in result else report


def _print_summary(result: dict[str, Any], summary: str) -> None:
    print(f"decoder: {result['decoder_settings']}")
    figures = result.get("closed_set", result)
    print(f"{summary}, {_interval(figures)}")
    if "closed_set" in result:
        print("\n".join(closed_set_lines(result)))
    for title, groups in (("signer", figures["by_signer"]), ("glosses", figures["by_length"])):
        for name, rates in groups.items():
            print(
                f"  {title} {name}: {rates['wer']:.2f} % over {rates['sentences']} sentences, "
                f"{_interval(rates)}"
            )
    if novelty := figures["novelty"]:
        print("\n".join(f"  {line}" for line in novelty_lines(novelty)))
    for kind, errors in figures["most_common"].items():
        if errors:
            print(f"  {kind}: {', '.join(f'{gloss} ({count})' for gloss, count in errors[:5])}")
    if compared := result.get("compared_with"):
        print(f"{_compared_with(compared)}: p = {compared['p_value']:.4f}")


def _compared_with(compared: dict[str, Any]) -> str:
    return f"compared with {compared['folder']} ({compared['wer']:.2f} %, {_interval(compared)})"


def _interval(rates: dict[str, Any]) -> str:
    low, high = rates["wer_interval"]
    return f"95 % interval {low:.2f} to {high:.2f}"
