"""A checkpoint judged on a split: decoded with its own vocabulary and settings, scored, written for
people and for sclite."""

import csv
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from data.corpus import Split, sha256_of
from data.ctc_lengths import TIME_STRIDE
from data.sources.transcripts import normalize_phoenix2014
from decoding.alignment import gloss_spans
from decoding.batches import batches_by_length, decode_split
from decoding.sclite import write_ctm, write_stm
from decoding.scoring import (
    SentenceErrors,
    align,
    bootstrap_interval,
    breakdown,
    paired_p_value,
    total,
)
from errors import DataError, UsageError
from inference.opened_checkpoint import CheckpointOnCorpus, open_checkpoint_on_corpus
from reports.decoded_split import DecodedSplit
from reports.decoder_comparison import compare_decoders
from reports.evaluation_report import EvaluationReport, write_evaluation_report
from reports.provenance import describe_session, environment_facts
from reports.result_files import make_folder, try_to_write, write_hypotheses, write_json
from reports.verdict import evaluation_verdict


@dataclass(frozen=True)
class EvaluationRequest:
    """What evaluate.py was asked: see its --help."""

    checkpoint: Path
    data_dir: str | None
    split: str
    decoder: str
    language_model: str | None
    scoring: str
    output_dir: Path
    compare_with: Path | None
    device: str


def evaluate_checkpoint(request: EvaluationRequest) -> dict:
    """Decode and score the split, write hypotheses.csv, sentences.csv, hypotheses.ctm,
    references.stm and result.json, print a summary.

    Returns result.json's content. Raises UsageError and DataError.
    """
    if request.decoder == "greedy" and request.language_model is not None:
        raise UsageError("--lm has no effect on --decoder greedy: use adaptive or beam")
    judged = open_checkpoint_on_corpus(request.checkpoint, request.data_dir, request.device)
    corpus, vocabulary, prepared = judged.corpus, judged.vocabulary, judged.prepared(request.split)
    if not any(prepared.references):
        raise DataError(f"{corpus.path}: the {request.split} split has no glosses to score")
    baseline = (
        _read_baseline(request.compare_with, prepared.split) if request.compare_with else None
    )
    for line in prepared.warnings():
        print(f"warning: {line}")
    posteriors = judged.posteriors(request.split)
    decoder, described = judged.decoder(request.decoder, request.language_model)
    started = time.perf_counter()
    readings = decode_split(posteriors, decoder)
    milliseconds = 1000 * (time.perf_counter() - started) / len(readings)
    spans = _seconds(posteriors, readings, TIME_STRIDE / corpus.fps)
    hypotheses = [vocabulary.decode(reading) for reading in readings]
    if request.scoring == "phoenix2014":
        cleaned = [clean_hypothesis(*sentence) for sentence in zip(hypotheses, spans, strict=True)]
        hypotheses, spans = [glosses for glosses, _ in cleaned], [times for _, times in cleaned]

    aligned = align(prepared.references, hypotheses)
    result = {
        "checkpoint": str(request.checkpoint),
        "corpus": corpus.name,
        "corpus_path": str(corpus.path),
        "corpus_fingerprint": corpus.fingerprint,
        "simulated": corpus.simulated,
        "composed": corpus.composed,
        "split": request.split,
        "decoder": request.decoder,
        "decoder_settings": described,
        "scoring": request.scoring,
        **breakdown(aligned, [sentence.signer for sentence in prepared.split.sentences]),
    }
    if baseline is not None:
        result["compared_with"] = {
            "folder": str(request.compare_with),
            "wer": total(baseline).wer,
            "wer_interval": list(bootstrap_interval(baseline)),
            "p_value": paired_p_value(aligned, baseline),
        }
    make_folder(request.output_dir)
    start = f"checkpoint {request.checkpoint}, SHA-256 {sha256_of(request.checkpoint)}"
    session = describe_session(
        corpus, judged.device, "fp32", judged.checkpoint["config"]["training"]["seed"], start
    )
    _write(
        request.output_dir, prepared.split, hypotheses, spans, corpus.fps, aligned, result, session
    )
    _print(result, f"{request.split} of {corpus.describe()}: {total(aligned)}")
    reading = DecodedSplit(corpus, prepared.split, vocabulary, posteriors, readings, hypotheses)
    page = request.output_dir / "report.html"
    if try_to_write(
        page,
        lambda path: write_evaluation_report(
            path, _report(request, judged, reading, result, milliseconds, session), reading
        ),
    ):
        print(f"report: {page}")
    print(f"evaluation: {request.output_dir}")
    return result


def _report(
    request: EvaluationRequest,
    judged: CheckpointOnCorpus,
    reading: DecodedSplit,
    result: dict,
    milliseconds: float,
    session: dict,
) -> EvaluationReport:
    """The evaluation's report, with the training of its checkpoint up to the epoch that it holds."""
    cleaned = request.scoring == "phoenix2014"
    training = judged.checkpoint["training"]
    history = training["progress"]["history"]
    tiles = []
    if other := result.get("compared_with"):
        tiles.append((f"p = {other['p_value']:.4f}", _compared(other)))
    others = {"beam": judged.decoder("beam", "none")}
    if judged.checkpoint["decoder"].get("tuned_on"):
        others["adaptive"] = judged.decoder("adaptive", None)
    return EvaluationReport(
        title=f"Evaluation of {request.checkpoint.resolve().parent.name}/{request.checkpoint.name}",
        subtitle=f"{request.split} of {reading.corpus.describe()}, {request.decoder} decoder"
        + (", hypotheses after the official clean-up of PHOENIX-2014" if cleaned else ""),
        verdict=evaluation_verdict(result, reading.blank_share),
        result=result,
        tiles=tiles,
        history=history,
        best_epoch=training["stopping"]["best_epoch"],
        curves_note=f"The training of this checkpoint up to epoch {len(history)}, which it holds; dev and train are those "
        f"of {judged.checkpoint['corpus']['name']}.",
        decoders=compare_decoders(
            reading,
            [(name, described, decoder) for name, (decoder, described) in others.items()],
            (request.decoder, result["decoder_settings"], milliseconds),
            normalize_phoenix2014 if cleaned else list,
        ),
        decoders_note=f"All on {request.split}, from the same log-probabilities. Settings chosen on a dev split look a little "
        "better on that dev than on new data.",
        settings=judged.checkpoint["config"],
        environment=environment_facts(session),
    )


def clean_hypothesis(
    glosses: Sequence[str], spans: Sequence[tuple[float, float]]
) -> tuple[list[str], list[tuple[float, float]]]:
    """A hypothesis after PHOENIX-2014's official clean-up, and its glosses' times.

    Each cleaned gloss begins with the first gloss that brings it out and ends with the last one
    before the next does.
    """
    cleaned = list(normalize_phoenix2014(glosses))
    sizes = [len(normalize_phoenix2014(glosses[: n + 1])) for n in range(len(glosses))]
    times = []
    for number in range(1, len(cleaned) + 1):
        members = [n for n, size in enumerate(sizes) if size == number]
        times.append((spans[members[0]][0], spans[members[-1]][1]))
    return cleaned, times


def _seconds(
    posteriors: Sequence[torch.Tensor], readings: Sequence[list[int]], step: float
) -> list[list[tuple[float, float]]]:
    """Begin and end of each sentence's glosses; a step of the posteriors lasts `step` seconds."""
    spans: list[list[tuple[float, float]]] = [[] for _ in posteriors]
    for indices, log_probs, lengths in batches_by_length(posteriors):
        said = [readings[index] for index in indices]
        counts = torch.tensor([len(reading) for reading in said])
        glosses = torch.zeros(len(said), max(int(counts.max()), 1), dtype=torch.int64)
        for row, reading in enumerate(said):
            glosses[row, : len(reading)] = torch.tensor(reading, dtype=torch.int64)
        begins, ends = gloss_spans(log_probs, lengths, glosses, counts)
        for row, index in enumerate(indices):
            times = zip(begins[row].tolist(), ends[row].tolist(), strict=True)
            spans[index] = [(begin * step, end * step) for begin, end in times][: counts[row]]
    return spans


def _read_baseline(folder: Path, split: Split) -> list[SentenceErrors]:
    """Another evaluation's alignment of the same sentences, in the split's order."""
    path = folder / "hypotheses.csv"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = {
                row["id"]: row
                for row in csv.DictReader(file, delimiter="|", quoting=csv.QUOTE_NONE)
            }
        references = [tuple(rows[sentence.id]["reference"].split()) for sentence in split.sentences]
        hypotheses = [rows[sentence.id]["hypothesis"].split() for sentence in split.sentences]
    except OSError as error:
        raise UsageError(
            f"--compare_with {folder}: {path.name} there cannot be read: {error.strerror}"
        ) from None
    except (KeyError, AttributeError, UnicodeDecodeError):
        raise UsageError(
            f"--compare_with {folder}: {path.name} is not an evaluation of the same sentences"
        ) from None
    if references != [sentence.glosses for sentence in split.sentences] or len(rows) != len(split):
        raise UsageError(
            f"--compare_with {folder}: {path.name} is not an evaluation of the same sentences"
        )
    return align(references, hypotheses)


def _write(
    folder: Path,
    split: Split,
    hypotheses: list[list[str]],
    spans: list[list[tuple[float, float]]],
    fps: float,
    aligned: Sequence[SentenceErrors],
    result: dict,
    session: dict,
) -> None:
    sentences = split.sentences
    ids = [sentence.id for sentence in sentences]
    try:
        write_hypotheses(folder / "hypotheses.csv", sentences, hypotheses)
        _write_sentences(folder / "sentences.csv", split, aligned)
        write_json(folder / "result.json", result)
        write_json(folder / "environment.json", {"sessions": [session]})
    except OSError as error:
        raise DataError(f"cannot write to {folder}: {error.strerror}") from error
    write_ctm(folder / "hypotheses.ctm", ids, hypotheses, spans)
    seconds = [-(-sentence.frames // TIME_STRIDE) * TIME_STRIDE / fps for sentence in sentences]
    references = [sentence.glosses for sentence in sentences]
    write_stm(
        folder / "references.stm",
        ids,
        [sentence.signer for sentence in sentences],
        seconds,
        references,
    )


def _write_sentences(path: Path, split: Split, aligned: Sequence[SentenceErrors]) -> None:
    """`id|signer|glosses|substitutions|deletions|insertions`: how many of each, one sentence a
    line, UTF-8."""
    lines = ["id|signer|glosses|substitutions|deletions|insertions"]
    for sentence, found in zip(split.sentences, aligned, strict=True):
        counts = map(len, (found.substitutions, found.deletions, found.insertions))
        lines.append(
            "|".join(
                [sentence.id, sentence.signer, str(found.reference_glosses), *map(str, counts)]
            )
        )
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")


def _interval(rates: dict) -> str:
    low, high = rates["wer_interval"]
    return f"95 % interval {low:.2f} to {high:.2f}"


def _print(result: dict, summary: str) -> None:
    print(f"decoder: {result['decoder_settings']}")
    print(f"{summary}, {_interval(result)}")
    for title, groups in (("signer", result["by_signer"]), ("glosses", result["by_length"])):
        for name, one in groups.items():
            print(
                f"  {title} {name}: {one['wer']:.2f} % over {one['sentences']} sentences, {_interval(one)}"
            )
    for kind, errors in result["most_common"].items():
        if errors:
            print(f"  {kind}: {', '.join(f'{gloss} ({count})' for gloss, count in errors[:5])}")
    if compared := result.get("compared_with"):
        print(f"{_compared(compared)}: p = {compared['p_value']:.4f}")


def _compared(other: dict) -> str:
    return f"compared with {other['folder']} ({other['wer']:.2f} %, {_interval(other)})"
